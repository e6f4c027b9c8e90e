/* Matrix products in their three training forms, with channel groups.
 *
 *     matmul_nt   y[r,o] = sum_k x[r,k] w[o,k]
 *     matmul_nn   x[r,k] = sum_o y[r,o] w[o,k]
 *     matmul_tn   w[o,k] = sum_r y[r,o] x[r,k]
 *
 * With G groups, group g owns outputs [g O/G, (g+1) O/G) and inputs [g K/G, (g+1) K/G); w is
 * (O,K/G). */
#include "op_util.h"

#define OPERAND(i) (ir_at(graph, y)->operand[i])

static bool groups_divide(const ir_shape_args *args, int64_t channels, const char *what) {
    int64_t g = args->attrs->groups;
    if (g >= 1 && channels % g == 0) return true;
    return ir_shape_error(args, "%lld %s are not divisible into %lld groups", (long long)channels,
                          what, (long long)g);
}

static bool weight_is_matrix(const ir_shape_args *args, ir_type w) {
    if (w.rank == 2) return true;
    return ir_shape_error(args, "weight is %s, expected a matrix", op_shape(w).text);
}

static int64_t last_dim(ir_type type) {
    return type.rank ? type.dim[type.rank - 1] : 1;
}

static bool with_last(const ir_shape_args *args, ir_type x, int64_t last, ir_type *out) {
    if (x.rank == 0) return ir_shape_error(args, "operand is a scalar, expected rows");
    *out = x;
    out->dim[x.rank - 1] = last;
    return true;
}

OP_SHAPE(matmul_nt) {
    ir_type x = args->type[0], w = args->type[1];
    int64_t g = args->attrs->groups;
    if (!weight_is_matrix(args, w) || !groups_divide(args, w.dim[0], "outputs")) return false;
    if (last_dim(x) != w.dim[1] * g)
        return ir_shape_error(args, "input has %lld channels, weight %s expects %lld",
                              (long long)last_dim(x), op_shape(w).text, (long long)(w.dim[1] * g));
    return with_last(args, x, w.dim[0], out);
}

OP_SHAPE(matmul_nn) {
    ir_type dy = args->type[0], w = args->type[1];
    if (!weight_is_matrix(args, w) || !groups_divide(args, w.dim[0], "outputs")) return false;
    if (last_dim(dy) != w.dim[0])
        return ir_shape_error(args, "gradient has %lld channels, weight %s gives %lld",
                              (long long)last_dim(dy), op_shape(w).text, (long long)w.dim[0]);
    return with_last(args, dy, w.dim[1] * args->attrs->groups, out);
}

OP_SHAPE(matmul_tn) {
    ir_type dy = args->type[0], x = args->type[1];
    bool same_rows = dy.rank == x.rank && dy.rank > 0;
    for (int d = 0; same_rows && d < dy.rank - 1; d++)
        same_rows = dy.dim[d] == x.dim[d];
    if (!same_rows)
        return ir_shape_error(args, "rows of %s and %s differ", op_shape(dy).text,
                              op_shape(x).text);
    if (!groups_divide(args, last_dim(dy), "outputs") ||
        !groups_divide(args, last_dim(x), "inputs"))
        return false;
    *out = ir_type_make(IR_F32, 2, (int64_t[]){last_dim(dy), last_dim(x) / args->attrs->groups});
    return true;
}

OP_SHAPE(matmul_nt_scaled) {
    ir_type x = args->type[0], w = args->type[1], s = args->type[2];
    if (!weight_is_matrix(args, w)) return false;
    if (last_dim(x) != w.dim[1] || s.rank != x.rank || x.rank < 3 || s.dim[0] != x.dim[0] ||
        last_dim(s) != last_dim(x) || op_span(s, 1, s.rank - 1) != 1)
        return ir_shape_error(args, "shapes %s, %s and %s do not fit", op_shape(x).text,
                              op_shape(w).text, op_shape(s).text);
    return with_last(args, x, w.dim[0], out);
}

typedef struct product_shape {
    int64_t rows, groups, outputs, inputs;
} product_shape;

/* Outputs and inputs of one group. */
static product_shape shape_from(ir_type y, ir_type x, int64_t groups) {
    return (product_shape){.rows = ir_type_elements(y) / last_dim(y),
                           .groups = groups,
                           .outputs = last_dim(y) / groups,
                           .inputs = last_dim(x) / groups};
}

OP_EVAL(matmul_nt) {
    product_shape s = shape_from(args->node->type, args->type[0], args->node->attrs.groups);
    const double *x = args->in[0], *w = args->in[1];
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t g = 0; g < s.groups; g++)
            for (int64_t o = 0; o < s.outputs; o++) {
                const double *row = x + (r * s.groups + g) * s.inputs;
                const double *weight = w + (g * s.outputs + o) * s.inputs;
                double sum = 0;
                for (int64_t k = 0; k < s.inputs; k++)
                    sum += row[k] * weight[k];
                args->out[(r * s.groups + g) * s.outputs + o] = sum;
            }
}

OP_EVAL(matmul_nn) {
    product_shape s = shape_from(args->type[0], args->node->type, args->node->attrs.groups);
    const double *dy = args->in[0], *w = args->in[1];
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t g = 0; g < s.groups; g++)
            for (int64_t o = 0; o < s.outputs; o++) {
                double d = dy[(r * s.groups + g) * s.outputs + o];
                const double *weight = w + (g * s.outputs + o) * s.inputs;
                double *out = args->out + (r * s.groups + g) * s.inputs;
                for (int64_t k = 0; k < s.inputs; k++)
                    out[k] += d * weight[k];
            }
}

OP_EVAL(matmul_tn) {
    product_shape s = shape_from(args->type[0], args->type[1], args->node->attrs.groups);
    const double *dy = args->in[0], *x = args->in[1];
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t g = 0; g < s.groups; g++)
            for (int64_t o = 0; o < s.outputs; o++) {
                double d = dy[(r * s.groups + g) * s.outputs + o];
                const double *row = x + (r * s.groups + g) * s.inputs;
                double *out = args->out + (g * s.outputs + o) * s.inputs;
                for (int64_t k = 0; k < s.inputs; k++)
                    out[k] += d * row[k];
            }
}

OP_EVAL(matmul_nt_scaled) {
    product_shape s = shape_from(args->node->type, args->type[0], 1);
    int64_t per_sample = s.rows / args->type[0].dim[0];
    for (int64_t r = 0; r < s.rows; r++) {
        const double *x = args->in[0] + r * s.inputs;
        const double *scale = args->in[2] + r / per_sample * s.inputs;
        for (int64_t o = 0; o < s.outputs; o++) {
            double sum = 0;
            for (int64_t k = 0; k < s.inputs; k++)
                sum += x[k] * scale[k] * args->in[1][o * s.inputs + k];
            args->out[r * s.outputs + o] = sum;
        }
    }
}

static ir_value product(ir_graph *graph, ir_op op, ir_value a, ir_value b, int64_t groups) {
    ir_attrs attrs = {.groups = groups, .set = IR_SET(groups)};
    return ir_build(graph, op, (ir_value[]){a, b}, 2, &attrs, NULL);
}

OP_GRAD(matmul_nt) {
    ir_value x = OPERAND(0), w = OPERAND(1);
    int64_t groups = ir_at(graph, y)->attrs.groups;
    dx[0] = product(graph, IR_OP_matmul_nn, dy, w, groups);
    dx[1] = product(graph, IR_OP_matmul_tn, dy, x, groups);
}

OP_GRAD(matmul_nn) { /* y[r,k] = sum_o a[r,o] w[o,k] */
    ir_value a = OPERAND(0), w = OPERAND(1);
    int64_t groups = ir_at(graph, y)->attrs.groups;
    dx[0] = product(graph, IR_OP_matmul_nt, dy, w, groups);
    dx[1] = product(graph, IR_OP_matmul_tn, a, dy, groups);
}

OP_GRAD(matmul_tn) { /* y[o,k] = sum_r a[r,o] x[r,k] */
    ir_value a = OPERAND(0), x = OPERAND(1);
    int64_t groups = ir_at(graph, y)->attrs.groups;
    dx[0] = product(graph, IR_OP_matmul_nt, x, dy, groups);
    dx[1] = product(graph, IR_OP_matmul_nn, a, dy, groups);
}

OP_GRAD(matmul_nt_scaled) {
    ir_value x = OPERAND(0), w = OPERAND(1), s = OPERAND(2);
    ir_type scale = ir_type_of(graph, s);
    ir_value d = product(graph, IR_OP_matmul_nn, dy, w, 1);
    dx[0] = ir_binary(graph, IR_OP_mul, d, s);
    dx[1] = product(graph, IR_OP_matmul_tn, dy, ir_binary(graph, IR_OP_mul, x, s), 1);
    dx[2] = ir_sum_to(graph, ir_binary(graph, IR_OP_mul, d, x), scale);
}
