/* Normalizations over channels: GRN in all the forms the paper studies, and local response
 * normalization. */
#include "op_util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IN(i) (node->operand[i])

/* Global response normalization (Woo et al. 2023). For every channel c of a sample (or the batch):
 *
 *     G_c  l2 sqrt(sum x^2) | l1 sum |x| | mean of x | none: x itself, site by site
 *     N_c  mean G / (mean_c G + eps) | sum G / (sum_c G + eps) | standardize (G - mean_c G) /
 *          sqrt(var_c G + eps) | inverse_sum 1 / (sum_c G + eps) | none G
 *     y    w (x N) + b, plus x with `residual`
 *
 * `inside` adds eps under the root of l2, as the JAX listing of the paper's code does. */
typedef enum grn_aggregate { GRN_L2, GRN_L1, GRN_MEAN, GRN_NONE } grn_aggregate;
typedef enum grn_normalize {
    GRN_BY_MEAN,
    GRN_BY_SUM,
    GRN_STANDARDIZE,
    GRN_INVERSE_SUM,
    GRN_PLAIN
} grn_normalize;

typedef struct grn_form {
    grn_aggregate aggregate;
    grn_normalize normalize;
    bool residual, inside, batch;
    double eps;
} grn_form;

static int find_word(const char *word, const char *const *words, int count) {
    for (int i = 0; i < count; i++)
        if (word && strcmp(word, words[i]) == 0) return i;
    return -1;
}

static bool form_of(const ir_attrs *a, grn_form *form) {
    static const char *const aggregates[] = {"l2", "l1", "mean", "none"};
    static const char *const normalizes[] = {"mean", "sum", "standardize", "inverse_sum", "none"};
    static const char *const scopes[] = {"sample", "batch"};
    int aggregate = find_word(a->aggregate, aggregates, 4);
    int normalize = find_word(a->normalize, normalizes, 5), scope = find_word(a->scope, scopes, 2);
    *form = (grn_form){(grn_aggregate)aggregate,
                       (grn_normalize)normalize,
                       a->residual,
                       a->inside,
                       scope == 1,
                       a->eps};
    return aggregate >= 0 && normalize >= 0 && scope >= 0;
}

/* What would have no effect is refused. */
static bool check_form(const ir_shape_args *args, const grn_form *form) {
    const char *aggregate = args->attrs->aggregate;
    if (form->inside && form->aggregate != GRN_L2)
        return ir_shape_error(args,
                              "inside is true, but aggregate '%s' has no root for eps to stand "
                              "under; expected false, or l2",
                              aggregate);
    if (form->batch && form->aggregate == GRN_NONE)
        return ir_shape_error(args, "scope is 'batch', but aggregate 'none' sees one site; "
                                    "expected sample, or l2, l1 or mean");
    return true;
}

OP_SHAPE(grn) {
    grn_form form;
    if (!op_affine_shape(args, out)) return false;
    if (form_of(args->attrs, &form)) return check_form(args, &form);
    return ir_shape_error(args,
                          "aggregate is '%s', normalize '%s', scope '%s'; expected l2, l1, "
                          "mean or none; mean, sum, standardize, inverse_sum or none; sample or "
                          "batch",
                          args->attrs->aggregate, args->attrs->normalize, args->attrs->scope);
}

/* ---- reference ---- */

/* N of one row of statistics, in place. */
static void normalize_row(const grn_form *f, double *g, int64_t c) {
    double sum = 0, var = 0;
    for (int64_t i = 0; i < c; i++)
        sum += g[i];
    double mean = sum / (double)c;
    for (int64_t i = 0; i < c; i++)
        var += (g[i] - mean) * (g[i] - mean) / (double)c;
    for (int64_t i = 0; i < c; i++)
        switch (f->normalize) {
        case GRN_BY_MEAN: g[i] /= mean + f->eps; break;
        case GRN_BY_SUM: g[i] /= sum + f->eps; break;
        case GRN_STANDARDIZE: g[i] = (g[i] - mean) / sqrt(var + f->eps); break;
        case GRN_INVERSE_SUM: g[i] = 1 / (sum + f->eps); break;
        case GRN_PLAIN: break;
        }
}

/* G of `sites` rows of x. */
static void aggregate_rows(const grn_form *f, const double *x, int64_t sites, int64_t c,
                           double *g) {
    memset(g, 0, (size_t)c * sizeof *g);
    for (int64_t i = 0; i < sites * c; i++)
        g[i % c] += f->aggregate == GRN_L2   ? x[i] * x[i]
                    : f->aggregate == GRN_L1 ? fabs(x[i])
                                             : x[i];
    for (int64_t i = 0; i < c; i++) {
        if (f->aggregate == GRN_L2) g[i] = sqrt(g[i] + (f->inside ? f->eps : 0));
        if (f->aggregate == GRN_MEAN) g[i] /= (double)sites;
    }
}

OP_EVAL(grn) {
    grn_form f;
    form_of(&args->node->attrs, &f);
    int64_t c = args->type[1].dim[0], rows = ir_type_elements(args->type[0]) / c;
    int64_t parts = f.aggregate == GRN_NONE ? rows : f.batch ? 1 : args->type[0].dim[0];
    int64_t sites = rows / parts;
    double *g = calloc((size_t)c, sizeof *g);
    if (!g) IR_BUG("out of memory");
    for (int64_t p = 0; p < parts; p++) {
        const double *x = args->in[0] + p * sites * c;
        double *y = args->out + p * sites * c;
        aggregate_rows(&f, x, sites, c, g);
        normalize_row(&f, g, c);
        for (int64_t i = 0; i < sites * c; i++)
            y[i] =
                args->in[1][i % c] * x[i] * g[i % c] + args->in[2][i % c] + (f.residual ? x[i] : 0);
    }
    free(g);
}

/* ---- expansion ---- */

static ir_value add_number(ir_graph *graph, ir_value x, double number) {
    if (number == 0) return x;
    return ir_binary(graph, IR_OP_add, x,
                     ir_constant(graph, ir_type_make(IR_F32, 0, NULL), number));
}

static ir_value sum_columns(ir_graph *graph, ir_value x) {
    return ir_sum(graph, x, IR_INTS(ir_type_of(graph, x).rank - 1), true);
}

static ir_value aggregate(ir_graph *graph, const grn_form *f, ir_value x) {
    ir_type type = ir_type_of(graph, x);
    ir_ints axes = {0};
    double count = 1;
    for (int d = f->batch ? 0 : 1; d < type.rank - 1; d++) {
        axes.item[axes.count++] = d;
        count *= (double)type.dim[d];
    }
    ir_value g = f->aggregate == GRN_L2   ? ir_unary(graph, IR_OP_square, x)
                 : f->aggregate == GRN_L1 ? ir_unary(graph, IR_OP_abs, x)
                                          : x;
    if (axes.count) g = ir_sum(graph, g, axes, true);
    return f->aggregate == GRN_MEAN ? ir_scale(graph, g, 1 / count) : g;
}

static ir_value normalize(ir_graph *graph, const grn_form *f, ir_value g) {
    double inverse = 1.0 / (double)ir_type_of(graph, g).dim[ir_type_of(graph, g).rank - 1];
    ir_value below, mean, off;
    switch (f->normalize) {
    case GRN_PLAIN: return g;
    case GRN_BY_MEAN:
        below = add_number(graph, ir_scale(graph, sum_columns(graph, g), inverse), f->eps);
        return ir_binary(graph, IR_OP_div, g, below);
    case GRN_BY_SUM:
        return ir_binary(graph, IR_OP_div, g, add_number(graph, sum_columns(graph, g), f->eps));
    case GRN_INVERSE_SUM:
        below = add_number(graph, sum_columns(graph, g), f->eps);
        return ir_binary(graph, IR_OP_div, ir_constant(graph, ir_type_make(IR_F32, 0, NULL), 1),
                         below);
    case GRN_STANDARDIZE:
        mean = ir_scale(graph, sum_columns(graph, g), inverse);
        off = ir_binary(graph, IR_OP_sub, g, mean);
        below = ir_scale(graph, sum_columns(graph, ir_unary(graph, IR_OP_square, off)), inverse);
        below = ir_unary(graph, IR_OP_sqrt, add_number(graph, below, f->eps));
        return ir_binary(graph, IR_OP_div, off, below);
    }
    IR_BUG("normalize %d", (int)f->normalize);
}

/* x's scale, with what the residual adds: w N + 1. The family's own form has an op of its own,
 * whose gradient is 0 where a channel is. */
OP_EXPAND(grn) {
    grn_form f;
    form_of(&node->attrs, &f);
    ir_value n, g = f.aggregate == GRN_NONE ? IN(0) : aggregate(graph, &f, IN(0));
    if (f.aggregate == GRN_L2 && f.normalize == GRN_BY_MEAN && !f.inside) {
        ir_attrs attrs = {.eps = f.eps, .set = IR_SET(eps)};
        n = ir_build(graph, IR_OP_grn_norm, &g, 1, &attrs, NULL);
    } else {
        if (f.aggregate == GRN_L2)
            g = ir_unary(graph, IR_OP_sqrt, add_number(graph, g, f.inside ? f.eps : 0));
        n = normalize(graph, &f, g);
    }
    ir_value s = ir_binary(graph, IR_OP_mul, n, IN(1));
    if (f.residual) s = add_number(graph, s, 1);
    return ir_binary(graph, IR_OP_add, ir_binary(graph, IR_OP_mul, IN(0), s), IN(2));
}

/* ---- local response normalization (Krizhevsky et al. 2012, as torch.nn.LocalResponseNorm) ---- */

OP_SHAPE(local_response_norm) {
    *out = args->type[0];
    int64_t size = args->attrs->size;
    if (out->rank < 3)
        return ir_shape_error(args, "input is %s, expected (N,..,C)", op_shape(*out).text);
    if (size >= 1 && size % 2 == 1 && size <= OP_WIDEST_WINDOW) return true;
    return ir_shape_error(args, "size is %lld, expected an odd number up to %d", (long long)size,
                          OP_WIDEST_WINDOW);
}

OP_EVAL(local_response_norm) {
    const ir_attrs *a = &args->node->attrs;
    int64_t c = args->type[0].dim[args->type[0].rank - 1], half = a->size / 2;
    for (int64_t at = 0, n = ir_type_elements(args->type[0]); at < n; at++) {
        int64_t own = at % c, row = at - own;
        double sum = 0;
        for (int64_t i = own - half; i <= own + half; i++)
            if (i >= 0 && i < c) sum += args->in[0][row + i] * args->in[0][row + i];
        double below = pow(a->k + a->alpha * sum / (double)a->size, a->beta);
        args->out[at] = args->in[0][at] / below;
    }
}

/* Channels become the pixels of a line, so that the sum over neighbours is a window. */
OP_EXPAND(local_response_norm) {
    const ir_attrs *a = &node->attrs;
    ir_type x = ir_type_of(graph, IN(0));
    int64_t c = x.dim[x.rank - 1], sites = op_span(x, 1, x.rank - 1);
    ir_value s = ir_unary(graph, IR_OP_square, IN(0));
    s = ir_reshape(graph, s, ir_type_make(IR_F32, 4, (int64_t[]){x.dim[0], 1, sites, c}));
    ir_attrs order = {.order = IR_INTS(0, 1, 3, 2), .set = IR_SET(order)};
    s = ir_build(graph, IR_OP_permute, &s, 1, &order, NULL);
    ir_type taps = ir_type_make(IR_F32, 4, (int64_t[]){sites, 1, 1, a->size});
    s = ir_binary(graph, IR_OP_window, s, ir_constant(graph, taps, 1));
    s = ir_build(graph, IR_OP_permute, &s, 1, &order, NULL);
    s = ir_reshape(graph, s, x);
    s = add_number(graph, ir_scale(graph, s, a->alpha / (double)a->size), a->k);
    ir_attrs power = {.exponent = -a->beta, .set = IR_SET(exponent)};
    return ir_binary(graph, IR_OP_mul, IN(0), ir_build(graph, IR_OP_power, &s, 1, &power, NULL));
}
