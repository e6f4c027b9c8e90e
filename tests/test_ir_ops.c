/* Every op against itself: shapes, gradients against central differences, composites against their
 * expansion; and the formulas against numbers computed elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "hooks.h"
#include "op_case.h"

#include <math.h>

static const ir_eval_scalars scalars = {.lr = 0.125, .step = 3, .seed = 0x123456789abcdefull};

static void test_every_op_has_a_case(void **state) {
    (void)state;
    for (int op = 0; op < IR_OP_COUNT; op++) {
        bool found = false;
        for (size_t i = 0; i < op_case_count; i++) found |= op_cases[i].op == (ir_op)op;
        if (!found) fail_msg("no case of '%s' in op_cases.def", ir_op_get((ir_op)op)->name);
    }
}

/* Copies the case's graph, the op expanded if it is a composite; *y is the result. */
static ir_graph *expanded(const op_case_graph *g, ir_value *y) {
    ir_graph *graph = ir_graph_new("expanded", IR_KIND_INFER);
    ir_value map[IR_MAX_OPERANDS + 1];
    for (int i = 0; i < g->operands; i++)
        map[i] = ir_copy_node(graph, g->graph, (ir_value){(uint32_t)i}, map);
    ir_node node = *ir_at(g->graph, g->y);
    if (ir_op_get(node.op)->kind == IR_COMPOSITE) {
        for (int i = 0; i < node.operand_count; i++) node.operand[i] = map[node.operand[i].id];
        *y = ir_expand(graph, &node);
    } else {
        *y = ir_copy_node(graph, g->graph, g->y, map);
    }
    return graph;
}

/* Values of one node; the caller frees. */
static double *evaluate(ir_graph *graph, ir_value value, double *const *operands, int count) {
    size_t had = graph->output_count;
    ir_add_output(graph, "value", value);
    const double **sources = calloc(graph->count, sizeof *sources);
    assert_non_null(sources);
    for (int i = 0; i < count; i++) sources[i] = operands[i];
    ir_eval_result *result = ir_eval_graph(graph, sources, &scalars);
    double *tensor = result->value[value.id];
    result->value[value.id] = NULL;
    ir_eval_free(result);
    free(sources);
    graph->output_count = had;
    assert_non_null(tensor);
    return tensor;
}

static void near(const op_case *c, const char *what, size_t i, double found, double wanted,
                 double tolerance) {
    double error = fabs(found - wanted);
    if (error <= tolerance * (1 + fabs(wanted))) return;
    fail_msg("%s.%s: %s[%zu] is %.12g, expected %.12g", ir_op_get(c->op)->name, c->label, what, i,
             found, wanted);
}

static void test_composites_equal_their_expansion(void **state) {
    (void)state;
    int compared = 0;
    for (size_t k = 0; k < op_case_count; k++) {
        const op_case *c = &op_cases[k];
        if (ir_op_get(c->op)->kind != IR_COMPOSITE) continue;
        op_case_graph g = op_case_build(c);
        ir_value y;
        ir_graph *graph = expanded(&g, &y);
        assert_true(ir_verify(graph, NULL));
        for (size_t i = 0; i < graph->count; i++)
            assert_int_not_equal(ir_op_get(graph->nodes[i].op)->kind, IR_COMPOSITE);
        assert_true(ir_type_equal(ir_type_of(graph, y), ir_type_of(g.graph, g.y)));
        double *whole = evaluate(g.graph, g.y, g.source, g.operands);
        double *parts = evaluate(graph, y, g.source, g.operands);
        for (size_t i = 0; i < (size_t)ir_type_elements(ir_type_of(graph, y)); i++)
            near(c, "y", i, parts[i], whole[i], 1e-13);
        free(whole);
        free(parts);
        ir_graph_free(graph);
        op_case_free(&g);
        compared++;
    }
    assert_true(compared > 10);
}

/* Appends the gradient of sum(r y) to every operand; dx[i] is IR_NO_VALUE where there is none. */
static void backward(ir_graph *graph, ir_value y, ir_value r, int operands, ir_value *dx) {
    size_t count = y.id + 1;
    ir_value *adjoint = malloc(count * sizeof *adjoint);
    assert_non_null(adjoint);
    for (size_t i = 0; i < count; i++) adjoint[i] = IR_NO_VALUE;
    adjoint[y.id] = r;
    for (size_t i = count; i-- > 0;) {
        ir_node node = graph->nodes[i];
        if (!ir_some(adjoint[i]) || ir_op_get(node.op)->kind == IR_SOURCE) continue;
        ir_value d[IR_MAX_OPERANDS];
        ir_grad(graph, (ir_value){(uint32_t)i}, adjoint[i], d);
        for (int o = 0; o < node.operand_count; o++) {
            ir_value *sum = &adjoint[node.operand[o].id];
            if (!ir_some(d[o])) continue;
            assert_true(ir_type_equal(ir_type_of(graph, d[o]), ir_type_of(graph, node.operand[o])));
            *sum = ir_some(*sum) ? ir_binary(graph, IR_OP_add, *sum, d[o]) : d[o];
        }
    }
    for (int o = 0; o < operands; o++) dx[o] = adjoint[o];
    free(adjoint);
}

static double weighted_sum(ir_graph *graph, ir_value y, double *const *operands, int count,
                           const double *r) {
    double *value = evaluate(graph, y, operands, count), sum = 0;
    for (size_t i = 0; i < (size_t)ir_type_elements(ir_type_of(graph, y)); i++)
        sum += value[i] * r[i];
    free(value);
    return sum;
}

/* Compares dx of operand o with central differences of sum(r y). */
static void check_operand(const op_case *c, op_case_graph *g, ir_graph *graph, int o, ir_value dx,
                          double *r) {
    double *sources[IR_MAX_OPERANDS + 1], h = 1e-5;
    for (int i = 0; i < g->operands; i++) sources[i] = g->source[i];
    sources[g->operands] = r;
    double *gradient = evaluate(graph, dx, sources, g->operands + 1);
    for (size_t i = 0; i < (size_t)ir_type_elements(ir_type_of(graph, dx)); i++) {
        double x = g->source[o][i];
        g->source[o][i] = x + h;
        double above = weighted_sum(g->graph, g->y, g->source, g->operands, r);
        g->source[o][i] = x - h;
        double below = weighted_sum(g->graph, g->y, g->source, g->operands, r);
        g->source[o][i] = x;
        near(c, "gradient", i, gradient[i], (above - below) / (2 * h), 1e-7);
    }
    free(gradient);
}

static void check_gradients(const op_case *c) {
    op_case_graph g = op_case_build(c);
    uint64_t random = 7;
    ir_type type = ir_type_of(g.graph, g.y);
    double *r = op_case_tensor(type, APART, &random);
    ir_graph *graph = ir_graph_new("gradient", IR_KIND_GRAD);
    ir_value map[IR_MAX_OPERANDS], dx[IR_MAX_OPERANDS];
    for (int i = 0; i < g.operands; i++)
        map[i] = ir_copy_node(graph, g.graph, (ir_value){(uint32_t)i}, map);
    ir_value dy = ir_input(graph, "r", type);
    ir_node node = *ir_at(g.graph, g.y);
    for (int i = 0; i < node.operand_count; i++) node.operand[i] = map[node.operand[i].id];
    ir_value y = ir_op_get(node.op)->kind == IR_COMPOSITE ? ir_expand(graph, &node)
                                                          : ir_copy_node(graph, g.graph, g.y, map);
    backward(graph, y, dy, g.operands, dx);
    assert_true(ir_verify(graph, NULL));
    for (int o = 0; o < g.operands; o++) {
        if (ir_some(dx[o]) != (c->grad[o] == 'd'))
            fail_msg("%s.%s: operand %d has %s gradient", ir_op_get(c->op)->name, c->label, o,
                     ir_some(dx[o]) ? "a" : "no");
        if (ir_some(dx[o])) check_operand(c, &g, graph, o, dx[o], r);
    }
    ir_graph_free(graph);
    free(r);
    op_case_free(&g);
}

static void test_gradients(void **state) {
    (void)state;
    for (size_t k = 0; k < op_case_count; k++) {
        const op_case *c = &op_cases[k];
        int operands = 0;
        for (const char *p = c->operands; *p; p++) operands += *p == '[';
        assert_int_equal(strlen(c->grad), operands);
        if (ir_op_get(c->op)->kind != IR_SOURCE) check_gradients(c);
    }
}

static void test_verdict_can_fail(void **state) { /* a wrong gradient is far outside the tolerance */
    (void)state;
    op_case_graph g = op_case_build(&op_cases[0]);
    assert_true(fabs(1.0 - 1.001) > 1e-7 * (1 + 1.001));
    op_case_free(&g);
}
