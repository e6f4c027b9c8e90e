/* Sums, ops over whole rows of the last dimension, and random numbers. */
#include "op_util.h"

#include <math.h>

#define OPERAND(i) (ir_at(graph, y)->operand[i])

/* ---- sum over axes ---- */

static bool has_axis(const ir_ints *axes, int d) {
    for (int i = 0; i < axes->count; i++)
        if (axes->item[i] == d) return true;
    return false;
}

/* Whether a sum's result has an element for every site, as its operand of this rank has. */
static bool keeps_sites(const ir_ints *axes, int rank) {
    return axes->count == 0 || (axes->count == 1 && axes->item[0] == rank - 1);
}

static bool sum_shape(const ir_shape_args *args, ir_type *out) {
    ir_type x = args->type[0];
    const ir_ints *axes = &args->attrs->axes;
    for (int i = 0; i < axes->count; i++)
        if (axes->item[i] < 0 || axes->item[i] >= x.rank ||
            (i && axes->item[i] <= axes->item[i - 1]))
            return ir_shape_error(args, "axes must ascend within 0..%d", x.rank - 1);
    *out = (ir_type){.dtype = IR_F32};
    for (int d = 0; d < x.rank; d++) {
        if (!has_axis(axes, d))
            out->dim[out->rank++] = x.dim[d];
        else if (args->attrs->keep)
            out->dim[out->rank++] = 1;
    }
    if (out->rank == x.rank && keeps_sites(axes, x.rank)) out->sparsity = x.sparsity;
    return true;
}

OP_SHAPE(sum) {
    return sum_shape(args, out);
}
/* Calls `into` with every element and its place in the result. */
typedef void reduce_into(double *result, double x);

static void reduce(const ir_eval_args *args, reduce_into *into) {
    ir_type x = args->type[0];
    int64_t stride[IR_MAX_RANK] = {0}, index[IR_MAX_RANK] = {0}, next = 1, at = 0;
    for (int d = x.rank - 1; d >= 0; d--) {
        if (has_axis(&args->node->attrs.axes, d)) continue;
        stride[d] = next;
        next *= x.dim[d];
    }
    for (int64_t i = 0, n = ir_type_elements(x); i < n; i++) {
        into(&args->out[at], args->in[0][i]);
        for (int d = x.rank - 1; d >= 0; d--) {
            at += stride[d];
            if (++index[d] < x.dim[d]) break;
            at -= stride[d] * x.dim[d];
            index[d] = 0;
        }
    }
}

static void add_to(double *sum, double x) {
    *sum += x;
}
static void raise_to(double *most, double x) {
    if (x > *most || x != x) *most = x; /* once NaN, always NaN */
}

OP_EVAL(sum) {
    reduce(args, add_to);
}
OP_GRAD(sum) {
    ir_type x = ir_type_of(graph, OPERAND(0)), kept = x;
    const ir_ints *axes = &ir_at(graph, y)->attrs.axes;
    for (int i = 0; i < axes->count; i++)
        kept.dim[axes->item[i]] = 1;
    if (!keeps_sites(axes, x.rank)) kept.sparsity = (ir_sparsity){0};
    ir_value back = ir_reshape(graph, dy, kept);
    dx[0] = ir_broadcast(graph, back, x);
}

OP_SHAPE(max) {
    return sum_shape(args, out);
}
OP_EVAL(max) {
    for (int64_t i = 0, n = ir_type_elements(args->node->type); i < n; i++)
        args->out[i] = -INFINITY;
    reduce(args, raise_to);
}
OP_GRAD(max) {
    ir_value x = OPERAND(0);
    ir_type kept = ir_type_of(graph, x);
    ir_ints axes = ir_at(graph, y)->attrs.axes;
    for (int i = 0; i < axes.count; i++)
        kept.dim[axes.item[i]] = 1;
    if (!keeps_sites(&axes, kept.rank)) kept.sparsity = (ir_sparsity){0};
    ir_value hit = ir_binary(graph, IR_OP_equal, x, ir_reshape(graph, y, kept));
    ir_value share =
        ir_binary(graph, IR_OP_div, ir_reshape(graph, dy, kept), ir_sum(graph, hit, axes, true));
    dx[0] = ir_binary(graph, IR_OP_mul, hit, share);
}

/* ---- rows ---- */

static bool same_as_first(const ir_shape_args *args, ir_type *out) {
    *out = args->type[0];
    if (out->rank == 0) return ir_shape_error(args, "operand is a scalar, expected rows");
    for (int i = 1; i < args->count; i++)
        if (!ir_type_same_shape(args->type[i], *out))
            return ir_shape_error(args, "shapes %s and %s differ", op_shape(*out).text,
                                  op_shape(args->type[i]).text);
    return true;
}

typedef struct rows {
    int64_t count, width;
} rows;
static rows rows_of(ir_type type) {
    int64_t width = type.dim[type.rank - 1];
    return (rows){ir_type_elements(type) / width, width};
}

typedef struct moments {
    double mean, rstd;
} moments;
static moments row_moments(const double *x, int64_t width, double eps) {
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < width; c++)
        sum += x[c];
    double mean = sum / (double)width;
    for (int64_t c = 0; c < width; c++)
        squares += (x[c] - mean) * (x[c] - mean);
    return (moments){mean, 1 / sqrt(squares / (double)width + eps)};
}

OP_SHAPE(row_normalize) {
    return same_as_first(args, out);
}
OP_EVAL(row_normalize) {
    rows r = rows_of(args->type[0]);
    for (int64_t i = 0; i < r.count; i++) {
        const double *x = args->in[0] + i * r.width;
        moments m = row_moments(x, r.width, args->node->attrs.eps);
        for (int64_t c = 0; c < r.width; c++)
            args->out[i * r.width + c] = (x[c] - m.mean) * m.rstd;
    }
}
OP_GRAD(row_normalize) {
    ir_attrs attrs = {.eps = ir_at(graph, y)->attrs.eps, .set = IR_SET(eps)};
    dx[0] =
        ir_build(graph, IR_OP_row_normalize_grad, (ir_value[]){dy, OPERAND(0)}, 2, &attrs, NULL);
}

/* dx = rstd (dy - mean(dy) - xhat mean(dy xhat)) (Ba, Kiros, Hinton 2016) */
OP_SHAPE(row_normalize_grad) {
    return same_as_first(args, out);
}
OP_EVAL(row_normalize_grad) {
    rows r = rows_of(args->type[0]);
    for (int64_t i = 0; i < r.count; i++) {
        const double *dy = args->in[0] + i * r.width, *x = args->in[1] + i * r.width;
        moments m = row_moments(x, r.width, args->node->attrs.eps);
        double sum = 0, dot = 0;
        for (int64_t c = 0; c < r.width; c++) {
            sum += dy[c];
            dot += dy[c] * (x[c] - m.mean) * m.rstd;
        }
        for (int64_t c = 0; c < r.width; c++)
            args->out[i * r.width + c] =
                m.rstd *
                (dy[c] - sum / (double)r.width - (x[c] - m.mean) * m.rstd * dot / (double)r.width);
    }
}
OP_NO_GRAD(row_normalize_grad)

/* ---- global response normalization (Woo et al. 2023, released code) ---- */

static double mean_norm(const double *ss, int64_t width) {
    double sum = 0;
    for (int64_t c = 0; c < width; c++)
        sum += sqrt(ss[c]);
    return sum / (double)width;
}

OP_SHAPE(grn_norm) {
    return same_as_first(args, out);
}
OP_EVAL(grn_norm) {
    rows r = rows_of(args->type[0]);
    for (int64_t i = 0; i < r.count; i++) {
        const double *ss = args->in[0] + i * r.width;
        double m = mean_norm(ss, r.width) + args->node->attrs.eps;
        for (int64_t c = 0; c < r.width; c++)
            args->out[i * r.width + c] = sqrt(ss[c]) / m;
    }
}
OP_GRAD(grn_norm) {
    ir_attrs attrs = {.eps = ir_at(graph, y)->attrs.eps, .set = IR_SET(eps)};
    dx[0] = ir_build(graph, IR_OP_grn_norm_grad, (ir_value[]){dy, OPERAND(0)}, 2, &attrs, NULL);
}

/* dG_c = dy_c / m - sum_k dy_k G_k / (C m^2); dss_c = dG_c / (2 G_c), 0 where G_c is 0 */
OP_SHAPE(grn_norm_grad) {
    return same_as_first(args, out);
}
OP_EVAL(grn_norm_grad) {
    rows r = rows_of(args->type[0]);
    for (int64_t i = 0; i < r.count; i++) {
        const double *dy = args->in[0] + i * r.width, *ss = args->in[1] + i * r.width;
        double m = mean_norm(ss, r.width) + args->node->attrs.eps, dot = 0;
        for (int64_t c = 0; c < r.width; c++)
            dot += dy[c] * sqrt(ss[c]);
        for (int64_t c = 0; c < r.width; c++) {
            double dg = dy[c] / m - dot / ((double)r.width * m * m);
            args->out[i * r.width + c] = ss[c] > 0 ? dg / (2 * sqrt(ss[c])) : 0;
        }
    }
}
OP_NO_GRAD(grn_norm_grad)

/* ---- softmax cross entropy ---- */

OP_SHAPE(softmax_xent) {
    if (!same_as_first(args, out)) return false;
    out->rank--;
    out->dim[out->rank] = 0;
    return true;
}

static double log_sum_exp(const double *x, int64_t width) {
    double most = x[0], sum = 0;
    for (int64_t c = 1; c < width; c++)
        most = x[c] > most ? x[c] : most;
    for (int64_t c = 0; c < width; c++)
        sum += exp(x[c] - most);
    return most + log(sum);
}

OP_EVAL(softmax_xent) {
    rows r = rows_of(args->type[0]);
    for (int64_t i = 0; i < r.count; i++) {
        const double *x = args->in[0] + i * r.width, *t = args->in[1] + i * r.width;
        double lse = log_sum_exp(x, r.width), loss = 0;
        for (int64_t c = 0; c < r.width; c++)
            loss += t[c] * (lse - x[c]);
        args->out[i] = loss;
    }
}
OP_GRAD(softmax_xent) {
    dx[0] = ir_build(graph, IR_OP_softmax_xent_grad, (ir_value[]){dy, OPERAND(0), OPERAND(1)}, 3,
                     NULL, NULL);
}

OP_SHAPE(softmax_xent_grad) {
    ir_type dy = args->type[0], x = args->type[1], rows = x;
    if (x.rank) rows.rank--;
    if (!x.rank || !ir_type_same_shape(x, args->type[2]) || !ir_type_same_shape(dy, rows))
        return ir_shape_error(args, "gradient %s does not fit rows of %s", op_shape(dy).text,
                              op_shape(x).text);
    *out = x;
    return true;
}
OP_EVAL(softmax_xent_grad) {
    rows r = rows_of(args->type[1]);
    for (int64_t i = 0; i < r.count; i++) {
        const double *x = args->in[1] + i * r.width, *t = args->in[2] + i * r.width;
        double lse = log_sum_exp(x, r.width), weight = 0;
        for (int64_t c = 0; c < r.width; c++)
            weight += t[c];
        for (int64_t c = 0; c < r.width; c++)
            args->out[i * r.width + c] = args->in[0][i] * (exp(x[c] - lse) * weight - t[c]);
    }
}
OP_NO_GRAD(softmax_xent_grad)

/* ---- random ---- */

OP_SHAPE(random_keep) {
    double rate = args->attrs->rate;
    if (!(rate >= 0 && rate < 1))
        return ir_shape_error(args, "rate is %g, expected 0 <= rate < 1", rate);
    if (args->type[0].rank != 0)
        return ir_shape_error(args, "step is %s, expected a scalar", op_shape(args->type[0]).text);
    *out = ir_type_make(IR_F32, args->attrs->shape.count, args->attrs->shape.item);
    return true;
}
OP_EVAL(random_keep) {
    ir_type type = args->node->type;
    int64_t samples = type.rank ? type.dim[0] : 1, rest = ir_type_elements(type) / samples;
    uint64_t seed = args->scalars->seed;
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    double rate = args->node->attrs.rate;
    for (int64_t n = 0; n < samples; n++)
        for (int64_t i = 0; i < rest; i++) {
            uint32_t counter[4] = {(uint32_t)i, (uint32_t)n, (uint32_t)args->node->attrs.stream,
                                   (uint32_t)args->scalars->step};
            uint32_t word[4];
            ir_philox(key, counter, word);
            double u = (double)(word[0] >> 8) * 0x1p-24;
            args->out[n * rest + i] = u < rate ? 0 : 1 / (1 - rate);
        }
}
OP_NO_GRAD(random_keep)
