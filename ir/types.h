/* Types: element type, shape and sparsity of a tensor. All static, compared by value.
 *
 * Images are NCHW where users see them and NHWC inside: (N,H,W,C) f32. A tile-sparse tensor is
 * stored packed: grid_h x grid_w tiles of tile x tile sites, of which `kept` are present in every
 * sample, in raster order: (N,kept,tile,tile,C). `kept == 0` means dense. The printed form is
 *
 *     f32[2,56,56,40]      i64[2]      f32[]      f32[2,19,8,8,40;grid=7x7,kept=19]
 */
#ifndef IR_TYPES_H
#define IR_TYPES_H

#include "arena.h"

#include <stdbool.h>

enum { IR_MAX_RANK = 6, IR_MAX_GRID = 1 << 20 };

typedef enum ir_dtype { IR_F32, IR_BF16, IR_I64, IR_I32, IR_DTYPE_COUNT } ir_dtype;

typedef struct ir_sparsity {
    int32_t grid_h; /* tiles down, at most IR_MAX_GRID */
    int32_t grid_w; /* tiles across, likewise */
    int32_t kept;   /* tiles present per sample; 0: the tensor is dense */
} ir_sparsity;

typedef struct ir_type {
    ir_dtype dtype;
    int32_t rank;             /* 0 for a scalar */
    int64_t dim[IR_MAX_RANK]; /* dim[rank..] are 0 */
    ir_sparsity sparsity;
} ir_type;

const char *ir_dtype_name(ir_dtype dtype);
size_t ir_dtype_size(ir_dtype dtype);
ir_type ir_type_make(ir_dtype dtype, int rank, const int64_t *dim);
bool ir_type_equal(ir_type a, ir_type b);
bool ir_type_same_shape(ir_type a, ir_type b);
bool ir_sparsity_equal(ir_sparsity a, ir_sparsity b);
/* Whether a type's shape is what its sparsity says; true of dense ones. */
bool ir_sparsity_fits(ir_type type);
/* Number of elements (1 for a scalar). The verifier guarantees that it fits into int64_t. */
int64_t ir_type_elements(ir_type type);
/* False if a dimension is not positive or the bytes exceed 2^46. */
bool ir_type_valid(ir_type type);
int64_t ir_type_bytes(ir_type type);
void ir_type_print(ir_text *out, ir_type type);

#endif
