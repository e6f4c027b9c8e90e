/* Composite ops: what users write. Each is defined by its evaluation; its expansion into primitive
 * ops must give the same, which the tests check. */
#include "op_util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IN(i) (node->operand[i])

static ir_value build(ir_graph *graph, ir_op op, ir_value x, const ir_attrs *attrs) {
    return ir_build(graph, op, &x, 1, attrs, NULL);
}

static ir_value add_bias(ir_graph *graph, const ir_node *node, ir_value y) {
    return node->operand_count > 2 ? ir_binary(graph, IR_OP_add, y, IN(2)) : y;
}

static bool check_bias(const ir_shape_args *args, int64_t outputs) {
    if (args->count < 3 || (args->type[2].rank == 1 && args->type[2].dim[0] == outputs))
        return true;
    return ir_shape_error(args, "bias is %s, expected (%lld)", op_shape(args->type[2]).text,
                          (long long)outputs);
}

/* Evaluates the expansion: the definition of ops that are nothing but their parts. */
static void eval_expansion(const ir_eval_args *args) {
    ir_graph *graph = ir_graph_new("expansion", IR_KIND_INFER);
    ir_node node = *args->node;
    const double *sources[IR_MAX_OPERANDS + 1] = {0};
    for (int i = 0; i < args->count; i++) {
        node.operand[i] = ir_input(graph, "x", args->type[i]);
        sources[i] = args->in[i];
    }
    ir_add_output(graph, "y", ir_expand(graph, &node));
    const double **all = calloc(graph->count, sizeof *all);
    if (!all) IR_BUG("out of memory");
    memcpy(all, sources, (size_t)args->count * sizeof *all);
    ir_eval_result *result = ir_eval_graph(graph, all, args->scalars);
    memcpy(args->out, result->value[graph->outputs[0].value.id],
           (size_t)ir_type_elements(args->node->type) * sizeof(double));
    ir_eval_free(result);
    free(all);
    ir_graph_free(graph);
}

/* ---- linear ---- */

static bool is_matrix(ir_type w) {
    return w.rank == 2 || (w.rank == 4 && w.dim[2] == 1 && w.dim[3] == 1);
}

static ir_value as_matrix(ir_graph *graph, ir_value w) {
    ir_type type = ir_type_of(graph, w);
    return ir_reshape(
        graph, w, ir_type_make(IR_F32, 2, (int64_t[]){type.dim[0], op_span(type, 1, type.rank)}));
}

OP_SHAPE(linear) {
    ir_type x = args->type[0], w = args->type[1];
    if (!is_matrix(w))
        return ir_shape_error(args, "weight is %s, expected (O,K) or (O,K,1,1)", op_shape(w).text);
    if (x.rank == 0 || x.dim[x.rank - 1] != w.dim[1])
        return ir_shape_error(args, "input is %s, weight %s expects %lld channels",
                              op_shape(x).text, op_shape(w).text, (long long)w.dim[1]);
    *out = x;
    out->dim[x.rank - 1] = w.dim[0];
    return check_bias(args, w.dim[0]);
}
OP_EVAL(linear) {
    int64_t k = args->type[1].dim[1], o = args->type[1].dim[0];
    int64_t rows = ir_type_elements(args->type[0]) / k;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < o; j++) {
            double sum = args->count > 2 ? args->in[2][j] : 0;
            for (int64_t i = 0; i < k; i++)
                sum += args->in[0][r * k + i] * args->in[1][j * k + i];
            args->out[r * o + j] = sum;
        }
}
OP_EXPAND(linear) {
    ir_value y = ir_binary(graph, IR_OP_matmul_nt, IN(0), as_matrix(graph, IN(1)));
    return add_bias(graph, node, y);
}

/* ---- convolutions ---- */

static bool conv_shape(const ir_shape_args *args, int64_t groups, ir_type *out) {
    ir_type x = args->type[0], w = args->type[1];
    const ir_ints *stride = &args->attrs->stride, *pad = &args->attrs->pad;
    if (x.rank != 4)
        return ir_shape_error(args, "input is %s, expected (N,H,W,C)", op_shape(x).text);
    if (w.rank != 4)
        return ir_shape_error(args, "weight is %s, expected (O,C,kh,kw)", op_shape(w).text);
    if (groups < 1 || x.dim[3] % groups || w.dim[0] % groups)
        return ir_shape_error(args,
                              "%lld inputs and %lld outputs are not divisible into %lld groups",
                              (long long)x.dim[3], (long long)w.dim[0], (long long)groups);
    if (w.dim[1] != x.dim[3] / groups)
        return ir_shape_error(args, "weight %s has %lld input channels, input %s has %lld%s",
                              op_shape(w).text, (long long)w.dim[1], op_shape(x).text,
                              (long long)(x.dim[3] / groups), groups > 1 ? " per group" : "");
    if (stride->count != 2 || pad->count != 2 || stride->item[0] < 1 || stride->item[1] < 1 ||
        pad->item[0] < 0 || pad->item[1] < 0 || pad->item[0] > 1 << 20 || pad->item[1] > 1 << 20)
        return ir_shape_error(args, "stride and pad take two numbers, stride at least 1, pad 0");
    *out = x;
    for (int i = 0; i < 2; i++) {
        int64_t room = x.dim[1 + i] + 2 * pad->item[i] - w.dim[2 + i];
        if (room < 0)
            return ir_shape_error(args, "window %lldx%lld does not fit the input %s",
                                  (long long)w.dim[2], (long long)w.dim[3], op_shape(x).text);
        out->dim[1 + i] = room / stride->item[i] + 1;
    }
    out->dim[3] = w.dim[0];
    return check_bias(args, w.dim[0]);
}

static void conv_eval(const ir_eval_args *args, int64_t groups) {
    ir_type x = args->type[0], w = args->type[1], y = args->node->type;
    const ir_attrs *a = &args->node->attrs;
    int64_t cg = w.dim[1], og = w.dim[0] / groups, at = 0;
    for (int64_t n = 0; n < y.dim[0]; n++)
        for (int64_t oy = 0; oy < y.dim[1]; oy++)
            for (int64_t ox = 0; ox < y.dim[2]; ox++)
                for (int64_t o = 0; o < y.dim[3]; o++, at++) {
                    double sum = args->count > 2 ? args->in[2][o] : 0;
                    for (int64_t ky = 0; ky < w.dim[2]; ky++)
                        for (int64_t kx = 0; kx < w.dim[3]; kx++) {
                            int64_t iy = oy * a->stride.item[0] + ky - a->pad.item[0];
                            int64_t ix = ox * a->stride.item[1] + kx - a->pad.item[1];
                            if (iy < 0 || iy >= x.dim[1] || ix < 0 || ix >= x.dim[2]) continue;
                            const double *in = args->in[0] + o / og * cg +
                                               ((n * x.dim[1] + iy) * x.dim[2] + ix) * x.dim[3];
                            const double *t =
                                args->in[1] + (o * cg * w.dim[2] + ky) * w.dim[3] + kx;
                            for (int64_t c = 0; c < cg; c++)
                                sum += in[c] * t[c * w.dim[2] * w.dim[3]];
                        }
                    args->out[at] = sum;
                }
}

static ir_value conv_expand(ir_graph *graph, const ir_node *node, int64_t groups) {
    ir_type w = ir_type_of(graph, IN(1));
    const ir_attrs *a = &node->attrs;
    ir_value x = IN(0);
    bool plain = w.dim[2] == 1 && w.dim[3] == 1 && a->stride.item[0] == 1 &&
                 a->stride.item[1] == 1 && a->pad.item[0] == 0 && a->pad.item[1] == 0;
    if (!plain) {
        ir_attrs unfold = {.kernel = IR_INTS(w.dim[2], w.dim[3]),
                           .stride = a->stride,
                           .pad = a->pad,
                           .groups = groups,
                           .set = IR_SET(kernel) | IR_SET(stride) | IR_SET(pad) | IR_SET(groups)};
        x = build(graph, IR_OP_unfold, x, &unfold);
    }
    ir_attrs order = {.order = IR_INTS(0, 2, 3, 1), .set = IR_SET(order)};
    ir_value taps = plain ? IN(1) : build(graph, IR_OP_permute, IN(1), &order);
    ir_attrs product = {.groups = groups, .set = IR_SET(groups)};
    ir_value y = ir_build(graph, IR_OP_matmul_nt, (ir_value[]){x, as_matrix(graph, taps)}, 2,
                          &product, NULL);
    return add_bias(graph, node, y);
}

OP_SHAPE(conv2d) {
    return conv_shape(args, args->attrs->groups, out);
}
OP_EVAL(conv2d) {
    conv_eval(args, args->node->attrs.groups);
}
OP_EXPAND(conv2d) {
    return conv_expand(graph, node, node->attrs.groups);
}

OP_SHAPE(depthwise_conv) {
    if (args->type[0].rank != 4)
        return ir_shape_error(args, "input is %s, expected (N,H,W,C)",
                              op_shape(args->type[0]).text);
    return conv_shape(args, args->type[0].dim[3], out);
}
OP_EVAL(depthwise_conv) {
    conv_eval(args, args->type[0].dim[3]);
}
OP_EXPAND(depthwise_conv) {
    ir_type x = ir_type_of(graph, IN(0)), w = ir_type_of(graph, IN(1));
    const ir_attrs *a = &node->attrs;
    bool window = w.dim[0] == x.dim[3] && w.dim[3] <= OP_WIDEST_WINDOW;
    for (int i = 0; i < 2; i++)
        window = window && w.dim[2 + i] % 2 == 1 && a->stride.item[i] == 1 &&
                 a->pad.item[i] == w.dim[2 + i] / 2;
    if (!window) return conv_expand(graph, node, x.dim[3]);
    return add_bias(graph, node, ir_binary(graph, IR_OP_window, IN(0), IN(1)));
}

/* ---- norms ---- */

OP_SHAPE(layer_norm) {
    return op_affine_shape(args, out);
}
OP_EVAL(layer_norm) {
    int64_t c = args->type[1].dim[0], rows = ir_type_elements(args->type[0]) / c;
    for (int64_t r = 0; r < rows; r++) {
        const double *x = args->in[0] + r * c;
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < c; i++)
            sum += x[i];
        double mean = sum / (double)c;
        for (int64_t i = 0; i < c; i++)
            squares += (x[i] - mean) * (x[i] - mean);
        double rstd = 1 / sqrt(squares / (double)c + args->node->attrs.eps);
        for (int64_t i = 0; i < c; i++)
            args->out[r * c + i] = (x[i] - mean) * rstd * args->in[1][i] + args->in[2][i];
    }
}
OP_EXPAND(layer_norm) {
    ir_attrs attrs = {.eps = node->attrs.eps, .set = IR_SET(eps)};
    ir_value y = build(graph, IR_OP_row_normalize, IN(0), &attrs);
    return ir_binary(graph, IR_OP_add, ir_binary(graph, IR_OP_mul, y, IN(1)), IN(2));
}

/* ---- drop path, pooling, means ---- */

OP_SHAPE(drop_path) {
    *out = args->type[0];
    double rate = args->attrs->rate;
    if (!(rate >= 0 && rate < 1))
        return ir_shape_error(args, "rate is %g, expected 0 <= rate < 1", rate);
    if (out->rank < 1) return ir_shape_error(args, "operand is a scalar, expected samples");
    return true;
}
OP_EVAL(drop_path) {
    eval_expansion(args);
}
OP_EXPAND(drop_path) {
    ir_type x = ir_type_of(graph, IN(0));
    if (node->attrs.rate == 0) return IN(0);
    ir_attrs attrs = {.rate = node->attrs.rate,
                      .stream = node->attrs.stream,
                      .set = IR_SET(rate) | IR_SET(stream) | IR_SET(shape)};
    attrs.shape.count = x.rank;
    for (int d = 0; d < x.rank; d++)
        attrs.shape.item[d] = d ? 1 : x.dim[0];
    ir_value step = ir_build(graph, IR_OP_step, NULL, 0, NULL, NULL);
    return ir_binary(graph, IR_OP_mul, IN(0), build(graph, IR_OP_random_keep, step, &attrs));
}

static ir_value mean_of(ir_graph *graph, ir_value x, ir_ints axes, bool keep) {
    double count = 1;
    for (int i = 0; i < axes.count; i++)
        count *= (double)ir_type_of(graph, x).dim[axes.item[i]];
    return ir_scale(graph, ir_sum(graph, x, axes, keep), 1 / count);
}

static ir_ints all_axes(ir_type type) {
    ir_ints axes = {.count = type.rank};
    for (int d = 0; d < type.rank; d++)
        axes.item[d] = d;
    return axes;
}

OP_SHAPE(global_avg_pool) {
    ir_type x = args->type[0];
    if (x.rank < 3)
        return ir_shape_error(args, "input is %s, expected (N,H,W,C) or tile-sparse",
                              op_shape(x).text);
    *out = ir_type_make(IR_F32, 2, (int64_t[]){x.dim[0], x.dim[x.rank - 1]});
    return true;
}
OP_EVAL(global_avg_pool) {
    ir_type x = args->type[0];
    int64_t sites = op_span(x, 1, x.rank - 1), c = x.dim[x.rank - 1];
    for (int64_t i = 0, n = ir_type_elements(x); i < n; i++)
        args->out[i / (sites * c) * c + i % c] += args->in[0][i] / (double)sites;
}
OP_EXPAND(global_avg_pool) {
    ir_ints sites = {.count = ir_type_of(graph, IN(0)).rank - 2};
    for (int i = 0; i < sites.count; i++)
        sites.item[i] = i + 1;
    return mean_of(graph, IN(0), sites, false);
}

OP_SHAPE(mean) {
    ir_shape_args as_sum = *args;
    return ir_shape_sum(&as_sum, out);
}
OP_EVAL(mean) {
    eval_expansion(args);
}
OP_EXPAND(mean) {
    return mean_of(graph, IN(0), node->attrs.axes, node->attrs.keep);
}

/* ---- losses ---- */

OP_SHAPE(mse) {
    if (!ir_type_same_shape(args->type[0], args->type[1]))
        return ir_shape_error(args, "shapes %s and %s differ", op_shape(args->type[0]).text,
                              op_shape(args->type[1]).text);
    *out = ir_type_make(IR_F32, 0, NULL);
    return true;
}
OP_EVAL(mse) {
    int64_t n = ir_type_elements(args->type[0]);
    for (int64_t i = 0; i < n; i++) {
        double d = args->in[0][i] - args->in[1][i];
        args->out[0] += d * d / (double)n;
    }
}
OP_EXPAND(mse) {
    ir_value d = ir_unary(graph, IR_OP_square, ir_binary(graph, IR_OP_sub, IN(0), IN(1)));
    return mean_of(graph, d, all_axes(ir_type_of(graph, d)), false);
}

OP_SHAPE(cross_entropy) {
    ir_type x = args->type[0], t = args->type[1];
    double s = args->attrs->smoothing;
    if (x.rank != 2) return ir_shape_error(args, "logits are %s, expected (N,K)", op_shape(x).text);
    bool hard = t.dtype == IR_I64 && t.rank == 1 && t.dim[0] == x.dim[0];
    if (!hard && !(t.dtype == IR_F32 && ir_type_same_shape(t, x)))
        return ir_shape_error(args, "target is %s%s, expected i64 (%lld) or f32 %s",
                              ir_dtype_name(t.dtype), op_shape(t).text, (long long)x.dim[0],
                              op_shape(x).text);
    if (!(s >= 0 && s < 1))
        return ir_shape_error(args, "smoothing is %g, expected 0 <= smoothing < 1", s);
    *out = ir_type_make(IR_F32, 0, NULL);
    return true;
}
OP_EVAL(cross_entropy) {
    int64_t n = args->type[0].dim[0], k = args->type[0].dim[1];
    double s = args->node->attrs.smoothing;
    bool hard = args->type[1].dtype == IR_I64;
    for (int64_t i = 0; i < n; i++) {
        const double *x = args->in[0] + i * k;
        double most = x[0], sum = 0;
        for (int64_t c = 1; c < k; c++)
            most = x[c] > most ? x[c] : most;
        for (int64_t c = 0; c < k; c++)
            sum += exp(x[c] - most);
        for (int64_t c = 0; c < k; c++) {
            double t = hard ? ((int64_t)args->in[1][i] == c) : args->in[1][i * k + c];
            t = t * (1 - s) + s / (double)k;
            args->out[0] += t * (most + log(sum) - x[c]) / (double)n;
        }
    }
}
OP_EXPAND(cross_entropy) {
    ir_type x = ir_type_of(graph, IN(0));
    double s = node->attrs.smoothing, off = s / (double)x.dim[1];
    ir_value target = IN(1);
    if (ir_type_of(graph, target).dtype == IR_I64) {
        ir_attrs attrs = {.classes = x.dim[1],
                          .on = 1 - s + off,
                          .off = off,
                          .set = IR_SET(classes) | IR_SET(on) | IR_SET(off)};
        target = build(graph, IR_OP_one_hot, target, &attrs);
    } else if (s != 0) {
        ir_value floor = ir_constant(graph, ir_type_make(IR_F32, 0, NULL), off);
        target = ir_binary(graph, IR_OP_add, ir_scale(graph, target, 1 - s), floor);
    }
    ir_value rows = ir_binary(graph, IR_OP_softmax_xent, IN(0), target);
    return mean_of(graph, rows, IR_INTS(0), false);
}
