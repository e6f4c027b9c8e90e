#include "types.h"

#include <string.h>

const char *ir_dtype_name(ir_dtype dtype) {
    static const char *const names[IR_DTYPE_COUNT] = {"f32", "bf16", "i64", "i32"};
    return names[dtype];
}

size_t ir_dtype_size(ir_dtype dtype) {
    static const size_t sizes[IR_DTYPE_COUNT] = {4, 2, 8, 4};
    return sizes[dtype];
}

ir_type ir_type_make(ir_dtype dtype, int rank, const int64_t *dim) {
    ir_type type = {.dtype = dtype, .rank = rank};
    for (int d = 0; d < rank; d++)
        type.dim[d] = dim[d];
    return type;
}

bool ir_type_same_shape(ir_type a, ir_type b) {
    return a.rank == b.rank && memcmp(a.dim, b.dim, (size_t)a.rank * sizeof a.dim[0]) == 0;
}

bool ir_sparsity_equal(ir_sparsity a, ir_sparsity b) {
    return a.grid_h == b.grid_h && a.grid_w == b.grid_w && a.kept == b.kept;
}

bool ir_sparsity_fits(ir_type type) {
    ir_sparsity s = type.sparsity;
    return !s.kept || (type.rank == 5 && type.dim[1] == s.kept && type.dim[2] == type.dim[3] &&
                       s.kept <= (int64_t)s.grid_h * s.grid_w);
}

bool ir_type_equal(ir_type a, ir_type b) {
    return a.dtype == b.dtype && ir_type_same_shape(a, b) &&
           ir_sparsity_equal(a.sparsity, b.sparsity);
}

int64_t ir_type_elements(ir_type type) {
    int64_t elements = 1;
    for (int d = 0; d < type.rank; d++)
        elements *= type.dim[d];
    return elements;
}

bool ir_type_valid(ir_type type) {
    int64_t bytes = (int64_t)ir_dtype_size(type.dtype);
    if (type.rank < 0 || type.rank > IR_MAX_RANK) return false;
    for (int d = 0; d < type.rank; d++)
        if (type.dim[d] <= 0 || __builtin_mul_overflow(bytes, type.dim[d], &bytes) ||
            bytes > (int64_t)1 << 46)
            return false;
    return true;
}

int64_t ir_type_bytes(ir_type type) {
    return ir_type_elements(type) * (int64_t)ir_dtype_size(type.dtype);
}

void ir_type_print(ir_text *out, ir_type type) {
    ir_text_printf(out, "%s[", ir_dtype_name(type.dtype));
    for (int d = 0; d < type.rank; d++)
        ir_text_printf(out, "%s%lld", d ? "," : "", (long long)type.dim[d]);
    if (type.sparsity.kept)
        ir_text_printf(out, ";grid=%dx%d,kept=%d", type.sparsity.grid_h, type.sparsity.grid_w,
                       type.sparsity.kept);
    ir_text_append(out, "]", 1);
}
