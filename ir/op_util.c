#include "op_util.h"

#include <stdio.h>
#include <string.h>

op_shape_text op_shape(ir_type type) {
    op_shape_text t;
    int n = snprintf(t.text, sizeof t.text, "(");
    for (int d = 0; d < type.rank; d++)
        n += snprintf(t.text + n, sizeof t.text - (size_t)n, "%s%lld", d ? "," : "",
                      (long long)type.dim[d]);
    snprintf(t.text + n, sizeof t.text - (size_t)n, ")");
    return t;
}

int64_t op_span(ir_type type, int from, int to) {
    int64_t n = 1;
    for (int d = from; d < to; d++)
        n *= type.dim[d];
    return n;
}

bool op_broadcast(ir_type a, ir_type b, ir_type *out) {
    *out = a.rank >= b.rank ? a : b;
    for (int d = 0; d < out->rank; d++) {
        int i = d - (out->rank - a.rank), j = d - (out->rank - b.rank);
        int64_t x = i < 0 ? 1 : a.dim[i], y = j < 0 ? 1 : b.dim[j];
        if (x != y && x != 1 && y != 1) return false;
        out->dim[d] = x == 1 ? y : x;
    }
    return true;
}

static bool same_sites(ir_type a, ir_type b) {
    if (a.rank != b.rank) return false;
    for (int d = 0; d < a.rank - 1; d++)
        if (a.dim[d] != b.dim[d]) return false;
    return true;
}

bool op_pointwise_shape(const ir_shape_args *args, ir_type *out) {
    *out = args->type[0];
    for (int i = 1; i < args->count; i++) {
        ir_type wider;
        if (!op_broadcast(*out, args->type[i], &wider))
            return ir_shape_error(args, "shapes %s and %s do not broadcast", op_shape(*out).text,
                                  op_shape(args->type[i]).text);
        *out = wider;
    }
    for (int i = 0; i < args->count; i++) {
        ir_type type = args->type[i];
        if (!type.sparsity.kept) continue;
        if (!same_sites(type, *out))
            return ir_shape_error(args,
                                  "tile-sparse operand %s would become %s; only its channels "
                                  "may",
                                  op_shape(type).text, op_shape(*out).text);
        out->sparsity = type.sparsity;
    }
    out->dtype = IR_F32;
    return true;
}

bool op_affine_shape(const ir_shape_args *args, ir_type *out) {
    *out = args->type[0];
    if (out->rank < 2)
        return ir_shape_error(args, "input is %s, expected (..,C)", op_shape(*out).text);
    for (int i = 1; i < 3; i++)
        if (args->type[i].rank != 1 || args->type[i].dim[0] != out->dim[out->rank - 1])
            return ir_shape_error(args, "%s is %s, expected (%lld)", i == 1 ? "weight" : "bias",
                                  op_shape(args->type[i]).text, (long long)out->dim[out->rank - 1]);
    return true;
}

bool op_take_sparsity(const ir_shape_args *args, ir_type *out) {
    const ir_ints *grid = &args->attrs->grid;
    int64_t kept = args->attrs->kept, most = IR_MAX_GRID;
    if (grid->count == 0 && kept == 0) return true;
    if (grid->count != 2 || grid->item[0] < 1 || grid->item[1] < 1 || grid->item[0] > most ||
        grid->item[1] > most || out->rank != 5 || out->dim[1] != kept ||
        kept > grid->item[0] * grid->item[1] || kept > INT32_MAX)
        return ir_shape_error(args, "%s with %lld kept tiles is not tile-sparse",
                              op_shape(*out).text, (long long)kept);
    out->sparsity = (ir_sparsity){(int32_t)grid->item[0], (int32_t)grid->item[1], (int32_t)kept};
    return true;
}

static bool is_window(int64_t kh, int64_t kw) {
    return kh > 0 && kw > 0 && kh % 2 == 1 && kw % 2 == 1 && kw <= OP_WIDEST_WINDOW;
}

bool op_check_taps(const ir_shape_args *args, int64_t channels, ir_type w) {
    if (w.rank == 4 && w.dim[1] == 1 && w.dim[0] == channels && is_window(w.dim[2], w.dim[3]))
        return true;
    return ir_shape_error(args,
                          "weight is %s, expected (%lld,1,kh,kw) with odd kh, kw and kw at most %d",
                          op_shape(w).text, (long long)channels, OP_WIDEST_WINDOW);
}

bool op_check_kernel(const ir_shape_args *args) {
    const ir_ints *kernel = &args->attrs->kernel;
    if (kernel->count == 2 && is_window(kernel->item[0], kernel->item[1])) return true;
    return ir_shape_error(args, "kernel must be two odd numbers, the second at most %d",
                          OP_WIDEST_WINDOW);
}

void op_strides(ir_type type, ir_type out, int64_t *stride) {
    int64_t next = 1;
    for (int d = out.rank - 1; d >= 0; d--) {
        int own = d - (out.rank - type.rank);
        stride[d] = own < 0 || type.dim[own] == 1 ? 0 : next;
        if (own >= 0) next *= type.dim[own];
    }
}

void op_pointwise_eval(const ir_eval_args *args, op_scalar *scalar) {
    ir_type out = args->node->type;
    int64_t stride[IR_MAX_OPERANDS][IR_MAX_RANK], at[IR_MAX_OPERANDS] = {0};
    int64_t index[IR_MAX_RANK] = {0}, n = ir_type_elements(out);
    for (int o = 0; o < args->count; o++)
        op_strides(args->type[o], out, stride[o]);
    for (int64_t i = 0; i < n; i++) {
        double x[IR_MAX_OPERANDS];
        for (int o = 0; o < args->count; o++)
            x[o] = args->in[o][at[o]];
        args->out[i] = scalar(args, x);
        for (int d = out.rank - 1; d >= 0; d--) {
            for (int o = 0; o < args->count; o++)
                at[o] += stride[o][d];
            if (++index[d] < out.dim[d]) break;
            for (int o = 0; o < args->count; o++)
                at[o] -= stride[o][d] * out.dim[d];
            index[d] = 0;
        }
    }
}
