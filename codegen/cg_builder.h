/* A thin layer over LLVM's C API: one module being built, and vectors of f32 of any width.
 *
 * Width 1 is a scalar float, width w > 1 is <w x float>; every helper takes both. All arithmetic is
 * plain IEEE: no fast-math flags, so NaN and infinity show up where they arise. cg_fma is one
 * rounding where the machine has FMA and two where it has not.
 */
#ifndef CG_BUILDER_H
#define CG_BUILDER_H

#include "cg_machine.h"
#include "plan.h"

#include <llvm-c/Core.h>

typedef struct cg_module {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    const cg_machine *machine;
    LLVMTypeRef f32, f64, i1, i16, i32, i64, pointer, nothing;
} cg_module;

/* An empty module for this machine; owned by the caller, as is `context`. */
cg_module cg_module_begin(LLVMContextRef context, const char *name, const cg_machine *machine);
void cg_module_end(cg_module *m); /* frees the builder; the module lives on */

LLVMTypeRef cg_vector(const cg_module *m, LLVMTypeRef element, int64_t width);
int64_t cg_width(LLVMValueRef value);
LLVMValueRef cg_int(const cg_module *m, int64_t value);
LLVMValueRef cg_number(const cg_module *m, double value, int64_t width);
/* The integer constant in every lane of <width x i32>. */
LLVMValueRef cg_int32(const cg_module *m, int64_t value, int64_t width);
LLVMValueRef cg_splat(const cg_module *m, LLVMValueRef scalar, int64_t width);

LLVMValueRef cg_add(const cg_module *m, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_sub(const cg_module *m, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_mul(const cg_module *m, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_div(const cg_module *m, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_fma(const cg_module *m, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
LLVMValueRef cg_max(const cg_module *m, LLVMValueRef a, LLVMValueRef b); /* NaN if one is */
LLVMValueRef cg_min(const cg_module *m, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_select(const cg_module *m, LLVMRealPredicate test, LLVMValueRef a, LLVMValueRef b,
                       LLVMValueRef yes, LLVMValueRef no);
/* Calls the overloaded intrinsic `name` (of the type of its first argument). */
LLVMValueRef cg_intrinsic(const cg_module *m, const char *name, LLVMValueRef *args, int count);
/* Sum or maximum of all lanes, halving; a fixed order. */
LLVMValueRef cg_halve(const cg_module *m, LLVMValueRef v, bool sum);

/* Integer arithmetic on i64 that folds constants. */
LLVMValueRef cg_offset(const cg_module *m, LLVMValueRef base, LLVMValueRef value, int64_t factor);

/* Adds a function to the module with the attributes every function of cnx has. */
LLVMValueRef cg_function(const cg_module *m, const char *name, LLVMTypeRef type, bool exported);

#endif
