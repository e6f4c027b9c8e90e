/* A case of tests/op_cases.def as a graph with its operands: what every test that walks the ops
 * needs.
 *
 *     for (size_t i = 0; i < op_case_count; i++) {
 *         op_case_graph g = op_case_build(&op_cases[i]);
 *         ir_eval_result *r = ir_eval_graph(g.graph, (const double *const *)g.source, ...);
 *         op_case_free(&g);
 *     }
 *
 * Operand k is input node k, the op is the last node and the output "y". Where operand k is a
 * table, node k is its mask, twice as many tiles as are kept, and a kept_tiles node stands between.
 */
#ifndef OP_CASE_H
#define OP_CASE_H

#include "eval.h"
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MASK: every other tile is removed; DRAWN: and every other row is -1. */
typedef enum op_values { ANY, POSITIVE, APART, MASK, DRAWN } op_values;

typedef struct op_case {
    ir_op op;
    const char *label;
    const char *operands;   /* "f32[2,3] f32[3]" */
    const char *attributes; /* "{eps=0.01}" */
    const char *result;     /* "f32[2,3]" */
    op_values values;
    const char *grad; /* "d-" */
} op_case;

static const op_case op_cases[] = {
#define CASE(op, label, operands, attributes, result, values, grad)                                \
    {IR_OP_##op, #label, operands, attributes, result, values, grad},
#include "op_cases.def"
#undef CASE
};
enum { op_case_count = sizeof op_cases / sizeof *op_cases };

typedef struct op_case_graph {
    ir_source source_text; /* of the graph */
    ir_text text;
    ir_graph *graph;
    ir_value y;      /* the op */
    int operands;    /* of the case, and inputs */
    int before;      /* nodes before the op */
    double **source; /* per node: tensor of an input, param or state; NULL for others */
} op_case_graph;

/* splitmix64 on [0,1): the same numbers on every machine. */
static inline double op_case_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Values that float holds exactly, so that float programs read what the reference reads. */
static inline double op_case_value(op_values values, uint64_t *random) {
    float u = (float)op_case_random(random);
    switch (values) {
    case ANY: return 2 * u - 1;
    case POSITIVE: return 0.5f + 1.5f * u;
    case APART: return u < 0.5f ? -0.1f - 1.8f * u : 0.1f + 1.8f * (u - 0.5f);
    case MASK:
    case DRAWN: break;
    }
    return 0;
}

static inline double *op_case_tensor(ir_type type, op_values values, uint64_t *random) {
    size_t n = (size_t)ir_type_elements(type);
    double *tensor = calloc(n, sizeof *tensor);
    if (!tensor) abort();
    for (size_t i = 0; i < n; i++) {
        size_t row = type.rank == 2 ? (size_t)type.dim[1] : 1;
        if (values >= MASK && type.dtype == IR_F32)
            tensor[i] =
                values == DRAWN && i / row % 2 == 0 ? -1 : (double)((i % row + i / row) % 2);
        else if (type.dtype == IR_I64)
            tensor[i] = type.rank ? (double)((i * 2 + 1) % 5) : 3;
        else
            tensor[i] = op_case_value(values, random);
    }
    return tensor;
}

/* An i32 operand: (N,kept). */
static inline bool op_case_table(const char *operand, int *samples, int *kept) {
    return sscanf(operand, "i32[%d,%d]", samples, kept) == 2;
}

/* One line per input; node[k] becomes the value that operand k is. */
static inline void op_case_write_inputs(const op_case *c, op_case_graph *g, int *node) {
    ir_text *t = &g->text;
    int kept[IR_MAX_OPERANDS] = {0}, samples[IR_MAX_OPERANDS];
    for (const char *p = c->operands; *p; g->operands++) {
        int k = g->operands, length = (int)strcspn(p, " ");
        ir_text_printf(t, "%%%d = input \"x%d\" : ", k, k);
        if (op_case_table(p, &samples[k], &kept[k]))
            ir_text_printf(t, "f32[%d,%d]\n", samples[k], 2 * kept[k]);
        else
            ir_text_printf(t, "%.*s\n", length, p);
        p += length + (p[length] == ' ');
    }
    g->before = g->operands;
    for (int k = 0; k < g->operands; k++) {
        node[k] = kept[k] ? g->before++ : k;
        if (kept[k])
            ir_text_printf(t, "%%%d = kept_tiles(%%%d) {kept=%d} : i32[%d,%d]\n", node[k], k,
                           kept[k], samples[k], kept[k]);
    }
}

static inline void op_case_write(const op_case *c, op_case_graph *g) {
    const ir_op_info *info = ir_op_get(c->op);
    ir_text *t = &g->text;
    int node[IR_MAX_OPERANDS];
    ir_text_printf(t, "cnx graph %s.%s infer version 1\n", info->name, c->label);
    op_case_write_inputs(c, g, node);
    ir_text_printf(t, "%%%d = %s%s", g->before, info->name,
                   info->kind == IR_SOURCE ? " \"y\"" : "(");
    for (int i = 0; i < g->operands; i++)
        ir_text_printf(t, "%s%%%d", i ? ", " : "", node[i]);
    ir_text_printf(t, "%s %s : %s\noutput \"y\" = %%%d\n", info->kind == IR_SOURCE ? "" : ")",
                   c->attributes, c->result, g->before);
}

/* Whether a table is made from input `id`. */
static inline bool op_case_is_mask(const op_case_graph *g, size_t id) {
    for (size_t i = id + 1; i < g->y.id; i++)
        if (g->graph->nodes[i].op == IR_OP_kept_tiles && g->graph->nodes[i].operand[0].id == id)
            return true;
    return false;
}

/* On an error prints the diagnostics and aborts: a case must be right. */
static inline op_case_graph op_case_build(const op_case *c) {
    op_case_graph g = {0};
    op_case_write(c, &g);
    g.source_text = (ir_source){.file = "op_cases.def", .text = g.text.data};
    ir_diag *diag = ir_diag_new();
    g.graph = ir_graph_parse(&g.source_text, diag);
    if (!g.graph || !ir_verify(g.graph, diag)) {
        ir_diag_print(diag, stderr);
        abort();
    }
    ir_diag_free(diag);
    g.y = g.graph->outputs[0].value;
    g.source = calloc(g.graph->count + 1, sizeof *g.source);
    if (!g.source) abort();
    uint64_t random = 20230102;
    for (size_t i = 0; i < g.graph->count; i++)
        if (g.graph->nodes[i].op == IR_OP_input || g.graph->nodes[i].op == IR_OP_param ||
            g.graph->nodes[i].op == IR_OP_state)
            g.source[i] = op_case_tensor(g.graph->nodes[i].type,
                                         op_case_is_mask(&g, i) ? MASK : c->values, &random);
    return g;
}

static inline void op_case_free(op_case_graph *g) {
    for (size_t i = 0; i < g->graph->count; i++)
        free(g->source[i]);
    free(g->source);
    ir_graph_free(g->graph);
    ir_text_free(&g->text);
}

#endif
