/* Kernels: tile operations to explicit vector IR.
 *
 * A tile is rows x vectors; columns are cut greedily into vectors of `lanes`, lanes/2, ... 1.
 * Elements are computed on demand, one vector at a time, and remembered until the block they belong
 * to ends, so a chain of maps lives in registers. Regions (loops, products) and windows are emitted
 * where they stand. All sizes are static: a shorter last step is a second copy of the body.
 */
#ifndef CG_KERNEL_H
#define CG_KERNEL_H

#include "cg_builder.h"

/* Emits `void symbol(i64 first, i64 last, ptr p0, ptr p1, ...)`: kernel tasks [first, last). */
LLVMValueRef cg_emit_kernel(cg_module *module, const ir_kernel *kernel, const char *symbol);

#endif
