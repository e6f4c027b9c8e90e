/* Inside program emission: what cg_program.c, cg_region.c, cg_entry.c, cg_cpu.c and
 * cg_mask.c share. */
#ifndef CG_PARTS_H
#define CG_PARTS_H

#include "cg_builder.h"
#include "cg_program.h"

/* What a task function gets: pointers of this run, and into how many pieces a region that is handed
 * out in runs of tasks is cut. */
enum {
    CG_ARG_STATE,
    CG_ARG_WORKSPACE,
    CG_ARG_IO,
    CG_ARG_SCALARS,
    CG_ARG_WEIGHTS,
    CG_ARG_PIECES,
    CG_ARG_COUNT
};

typedef struct cg_parts {
    cg_module m;
    const ir_plan *plan;
    const cg_program_options *options;
    bool x86;
    ir_arena *scratch;
    LLVMValueRef *kernels; /* function per kernel */
    LLVMTypeRef arguments; /* struct of CG_ARG_COUNT fields */
    LLVMTypeRef task_type; /* void (ptr arguments, i64 piece, i64 worker) */
    LLVMValueRef run;      /* void (i64 first, i64 last, ptr arguments, ptr threads) */
    LLVMTypeRef run_type;
    LLVMValueRef weights;     /* embedded, or NULL */
    LLVMValueRef masks_wrong; /* i1 (ptr io), once it is made */
} cg_parts;

/* cg_region.c: kernels, task functions, the table of regions, and the loop over it. */
void cg_emit_regions(cg_parts *p);
/* Stores a field of an arguments struct. */
void cg_set_argument(const cg_parts *p, LLVMValueRef arguments, int field, LLVMValueRef value);

/* cg_entry.c: the public functions. */
void cg_emit_entries(cg_parts *p);

/* cg_cpu.c: i1, whether the CPU and its operating system offer all of `needs`; inline in the
 * caller. */
LLVMValueRef cg_emit_cpu_check(const cg_parts *p, LLVMValueRef function, unsigned needs);

/* cg_mask.c: whether the plan has masks among its inputs; i1, whether one of them has a row that
 * is not what the plan says. `io` is the table of inputs and outputs. */
bool cg_has_masks(const ir_plan *plan);
LLVMValueRef cg_emit_masks_wrong(cg_parts *p, LLVMValueRef io);

/* A counted loop from `first` while < `last`, entered only if there is something to do. */
typedef struct cg_each {
    LLVMValueRef index;
    LLVMBasicBlockRef body, after;
} cg_each;
cg_each cg_each_begin(const cg_parts *p, LLVMValueRef function, LLVMValueRef first,
                      LLVMValueRef last);
void cg_each_end(const cg_parts *p, cg_each *each, LLVMValueRef last);
/* A new block of the function. */
LLVMBasicBlockRef cg_block(const cg_parts *p, LLVMValueRef function, const char *name);

#endif
