/* Inside kernel emission: what cg_kernel.c, cg_tile.c and cg_window.c share. */
#ifndef CG_EMIT_H
#define CG_EMIT_H

#include "cg_kernel.h"

/* A loop's value: dynamic + add, or add alone when it is known. */
typedef struct cg_loop {
    LLVMValueRef dynamic; /* i64, or NULL: the value is the constant `add` */
    int64_t add;
    int64_t size; /* of the current step */
} cg_loop;

typedef struct cg_element {
    LLVMValueRef *vector;
    int64_t rows, vectors;
} cg_element;

typedef struct cg_emit {
    cg_module *m;
    const ir_kernel *k;
    LLVMValueRef function;
    LLVMValueRef *params; /* pointers, per parameter */
    cg_loop *loops;       /* per loop */
    cg_element *tile;     /* per statement: elements computed in the current block */
    LLVMValueRef *base;   /* per statement: address of its access without constant parts */
    ir_arena *arena;
} cg_emit;

/* Columns as vectors: returns their number; widths and first columns go to the arrays. */
typedef struct cg_cut {
    int count;
    int64_t *width, *first;
} cg_cut;
cg_cut cg_cut_columns(const cg_emit *e, int64_t cols);
int64_t cg_extent(const cg_emit *e, ir_extent extent);

/* cg_tile.c: values */
LLVMValueRef cg_value(cg_emit *e, int32_t stmt, int64_t row, int vector);
/* Element (row, vector) of a consumer with `cols` columns, splatting a narrow operand. */
LLVMValueRef cg_operand(cg_emit *e, int32_t stmt, int64_t row, int64_t cols, int vector);
void cg_force(cg_emit *e, int32_t stmt);
void cg_set(cg_emit *e, int32_t stmt, int64_t row, int vector, LLVMValueRef value);
void cg_forget(cg_emit *e, int32_t first, int32_t end, bool addresses);
/* Pointer to the element at an affine index of a parameter; constants are added last. */
LLVMValueRef cg_affine(cg_emit *e, const ir_affine *at, int64_t *constant);
LLVMValueRef cg_pointer(cg_emit *e, const ir_access *access);
LLVMValueRef cg_element_at(cg_emit *e, int32_t param, LLVMValueRef base, int64_t offset);
LLVMValueRef cg_load_vector(cg_emit *e, int32_t param, LLVMValueRef base, int64_t offset,
                            int64_t width, int64_t stride);
void cg_store_group(cg_emit *e, int32_t first, int32_t end);

/* cg_window.c */
void cg_emit_window(cg_emit *e, int32_t stmt);
void cg_emit_window_dw(cg_emit *e, int32_t stmt);

/* cg_kernel.c: loops with carried values, used by windows too */
typedef struct cg_range {
    LLVMValueRef index; /* i64 value of this iteration */
    LLVMBasicBlockRef body, before;
    LLVMValueRef *carried; /* phis */
    int count;
} cg_range;
/* Opens `do { ... } while (index += step, index < last)`; `values` are replaced by their phis. */
cg_range cg_range_begin(cg_emit *e, LLVMValueRef first, LLVMValueRef *values, int count);
/* Closes it: `values` are those at the end of the body and stay valid after the loop. */
void cg_range_end(cg_emit *e, cg_range *range, int64_t step, LLVMValueRef last,
                  LLVMValueRef *values);

#endif
