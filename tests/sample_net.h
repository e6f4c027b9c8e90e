/* A small ConvNeXt V2 for tests of lowering and code generation: every op of the family on odd
 * shapes, as an inference graph or with all gradients as outputs, and random tensors to run it on.
 *
 *     sample_net net = sample_net_new((sample_options){.batch = 3, .size = 14, .channels = 8,
 *                                                      .gradients = true});
 *     ... net.graph is primitive and verified; net.reference holds what it computes ...
 *     sample_net_free(&net);
 */
#ifndef SAMPLE_NET_H
#define SAMPLE_NET_H

#include "eval.h"
#include "hooks.h"
#include "lower.h"
#include "worst.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sample_options {
    int64_t batch, size, channels; /* size: even, at least 4 */
    bool gradients;
    uint64_t seed;
} sample_options;

enum { SAMPLE_MAX_IO = 64 };

typedef struct sample_net {
    ir_graph *graph;
    const double **sources;  /* per node, for the reference */
    float *weights;          /* of all params in order */
    void *io[SAMPLE_MAX_IO]; /* inputs, then outputs (f32) */
    size_t inputs;
    ir_eval_result *reference;
} sample_net;

static inline uint64_t sample_next(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static inline double sample_uniform(uint64_t *state) {
    return (double)sample_next(state) / 2147483648.0 - 0.5;
}

static inline ir_value sample_param(ir_graph *g, const char *name, int block, ir_ints shape) {
    char full[64];
    snprintf(full, sizeof full, "%s.%d", name, block);
    ir_type type = ir_type_make(IR_F32, shape.count, shape.item);
    return ir_source_node(g, IR_OP_param, full, type, NULL);
}

static inline ir_value sample_op(ir_graph *g, ir_op op, ir_value x, ir_value w, ir_value b,
                                 const ir_attrs *attrs) {
    return ir_build(g, op, (ir_value[]){x, w, b}, 3, attrs, NULL);
}

static inline ir_value sample_block(ir_graph *g, ir_value x, int64_t c, int n, bool drop) {
    ir_attrs same = {.pad = IR_INTS(3, 3), .stride = IR_INTS(1, 1)};
    ir_value y = sample_op(g, IR_OP_depthwise_conv, x,
                           sample_param(g, "conv_dw.weight", n, IR_INTS(c, 1, 7, 7)),
                           sample_param(g, "conv_dw.bias", n, IR_INTS(c)), &same);
    y = sample_op(g, IR_OP_layer_norm, y, sample_param(g, "norm.weight", n, IR_INTS(c)),
                  sample_param(g, "norm.bias", n, IR_INTS(c)), NULL);
    y = sample_op(g, IR_OP_linear, y, sample_param(g, "fc1.weight", n, IR_INTS(4 * c, c)),
                  sample_param(g, "fc1.bias", n, IR_INTS(4 * c)), NULL);
    y = ir_unary(g, IR_OP_gelu, y);
    y = sample_op(g, IR_OP_grn, y, sample_param(g, "grn.weight", n, IR_INTS(4 * c)),
                  sample_param(g, "grn.bias", n, IR_INTS(4 * c)), NULL);
    y = sample_op(g, IR_OP_linear, y, sample_param(g, "fc2.weight", n, IR_INTS(c, 4 * c)),
                  sample_param(g, "fc2.bias", n, IR_INTS(c)), NULL);
    ir_attrs path = {.rate = 0.3, .stream = n + 1, .set = IR_SET(rate) | IR_SET(stream)};
    if (drop) y = ir_build(g, IR_OP_drop_path, &y, 1, &path, NULL);
    return ir_binary(g, IR_OP_add, x, y);
}

static inline ir_value sample_forward(ir_graph *g, const sample_options *o) {
    int64_t c = o->channels;
    ir_value x =
        ir_input(g, "image", ir_type_make(IR_F32, 4, (int64_t[]){o->batch, 3, o->size, o->size}));
    ir_attrs order = {.order = IR_INTS(0, 2, 3, 1)};
    x = ir_build(g, IR_OP_permute, &x, 1, &order, NULL);
    ir_attrs patch = {.stride = IR_INTS(2, 2), .pad = IR_INTS(0, 0), .set = IR_SET(pad)};
    x = sample_op(g, IR_OP_conv2d, x, sample_param(g, "stem.weight", 0, IR_INTS(c, 3, 2, 2)),
                  sample_param(g, "stem.bias", 0, IR_INTS(c)), &patch);
    x = sample_block(g, x, c, 0, o->gradients);
    ir_attrs down = {.stride = IR_INTS(2, 2), .pad = IR_INTS(1, 1)};
    x = sample_op(g, IR_OP_conv2d, x, sample_param(g, "down.weight", 1, IR_INTS(2 * c, c, 3, 3)),
                  sample_param(g, "down.bias", 1, IR_INTS(2 * c)), &down);
    x = sample_block(g, x, 2 * c, 1, o->gradients);
    x = ir_unary(g, IR_OP_global_avg_pool, x);
    x = sample_op(g, IR_OP_layer_norm, x, sample_param(g, "head.norm.weight", 2, IR_INTS(2 * c)),
                  sample_param(g, "head.norm.bias", 2, IR_INTS(2 * c)), NULL);
    return sample_op(g, IR_OP_linear, x, sample_param(g, "head.fc.weight", 2, IR_INTS(10, 2 * c)),
                     sample_param(g, "head.fc.bias", 2, IR_INTS(10)), NULL);
}

static inline ir_graph *sample_expand(const ir_graph *from) {
    ir_graph *to = ir_graph_new(from->name, from->kind);
    ir_copy_header(to, from);
    ir_value *map = calloc(from->count + 1, sizeof *map);
    for (size_t i = 0; i < from->count; i++) {
        ir_node node = from->nodes[i];
        for (int o = 0; o < node.operand_count; o++)
            node.operand[o] = map[node.operand[o].id];
        bool sugar = ir_op_get(node.op)->kind == IR_COMPOSITE;
        map[i] =
            sugar ? ir_expand(to, &node) : ir_copy_node(to, from, (ir_value){(uint32_t)i}, map);
    }
    ir_copy_results(to, from, map);
    free(map);
    return to;
}

/* Reverse mode in its simplest form, independent of the autodiff pass. */
static inline void sample_differentiate(ir_graph *g, ir_value loss) {
    size_t n = g->count;
    ir_value *d = malloc(n * sizeof *d);
    for (size_t i = 0; i < n; i++)
        d[i] = IR_NO_VALUE;
    d[loss.id] = ir_constant(g, ir_type_make(IR_F32, 0, NULL), 1);
    for (size_t i = n; i-- > 0;) {
        ir_value dx[IR_MAX_OPERANDS];
        if (!ir_some(d[i]) || ir_op_get(g->nodes[i].op)->kind == IR_SOURCE) continue;
        ir_grad(g, (ir_value){(uint32_t)i}, d[i], dx);
        for (int o = 0; o < g->nodes[i].operand_count; o++) {
            ir_value *to = &d[g->nodes[i].operand[o].id];
            if (!ir_some(dx[o])) continue;
            *to = ir_some(*to) ? ir_binary(g, IR_OP_add, *to, dx[o]) : dx[o];
        }
    }
    for (size_t i = 0; i < n; i++) {
        char name[96];
        if (g->nodes[i].op != IR_OP_param || !ir_some(d[i])) continue;
        snprintf(name, sizeof name, "grad.%s", g->nodes[i].name);
        ir_add_output(g, name, d[i]);
    }
    free(d);
}

static inline void sample_fill(sample_net *net, uint64_t seed) {
    ir_graph *g = net->graph;
    int64_t weights = 0, at = 0;
    for (size_t i = 0; i < g->count; i++)
        if (g->nodes[i].op == IR_OP_param) weights += ir_type_elements(g->nodes[i].type);
    net->weights = calloc((size_t)weights + 1, sizeof(float));
    net->sources = calloc(g->count + 1, sizeof *net->sources);
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        int64_t n = ir_type_elements(node->type);
        if (node->op != IR_OP_param && node->op != IR_OP_input) continue;
        double *value = calloc((size_t)n, sizeof *value);
        void *given = calloc((size_t)n, ir_dtype_size(node->type.dtype));
        for (int64_t j = 0; j < n; j++) {
            double u = sample_uniform(&seed);
            if (node->type.dtype == IR_I64)
                value[j] = (double)(sample_next(&seed) % 10);
            else
                value[j] = (float)(node->op == IR_OP_input ? 2 * u : 0.6 * u + 0.2 * (n < 99));
            if (node->type.dtype == IR_I64)
                ((int64_t *)given)[j] = (int64_t)value[j];
            else
                ((float *)given)[j] = (float)value[j];
        }
        net->sources[i] = value;
        if (node->op == IR_OP_input) {
            net->io[net->inputs++] = given;
            continue;
        }
        memcpy(net->weights + at, given, (size_t)n * sizeof(float));
        at += n;
        free(given);
    }
}

static inline sample_net sample_net_new(sample_options o) {
    sample_net net = {0};
    ir_graph *g = ir_graph_new("sample", o.gradients ? IR_KIND_GRAD : IR_KIND_INFER);
    ir_value logits = sample_forward(g, &o), loss = IR_NO_VALUE;
    ir_add_output(g, "logits", logits);
    if (o.gradients) {
        ir_value label = ir_input(g, "label", ir_type_make(IR_I64, 1, &o.batch));
        ir_attrs smooth = {.smoothing = 0.1};
        loss = ir_build(g, IR_OP_cross_entropy, (ir_value[]){logits, label}, 2, &smooth, NULL);
        ir_add_output(g, "loss", loss);
    }
    net.graph = sample_expand(g);
    ir_graph_free(g);
    if (o.gradients) sample_differentiate(net.graph, net.graph->outputs[1].value);
    sample_fill(&net, o.seed + 1);
    for (size_t i = 0; i < net.graph->output_count; i++) {
        ir_type type = ir_type_of(net.graph, net.graph->outputs[i].value);
        net.io[net.inputs + i] = calloc((size_t)ir_type_elements(type), sizeof(float));
    }
    ir_eval_scalars scalars = {.lr = 1e-3, .step = 3, .seed = 7};
    net.reference = ir_eval_graph(net.graph, net.sources, &scalars);
    return net;
}

static inline void sample_net_free(sample_net *net) {
    for (size_t i = 0; i < net->graph->count; i++)
        free((void *)(uintptr_t)net->sources[i]);
    for (size_t i = 0; i < net->inputs + net->graph->output_count; i++)
        free(net->io[i]);
    free(net->sources);
    free(net->weights);
    ir_eval_free(net->reference);
    ir_graph_free(net->graph);
}

/* Largest error of any output, relative to the output's largest element (DESIGN section 8). */
static inline double sample_error(const sample_net *net) {
    double worst = 0;
    for (size_t i = 0; i < net->graph->output_count; i++) {
        ir_value value = net->graph->outputs[i].value;
        const double *want = net->reference->value[value.id];
        const float *got = net->io[net->inputs + i];
        double most = 1e-30, error = 0;
        for (int64_t j = 0; j < ir_type_elements(ir_type_of(net->graph, value)); j++) {
            most = fmax(most, fabs(want[j]));
            error = worst_of(error, fabs(got[j] - want[j]));
        }
        worst = worst_of(worst, error / most);
    }
    return worst;
}

/* State and workspace of a plan, poisoned. */
static inline void *sample_block_of(int64_t bytes) {
    size_t size = (size_t)(bytes + 63) / 64 * 64;
    void *block = aligned_alloc(64, size);
    memset(block, 0x7f, size);
    return block;
}

#endif
