/* A case of tests/op_cases.def as a graph with its operands: what every test that walks the ops
 * needs.
 *
 *     for (size_t i = 0; i < op_case_count; i++) {
 *         op_case_graph g = op_case_build(&op_cases[i]);
 *         ir_eval_result *r = ir_eval_graph(g.graph, (const double *const *)g.source, ...);
 *         op_case_free(&g);
 *     }
 *
 * Operand k is input node k; the op is the last node and the output "y".
 */
#ifndef OP_CASE_H
#define OP_CASE_H

#include "eval.h"
#include "graph.h"

#include <stdlib.h>
#include <string.h>

typedef enum op_values { ANY, POSITIVE, APART } op_values;

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
    ir_value y; /* the op */
    int operands;
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
    }
    return 0;
}

static inline double *op_case_tensor(ir_type type, op_values values, uint64_t *random) {
    size_t n = (size_t)ir_type_elements(type);
    double *tensor = calloc(n, sizeof *tensor);
    if (!tensor) abort();
    for (size_t i = 0; i < n; i++) {
        size_t row = type.rank == 2 ? (size_t)type.dim[1] : 1;
        if (type.dtype == IR_I32)
            tensor[i] = (double)(i % row * 2 + i / row % 2); /* tile numbers */
        else if (type.dtype == IR_I64)
            tensor[i] = type.rank ? (double)((i * 2 + 1) % 5) : 3;
        else
            tensor[i] = op_case_value(values, random);
    }
    return tensor;
}

static inline void op_case_write(const op_case *c, op_case_graph *g) {
    const ir_op_info *info = ir_op_get(c->op);
    ir_text *t = &g->text;
    ir_text_printf(t, "cnx graph %s.%s infer version 1\n", info->name, c->label);
    for (const char *p = c->operands; *p; g->operands++) {
        size_t length = strcspn(p, " ");
        ir_text_printf(t, "%%%d = input \"x%d\" : %.*s\n", g->operands, g->operands, (int)length,
                       p);
        p += length + (p[length] == ' ');
    }
    ir_text_printf(t, "%%%d = %s%s", g->operands, info->name,
                   info->kind == IR_SOURCE ? " \"y\"" : "(");
    for (int i = 0; i < g->operands; i++)
        ir_text_printf(t, "%s%%%d", i ? ", " : "", i);
    ir_text_printf(t, "%s %s : %s\noutput \"y\" = %%%d\n", info->kind == IR_SOURCE ? "" : ")",
                   c->attributes, c->result, g->operands);
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
            g.source[i] = op_case_tensor(g.graph->nodes[i].type, c->values, &random);
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
