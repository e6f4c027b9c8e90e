/* Random graphs for tests of graph passes: every op a model may use, in shapes and orders that no
 * model has. The graph is a function of the seed; print it to repeat a failure.
 *
 *     random_graph r = random_graph_new(seed, IR_KIND_GRAD);
 *     ... r.graph has inputs, parameters used several times or not at all, an output `loss` ...
 *     random_tensors t = random_tensors_of(r.graph, seed);     values of its sources, by name
 *
 * Composite ops stand among primitive ones. Values stay moderate, so that differences and relative
 * errors mean something.
 */
#ifndef RANDOM_GRAPH_H
#define RANDOM_GRAPH_H

#include "eval.h"
#include "graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_VALUES = 256, RANDOM_BATCH = 3 };

typedef struct random_graph {
    ir_graph *graph;
    uint64_t state;                /* of the random numbers */
    ir_value value[RANDOM_VALUES]; /* f32 values to choose operands from */
    int count;
    ir_value image; /* an input of RANDOM_BATCH samples */
    int params;     /* made so far */
    int streams;    /* of drop_path */
} random_graph;

static inline uint64_t random_below(random_graph *r, uint64_t n) {
    r->state = r->state * 6364136223846793005ull + 1442695040888963407ull;
    return (r->state >> 33) % n;
}

static inline bool random_coin(random_graph *r) {
    return random_below(r, 2);
}

static inline ir_value random_keep_value(random_graph *r, ir_value value) {
    if (r->count < RANDOM_VALUES) r->value[r->count++] = value;
    return value;
}

static inline ir_type random_type(const random_graph *r, ir_value x) {
    return ir_type_of(r->graph, x);
}

/* A parameter of this shape: an old one, one of another shape with as many elements, or a new one.
 */
static inline ir_value random_param(random_graph *r, ir_type type) {
    char name[32];
    ir_value same = IR_NO_VALUE, other = IR_NO_VALUE;
    for (size_t i = 0; i < r->graph->count; i++) {
        const ir_node *node = &r->graph->nodes[i];
        if (node->op != IR_OP_param) continue;
        if (ir_type_equal(node->type, type))
            same = (ir_value){(uint32_t)i};
        else if (ir_type_elements(node->type) == ir_type_elements(type))
            other = (ir_value){(uint32_t)i};
    }
    if (ir_some(same) && random_coin(r)) return same;
    if (ir_some(other) && random_coin(r)) return ir_reshape(r->graph, other, type);
    snprintf(name, sizeof name, "p%d.weight", r->params++);
    return ir_source_node(r->graph, IR_OP_param, name, type, NULL);
}

static inline ir_type random_vector(int64_t n) {
    return ir_type_make(IR_F32, 1, &n);
}

/* A late value more often than an early one, of at least this rank. */
static inline ir_value random_pick(random_graph *r, int rank) {
    for (int tries = 0; tries < 50; tries++) {
        int back = (int)random_below(r, (uint64_t)r->count);
        if (random_coin(r)) back /= 3;
        ir_value x = r->value[r->count - 1 - back];
        if (random_type(r, x).rank >= rank) return x;
    }
    return r->image;
}

/* Brings values back to about 1, so that products of products stay moderate. */
static inline ir_value random_tame(random_graph *r, ir_value x) {
    ir_value y = ir_unary(r->graph, IR_OP_sigmoid, x);
    return ir_scale(r->graph, y, 1.5);
}

static inline ir_value random_unary(random_graph *r) {
    ir_graph *g = r->graph;
    ir_value x = random_pick(r, 0);
    ir_attrs tanh_form = {.tanh = true};
    switch (random_below(r, 9)) {
    case 0: return ir_unary(g, IR_OP_gelu, x);
    case 1: return ir_build(g, IR_OP_gelu, &x, 1, &tanh_form, NULL);
    case 2: return ir_unary(g, IR_OP_sigmoid, x);
    case 3: return ir_unary(g, IR_OP_relu, x);
    case 4: return ir_unary(g, IR_OP_square, random_tame(r, x));
    case 5: return ir_scale(g, x, random_coin(r) ? -1 : 0.25 * (double)(1 + random_below(r, 5)));
    case 6: return ir_unary(g, IR_OP_exp, random_tame(r, x));
    case 7: return ir_unary(g, IR_OP_log, random_tame(r, x));
    default: return ir_unary(g, IR_OP_sqrt, random_tame(r, x));
    }
}

/* A shape that broadcasts to x: some dimensions 1, some leading ones missing. */
static inline ir_type random_part(random_graph *r, ir_type x) {
    int drop = x.rank && random_coin(r) ? (int)random_below(r, (uint64_t)x.rank + 1) : 0;
    ir_type type = {.dtype = IR_F32};
    for (int d = drop; d < x.rank; d++)
        type.dim[type.rank++] = random_coin(r) ? 1 : x.dim[d];
    return type;
}

static inline ir_value random_partner(random_graph *r, ir_value x) {
    ir_type type = random_type(r, x);
    if (random_below(r, 6) == 0)
        return ir_constant(r->graph, random_part(r, type), (double)random_below(r, 3));
    if (random_coin(r)) return random_param(r, random_part(r, type));
    for (int tries = 0; tries < 20; tries++) {
        ir_value y = random_pick(r, 0);
        ir_type other = random_type(r, y);
        bool fits = other.rank <= type.rank;
        if (type.sparsity.kept && other.sparsity.kept) /* of one table */
            fits = ir_sparse_table(r->graph, x).id == ir_sparse_table(r->graph, y).id;
        for (int d = 0; fits && d < other.rank; d++) {
            int64_t n = type.dim[type.rank - other.rank + d];
            bool fixed = other.sparsity.kept && d < 4; /* tiles do not grow */
            fits = other.dim[d] == n || (other.dim[d] == 1 && !fixed);
        }
        if (other.sparsity.kept) fits = fits && other.rank == type.rank;
        if (fits) return y;
    }
    return x;
}

static inline ir_value random_binary(random_graph *r) {
    ir_value x = random_pick(r, 0), y = random_partner(r, x);
    static const ir_op ops[] = {IR_OP_add, IR_OP_sub, IR_OP_mul, IR_OP_mul};
    ir_op op = ops[random_below(r, 4)];
    if (random_below(r, 8) == 0) {
        ir_value one = ir_constant(r->graph, (ir_type){.dtype = IR_F32}, 1);
        return ir_binary(r->graph, IR_OP_div, x,
                         ir_binary(r->graph, IR_OP_add, random_tame(r, y), one));
    }
    return random_coin(r) ? ir_binary(r->graph, op, x, y) : ir_binary(r->graph, op, y, x);
}

static inline ir_value random_sum(random_graph *r) {
    ir_value x = random_pick(r, 1);
    ir_type type = random_type(r, x);
    ir_ints axes = {0};
    for (int d = 0; d < type.rank; d++)
        if (random_coin(r)) axes.item[axes.count++] = d;
    if (axes.count == 0) return x;
    ir_attrs mean = {.axes = axes, .keep = random_coin(r), .set = IR_SET(axes) | IR_SET(keep)};
    if (random_coin(r)) return ir_build(r->graph, IR_OP_mean, &x, 1, &mean, NULL);
    return ir_scale(r->graph, ir_sum(r->graph, x, axes, random_coin(r)), 0.125);
}

static inline ir_value random_move(random_graph *r) {
    ir_graph *g = r->graph;
    ir_value x = random_pick(r, 1);
    ir_type type = random_type(r, x), to = type;
    ir_attrs attrs = {0};
    if (type.sparsity.kept) return x;
    int a = (int)random_below(r, (uint64_t)type.rank), b;
    switch (random_below(r, 5)) {
    case 0: /* swap two dimensions */
        b = (int)random_below(r, (uint64_t)type.rank);
        attrs.order.count = type.rank;
        for (int d = 0; d < type.rank; d++)
            attrs.order.item[d] = d == a ? b : d == b ? a : d;
        return ir_build(g, IR_OP_permute, &x, 1, &attrs, NULL);
    case 1: /* merge a dimension with the next */
        if (a + 1 == type.rank) return x;
        to.dim[a] *= to.dim[a + 1];
        for (to.rank--, b = a + 1; b < to.rank; b++)
            to.dim[b] = type.dim[b + 1];
        return ir_reshape(g, x, to);
    case 2: /* insert a dimension of size 1 */
        if (type.rank == 5) return x;
        for (to.rank++, b = a + 1; b < to.rank; b++)
            to.dim[b] = type.dim[b - 1];
        to.dim[a] = 1;
        return ir_reshape(g, x, to);
    case 3: /* cut two dimensions the other way */
        if (a + 1 == type.rank) return x;
        to.dim[a] = type.dim[a + 1];
        to.dim[a + 1] = type.dim[a];
        return ir_reshape(g, x, to);
    default:
        attrs.shape.count = type.rank;
        for (int d = 0; d < type.rank; d++)
            attrs.shape.item[d] =
                type.dim[d] == 1 ? (int64_t)(1 + random_below(r, 3)) : type.dim[d];
        return ir_build(g, IR_OP_broadcast, &x, 1, &attrs, NULL);
    }
}

static inline ir_value random_with(random_graph *r, ir_op op, ir_value x, ir_type w, ir_type b,
                                   const ir_attrs *attrs) {
    ir_value operands[] = {x, random_param(r, w), random_param(r, b)};
    return ir_build(r->graph, op, operands, 3, attrs, NULL);
}

static inline ir_value random_layer(random_graph *r) {
    ir_graph *g = r->graph;
    ir_value x = random_pick(r, 2);
    ir_type type = random_type(r, x);
    if (type.rank < 2) return x;
    int64_t c = type.dim[type.rank - 1], out = 1 + (int64_t)random_below(r, 5);
    switch (random_below(r, 5)) {
    case 0: return random_with(r, IR_OP_layer_norm, x, random_vector(c), random_vector(c), NULL);
    case 1: return random_with(r, IR_OP_grn, x, random_vector(c), random_vector(c), NULL);
    case 2: {
        ir_attrs drop = {.rate = 0.25, .stream = ++r->streams};
        return ir_build(g, IR_OP_drop_path, &x, 1, &drop, NULL);
    }
    case 3: {
        ir_attrs half = {.groups = c % 2 ? 1 : 2, .set = IR_SET(groups)};
        ir_type w = ir_type_make(IR_F32, 2, (int64_t[]){2 * out, c / half.groups});
        return ir_build(g, IR_OP_matmul_nt, (ir_value[]){x, random_param(r, w)}, 2, &half, NULL);
    }
    default:
        return random_with(r, IR_OP_linear, x, ir_type_make(IR_F32, 2, (int64_t[]){out, c}),
                           random_vector(out), NULL);
    }
}

static inline ir_value random_convolution(random_graph *r) {
    ir_value x = random_pick(r, 4);
    ir_type type = random_type(r, x);
    if (type.rank != 4) return x;
    int64_t c = type.dim[3], out = 1 + (int64_t)random_below(r, 4), k = random_coin(r) ? 3 : 1;
    if (random_coin(r)) {
        ir_attrs same = {.pad = IR_INTS(k / 2, k / 2), .set = IR_SET(pad)};
        return random_with(r, IR_OP_depthwise_conv, x,
                           ir_type_make(IR_F32, 4, (int64_t[]){c, 1, k, k}), random_vector(c),
                           &same);
    }
    int64_t pad = (int64_t)random_below(r, 2), stride = 1 + (int64_t)random_below(r, 2);
    if (type.dim[1] + 2 * pad < k || type.dim[2] + 2 * pad < k) return x;
    ir_attrs attrs = {.pad = IR_INTS(pad, pad),
                      .stride = IR_INTS(stride, stride),
                      .set = IR_SET(pad) | IR_SET(stride)};
    return random_with(r, IR_OP_conv2d, x, ir_type_make(IR_F32, 4, (int64_t[]){out, c, k, k}),
                       random_vector(out), &attrs);
}

/* One parameter read under two shapes by two ops of one kind: a matrix in one group and in two, or
 * the taps of a window as those of three times the channels. */
static inline ir_value random_shared(random_graph *r) {
    ir_graph *g = r->graph;
    ir_value x = random_pick(r, 2);
    ir_type type = random_type(r, x);
    int64_t c = type.dim[type.rank - 1], out = 1 + (int64_t)random_below(r, 4);
    if (type.rank == 4 && type.dim[2] == 3) {
        ir_attrs square = {.pad = IR_INTS(1, 1), .set = IR_SET(pad)};
        ir_attrs line = {.pad = IR_INTS(0, 1), .set = IR_SET(pad)};
        ir_value w = random_param(r, ir_type_make(IR_F32, 4, (int64_t[]){c, 1, 3, 3}));
        x = ir_build(g, IR_OP_depthwise_conv, (ir_value[]){random_tame(r, x), w}, 2, &square, NULL);
        x = ir_reshape(g, x,
                       ir_type_make(IR_F32, 4, (int64_t[]){type.dim[0], type.dim[1], 1, 3 * c}));
        w = ir_reshape(g, w, ir_type_make(IR_F32, 4, (int64_t[]){3 * c, 1, 1, 3}));
        return ir_build(g, IR_OP_depthwise_conv, (ir_value[]){x, w}, 2, &line, NULL);
    }
    if (type.rank < 2 || c % 2) return x;
    ir_attrs two = {.groups = 2, .set = IR_SET(groups)};
    ir_value w = random_param(r, ir_type_make(IR_F32, 2, (int64_t[]){out, c}));
    random_keep_value(r, ir_binary(g, IR_OP_matmul_nt, x, w));
    w = ir_reshape(g, w, ir_type_make(IR_F32, 2, (int64_t[]){2 * out, c / 2}));
    return ir_build(g, IR_OP_matmul_nt, (ir_value[]){x, w}, 2, &two, NULL);
}

/* Half the tiles of an image, and windows on them; or the image that tiles come from. */
static inline ir_value random_tiles(random_graph *r) {
    ir_graph *g = r->graph;
    ir_value x = random_pick(r, 4), table;
    ir_type type = random_type(r, x);
    if (type.sparsity.kept && random_coin(r)) {
        int64_t k = random_coin(r) ? 3 : 1, c = type.dim[4];
        ir_value w = random_param(r, ir_type_make(IR_F32, 4, (int64_t[]){c, 1, k, 3}));
        table = ir_sparse_table(g, x);
        return ir_build(g, IR_OP_sparse_window, (ir_value[]){x, w, table}, 3, NULL, NULL);
    }
    ir_attrs grid = {.grid = IR_INTS(2, 2)};
    if (type.sparsity.kept) {
        table = ir_sparse_table(g, x);
        return ir_build(g, IR_OP_scatter_tiles, (ir_value[]){x, table}, 2, &grid, NULL);
    }
    if (type.rank != 4 || type.dim[1] != type.dim[2] || type.dim[1] % 2) return x;
    ir_value draw = ir_constant(g, ir_type_make(IR_F32, 2, (int64_t[]){type.dim[0], 4}), -1);
    ir_value count = ir_build(g, IR_OP_step, NULL, 0, NULL, NULL);
    ir_attrs mask = {.kept = 2, .stream = ++r->streams}, list = {.kept = 2};
    table = ir_build(g, IR_OP_random_mask, (ir_value[]){draw, count}, 2, &mask, NULL);
    table = ir_build(g, IR_OP_kept_tiles, &table, 1, &list, NULL);
    grid.tile = type.dim[1] / 2;
    return ir_build(g, IR_OP_gather_tiles, (ir_value[]){x, table}, 2, &grid, NULL);
}

static inline void random_step(random_graph *r) {
    ir_value y;
    switch (random_below(r, 10)) {
    case 0:
    case 1: y = random_unary(r); break;
    case 2:
    case 3: y = random_binary(r); break;
    case 4: y = random_sum(r); break;
    case 5: y = random_move(r); break;
    case 6: y = random_layer(r); break;
    case 7: y = random_tiles(r); break;
    case 8: y = random_shared(r); break;
    default: y = random_convolution(r); break;
    }
    if (ir_type_elements(random_type(r, y)) < 1000) random_keep_value(r, y);
}

/* Cross entropy with labels or soft targets, on (3,5) logits made of any value. */
static inline ir_value random_loss_of_labels(random_graph *r) {
    ir_graph *g = r->graph;
    ir_value x = random_pick(r, 2);
    ir_type type = random_type(r, x);
    if (type.rank < 2 || type.dim[0] != RANDOM_BATCH) x = r->image, type = random_type(r, x);
    int64_t k = ir_type_elements(type) / RANDOM_BATCH;
    x = ir_reshape(g, x, ir_type_make(IR_F32, 2, (int64_t[]){RANDOM_BATCH, k}));
    ir_value w = random_param(r, ir_type_make(IR_F32, 2, (int64_t[]){5, k}));
    ir_value logits = ir_binary(g, IR_OP_linear, random_tame(r, x), w);
    ir_type hard = ir_type_make(IR_I64, 1, (int64_t[]){RANDOM_BATCH});
    ir_value target = ir_input(g, "target", random_coin(r) ? hard : random_type(r, logits));
    ir_attrs smooth = {.smoothing = random_coin(r) ? 0.1 : 0, .set = IR_SET(smoothing)};
    return ir_build(g, IR_OP_cross_entropy, (ir_value[]){logits, target}, 2, &smooth, NULL);
}

static inline void random_results(random_graph *r) {
    ir_graph *g = r->graph;
    ir_value loss = random_loss_of_labels(r);
    for (int i = 0; i < 3; i++) {
        ir_value x = random_tame(r, random_pick(r, 0));
        ir_type type = random_type(r, x);
        ir_ints axes = {.count = type.rank};
        for (int d = 0; d < type.rank; d++)
            axes.item[d] = d;
        ir_attrs mean = {.axes = axes, .set = IR_SET(axes)};
        if (type.rank) x = ir_build(g, IR_OP_mean, &x, 1, &mean, NULL);
        loss = ir_binary(g, random_coin(r) ? IR_OP_add : IR_OP_sub, loss, x);
    }
    ir_add_output(g, "y", random_pick(r, 0));
    ir_add_output(g, "loss", loss);
}

static inline random_graph random_graph_new(uint64_t seed, ir_kind kind) {
    random_graph r = {.graph = ir_graph_new("random", kind), .state = seed * 2654435761u + 1};
    for (int i = 0; i < 8; i++)
        random_below(&r, 2);
    int64_t size = 2 + (int64_t)random_below(&r, 3), c = 1 + (int64_t)random_below(&r, 5);
    ir_type image = ir_type_make(IR_F32, 4, (int64_t[]){RANDOM_BATCH, size, size, c});
    if (random_below(&r, 4) == 0) /* an input without samples, and the first one */
        random_keep_value(&r, ir_input(r.graph, "table", random_vector(c)));
    r.image = random_keep_value(&r, ir_input(r.graph, "image", image));
    random_keep_value(&r, random_param(&r, random_vector(c)));
    ir_source_node(r.graph, IR_OP_param, "unused.weight", random_vector(2), NULL);
    int steps = 4 + (int)random_below(&r, 28);
    for (int i = 0; i < steps; i++)
        random_step(&r);
    random_results(&r);
    return r;
}

/* ---- values ---- */

/* Tensors of sources: a function of seed and name, hence the same for a graph and what a pass made
 * of it; freed by random_tensors_free. */
static inline double **random_tensors(const ir_graph *graph, uint64_t seed) {
    double **tensor = calloc(graph->count + 1, sizeof *tensor);
    if (!tensor) abort();
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op != IR_OP_input && node->op != IR_OP_param) continue;
        random_graph r = {.state = ir_hash(seed, node->name, strlen(node->name))};
        size_t n = (size_t)ir_type_elements(node->type);
        tensor[i] = calloc(n, sizeof(double));
        if (!tensor[i]) abort();
        for (size_t j = 0; j < n; j++) {
            double u = (double)random_below(&r, 1u << 20) / (1 << 20);
            tensor[i][j] = node->type.dtype == IR_I64 ? floor(u * 5) : 2 * u - 1;
        }
    }
    return tensor;
}

static inline void random_tensors_free(double **tensor, const ir_graph *graph) {
    for (size_t i = 0; i < graph->count; i++)
        free(tensor[i]);
    free(tensor);
}

#endif
