/* Reference evaluation of a whole graph, freeing every tensor after its last use. */
#include "hooks.h"

#include <stdlib.h>
#include <string.h>

/* Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). */
void ir_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    memcpy(out, counter, 4 * sizeof *out);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * out[0], b = (uint64_t)0xCD9E8D57u * out[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ out[1] ^ k0, (uint32_t)b,
                            (uint32_t)(a >> 32) ^ out[3] ^ k1, (uint32_t)a};
        memcpy(out, next, sizeof next);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static int64_t *last_uses(const ir_graph *graph) {
    int64_t *last = calloc(graph->count + 1, sizeof *last);
    if (!last) IR_BUG("out of memory");
    for (size_t i = 0; i < graph->count; i++)
        last[i] = -1;
    for (size_t i = 0; i < graph->output_count; i++)
        last[graph->outputs[i].value.id] = (int64_t)graph->count;
    for (size_t i = 0; i < graph->update_count; i++)
        last[graph->updates[i].value.id] = (int64_t)graph->count;
    for (size_t i = graph->count; i-- > 0;)
        for (int o = 0; last[i] >= 0 && o < graph->nodes[i].operand_count; o++) {
            uint32_t id = graph->nodes[i].operand[o].id;
            if (last[id] < (int64_t)i) last[id] = (int64_t)i;
        }
    return last;
}

static double *source_value(const ir_node *node, const double *given,
                            const ir_eval_scalars *scalars) {
    size_t n = (size_t)ir_type_elements(node->type);
    double *value = calloc(n, sizeof *value);
    if (!value) IR_BUG("out of memory");
    if (node->op == IR_OP_lr)
        *value = scalars->lr;
    else if (node->op == IR_OP_step)
        *value = (double)scalars->step;
    else if (node->op == IR_OP_constant)
        for (size_t i = 0; i < n; i++)
            value[i] = node->attrs.value;
    else if (given)
        memcpy(value, given, n * sizeof *value);
    else if (node->op != IR_OP_state)
        IR_BUG("no tensor for source '%s'", node->name);
    return value;
}

static double *node_value(const ir_graph *graph, const ir_node *node, double *const *value,
                          const ir_eval_scalars *scalars) {
    ir_eval_args args = {.node = node, .count = node->operand_count, .scalars = scalars};
    for (int o = 0; o < node->operand_count; o++) {
        args.type[o] = ir_type_of(graph, node->operand[o]);
        args.in[o] = value[node->operand[o].id];
    }
    args.out = calloc((size_t)ir_type_elements(node->type), sizeof *args.out);
    if (!args.out) IR_BUG("out of memory");
    ir_eval(&args);
    return args.out;
}

ir_eval_result *ir_eval_graph(const ir_graph *graph, const double *const *sources,
                              const ir_eval_scalars *scalars) {
    static const ir_eval_scalars none = {.step = 1};
    ir_eval_result *result = calloc(1, sizeof *result);
    if (!result) IR_BUG("out of memory");
    result->count = graph->count;
    result->value = calloc(graph->count + 1, sizeof *result->value);
    int64_t *last = last_uses(graph);
    if (!scalars) scalars = &none;
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (last[i] < 0) continue;
        if (ir_op_get(node->op)->kind == IR_SOURCE)
            result->value[i] = source_value(node, sources ? sources[i] : NULL, scalars);
        else
            result->value[i] = node_value(graph, node, result->value, scalars);
        for (int o = 0; o < node->operand_count; o++) {
            uint32_t id = node->operand[o].id;
            if (last[id] != (int64_t)i) continue;
            free(result->value[id]);
            result->value[id] = NULL;
        }
    }
    free(last);
    return result;
}

void ir_eval_free(ir_eval_result *result) {
    if (!result) return;
    for (size_t i = 0; i < result->count; i++)
        free(result->value[i]);
    free(result->value);
    free(result);
}
