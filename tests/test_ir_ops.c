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
        for (size_t i = 0; i < op_case_count; i++)
            found |= op_cases[i].op == (ir_op)op;
        if (!found) fail_msg("no case of '%s' in op_cases.def", ir_op_get((ir_op)op)->name);
    }
}

/* Copies the case's graph, the op expanded if it is a composite; *y is the result. */
static ir_graph *expanded(const op_case_graph *g, ir_value *y) {
    ir_graph *graph = ir_graph_new("expanded", IR_KIND_INFER);
    ir_value map[2 * IR_MAX_OPERANDS + 1];
    for (int i = 0; i < g->before; i++)
        map[i] = ir_copy_node(graph, g->graph, (ir_value){(uint32_t)i}, map);
    ir_node node = *ir_at(g->graph, g->y);
    if (ir_op_get(node.op)->kind == IR_COMPOSITE) {
        for (int i = 0; i < node.operand_count; i++)
            node.operand[i] = map[node.operand[i].id];
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
    for (int i = 0; i < count; i++)
        sources[i] = operands[i];
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

static int64_t macs_of(const ir_graph *graph) {
    int64_t macs = 0;
    for (uint32_t i = 0; i < graph->count; i++)
        macs += ir_node_cost(graph, (ir_value){i}).macs;
    return macs;
}

/* Products and windows have a cost, and composites that of their parts. */
static void test_costs(void **state) {
    (void)state;
    for (size_t k = 0; k < op_case_count; k++) {
        const op_case *c = &op_cases[k];
        op_case_graph g = op_case_build(c);
        ir_value y;
        ir_graph *graph = expanded(&g, &y);
        int64_t whole = macs_of(g.graph), parts = macs_of(graph);
        if (c->op != IR_OP_local_response_norm && whole != parts) /* its ones are no weights */
            fail_msg("%s.%s: %lld multiply-accumulates, its parts %lld", ir_op_get(c->op)->name,
                     c->label, (long long)whole, (long long)parts);
        bool product = ir_op_get(c->op)->traits & (IR_PRODUCT | IR_WEIGHT_PRODUCT);
        if (product && whole == 0) fail_msg("%s costs nothing", ir_op_get(c->op)->name);
        ir_graph_free(graph);
        op_case_free(&g);
    }
}

/* Appends the gradient of sum(r y) to every operand; dx[i] is IR_NO_VALUE where there is none. */
static void backward(ir_graph *graph, ir_value y, ir_value r, int operands, ir_value *dx) {
    size_t count = y.id + 1;
    ir_value *adjoint = malloc(count * sizeof *adjoint);
    assert_non_null(adjoint);
    for (size_t i = 0; i < count; i++)
        adjoint[i] = IR_NO_VALUE;
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
    for (int o = 0; o < operands; o++)
        dx[o] = adjoint[o];
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
    double *sources[2 * IR_MAX_OPERANDS + 1], h = 1e-5;
    for (int i = 0; i < g->before; i++)
        sources[i] = g->source[i];
    sources[g->before] = r;
    double *gradient = evaluate(graph, dx, sources, g->before + 1);
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
    ir_value map[2 * IR_MAX_OPERANDS], dx[IR_MAX_OPERANDS];
    for (int i = 0; i < g.before; i++)
        map[i] = ir_copy_node(graph, g.graph, (ir_value){(uint32_t)i}, map);
    ir_value dy = ir_input(graph, "r", type);
    ir_node node = *ir_at(g.graph, g.y);
    for (int i = 0; i < node.operand_count; i++)
        node.operand[i] = map[node.operand[i].id];
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
        for (const char *p = c->operands; *p; p++)
            operands += *p == '[';
        assert_int_equal(strlen(c->grad), operands);
        if (ir_op_get(c->op)->kind != IR_SOURCE) check_gradients(c);
    }
}

/* ---- formulas against numbers of PyTorch 2, float64 ---- */

typedef struct tensor {
    ir_type type;
    const double *data;
} tensor;

static ir_type shape(int rank, int64_t a, int64_t b, int64_t c, int64_t d) {
    return ir_type_make(IR_F32, rank, (int64_t[]){a, b, c, d});
}

/* Evaluates one op; the caller frees. */
static double *run(ir_op op, const tensor *operands, int count, const ir_attrs *attrs) {
    ir_graph *graph = ir_graph_new("formula", IR_KIND_INFER);
    ir_value in[IR_MAX_OPERANDS];
    const double *sources[IR_MAX_OPERANDS + 1] = {0};
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        in[i] = ir_input(graph, name, operands[i].type);
        sources[i] = operands[i].data;
    }
    ir_value y = ir_build(graph, op, in, count, attrs, NULL);
    ir_add_output(graph, "y", y);
    ir_eval_result *result = ir_eval_graph(graph, sources, &scalars);
    double *value = result->value[y.id];
    result->value[y.id] = NULL;
    ir_eval_free(result);
    ir_graph_free(graph);
    return value;
}

static void check(ir_op op, const tensor *operands, int count, const ir_attrs *attrs,
                  const double *wanted, size_t n, double tolerance) {
    double *found = run(op, operands, count, attrs);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(found[i] - wanted[i]) <= tolerance * (1 + fabs(wanted[i]))))
            fail_msg("%s: y[%zu] is %.17g, expected %.17g", ir_op_get(op)->name, i, found[i],
                     wanted[i]);
    free(found);
}

#define CHECK(op, operands, attrs, tolerance, ...)                                                 \
    check(IR_OP_##op, operands, sizeof(operands) / sizeof *(operands), attrs,                      \
          (const double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double),         \
          tolerance)

static const double rows23[] = {0.5, -1, 2, 3, 0.25, -0.75};
static const double weight3[] = {1.5, -0.5, 2}, bias3[] = {0.1, 0.2, 0.3};

static void test_gelu(void **state) {
    (void)state;
    tensor x[] = {{shape(1, 5, 0, 0, 0), (const double[]){-3, -0.5, 0, 0.75, 6}}};
    CHECK(gelu, x, NULL, 1e-15, -0.00404969409489031, -0.15426876936299344, 0, 0.5800294857173489,
          5.999999994080474);
    CHECK(gelu, x, &(ir_attrs){.tanh = true}, 1e-15, -0.0036373920817729943, -0.15428599017485606,
          0, 0.5799605551656203, 5.9999999999156035);
}

static void test_norms(void **state) {
    (void)state;
    tensor ln[] = {{shape(2, 2, 3, 0, 0), rows23},
                   {shape(1, 3, 0, 0, 0), weight3},
                   {shape(1, 3, 0, 0, 0), bias3}};
    CHECK(layer_norm, ln, NULL, 1e-14, 0.1, 0.8123722315717514, 2.7494889262870053,
          2.1497940840939727, 0.3839558793417668, -1.6972352614248967);
    tensor grn[] = {{shape(4, 2, 1, 2, 3),
                     (const double[]){0.5, -1, 2, 3, 0.25, -0.75, 0, 1.5, -2, 1, 0.5, 0.25}},
                    {shape(1, 3, 0, 0, 0), weight3},
                    {shape(1, 3, 0, 0, 0), bias3}};
    CHECK(grn, grn, NULL, 1e-14, 1.702276048660904, -0.5509464625335532, 6.428760308592153,
          9.713656291965425, 0.3877366156333883, -1.9982851157220576, 0.1, 0.9260627151431373,
          -6.96176175704288, 2.078961834509691, 0.44202090504771246, 1.20772021963036);
}

static void test_cross_entropy(void **state) {
    (void)state;
    ir_type label = ir_type_make(IR_I64, 1, (int64_t[]){2});
    tensor hard[] = {{shape(2, 2, 3, 0, 0), rows23}, {label, (const double[]){2, 0}}};
    CHECK(cross_entropy, hard, NULL, 1e-15, 0.16257138144646952);
    CHECK(cross_entropy, hard, &(ir_attrs){.smoothing = 0.1}, 1e-15, 0.3459047147798029);
    tensor soft[] = {{shape(2, 2, 3, 0, 0), rows23},
                     {shape(2, 2, 3, 0, 0), (const double[]){0.2, 0.3, 0.5, 0, 0.9, 0.1}}};
    CHECK(cross_entropy, soft, &(ir_attrs){.smoothing = 0.1}, 1e-15, 2.168404714779803);
}

static void test_adamw_steps(void **state) {
    (void)state;
    static const double gradient[3][2] = {{0.5, -1}, {0.25, 2}, {-1, 0.125}};
    static const double wanted[3][2] = {{0.9895000002000001, -1.9890000001},
                                        {0.9796123197564398, -1.9916392395819165},
                                        {0.9811567137813759, -1.9938425631467889}};
    double *w = calloc(2, sizeof *w), *m = calloc(2, sizeof *m), *v = calloc(2, sizeof *v);
    assert_true(w && m && v);
    w[0] = 1, w[1] = -2;
    ir_type pair = shape(1, 2, 0, 0, 0), one = shape(0, 0, 0, 0, 0);
    ir_attrs attrs = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.05, .lr_scale = 0.5};
    for (int t = 0; t < 3; t++) { /* lr twice as large, halved by lr_scale */
        double lr = 0.02, step = t + 1;
        double *next_m = run(IR_OP_adam_m, (tensor[]){{pair, m}, {pair, gradient[t]}}, 2,
                             &(ir_attrs){.beta = 0.9});
        double *next_v = run(IR_OP_adam_v, (tensor[]){{pair, v}, {pair, gradient[t]}}, 2,
                             &(ir_attrs){.beta = 0.95});
        tensor all[] = {{pair, w},
                        {pair, next_m},
                        {pair, next_v},
                        {one, &lr},
                        {ir_type_make(IR_I64, 0, NULL), &step}};
        double *next_w = run(IR_OP_adamw, all, 5, &attrs);
        for (int i = 0; i < 2; i++)
            assert_true(fabs(next_w[i] - wanted[t][i]) < 1e-14);
        free(w), free(m), free(v);
        w = next_w, m = next_m, v = next_v;
    }
    free(w), free(m), free(v);
}

static void test_optimizer_parts(void **state) {
    (void)state;
    ir_type one = shape(0, 0, 0, 0, 0);
    double large = 25, small = 1;
    CHECK(clip_factor, ((tensor[]){{one, &large}}), &(ir_attrs){.max_norm = 2}, 1e-15,
          1.199999760000048 / 3);
    CHECK(clip_factor, ((tensor[]){{one, &small}}), &(ir_attrs){.max_norm = 2}, 0, 1);
    CHECK(ema, ((tensor[]){{one, &large}, {one, &small}}), &(ir_attrs){.beta = 0.75}, 0, 19);
}

static void test_pointwise_values(void **state) {
    (void)state;
    tensor x[] = {{shape(1, 3, 0, 0, 0), (const double[]){-2, 0, 0.5}}};
    tensor p[] = {{shape(1, 3, 0, 0, 0), (const double[]){0.25, 1, 4}}};
    CHECK(relu, x, NULL, 0, 0, 0, 0.5);
    CHECK(step_gt0, x, NULL, 0, 0, 0, 1);
    CHECK(sigmoid, x, NULL, 1e-15, 0.11920292202211755, 0.5, 0.6224593312018546);
    CHECK(exp, x, NULL, 1e-15, 0.1353352832366127, 1, 1.6487212707001282);
    CHECK(log, p, NULL, 1e-15, -1.3862943611198906, 0, 1.3862943611198906);
    CHECK(sqrt, p, NULL, 0, 0.5, 1, 2);
    CHECK(scale, x, &(ir_attrs){.factor = -3}, 0, 6, 0, -1.5);
    tensor label[] = {{ir_type_make(IR_I64, 1, (int64_t[]){2}), (const double[]){2, 0}}};
    ir_attrs smooth = {.classes = 3, .on = 0.8, .off = 0.1};
    CHECK(one_hot, label, &smooth, 0, 0.1, 0.1, 0.8, 0.8, 0.1, 0.1);
}

/* The norms of a channel that is zero everywhere: the gradient is 0, not infinite. */
static void test_gradient_at_zero(void **state) {
    (void)state;
    static const double zero[] = {0, 4, 0}, ones[] = {1, 1, 1};
    ir_type row = shape(2, 1, 3, 0, 0);
    double *grn = run(IR_OP_grn_norm_grad, (tensor[]){{row, ones}, {row, zero}}, 2, NULL);
    assert_true(grn[0] == 0 && grn[2] == 0 && isfinite(grn[1]));
    free(grn);

    ir_graph *graph = ir_graph_new("root", IR_KIND_GRAD);
    ir_value x = ir_input(graph, "x", row), dy = ir_input(graph, "dy", row), dx;
    backward(graph, ir_unary(graph, IR_OP_sqrt, x), dy, 1, &dx);
    double *root = evaluate(graph, dx, (double *[]){(double *)zero, (double *)ones}, 2);
    assert_true(root[0] == 0 && root[1] == 0.25 && root[2] == 0);
    free(root);
    ir_graph_free(graph);
}

/* ---- random numbers ---- */

/* The known answers of the Random123 library, file kat_vectors, philox4x32 10. */
static void test_philox(void **state) {
    (void)state;
    static const uint32_t known[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        ir_philox(&known[i][4], &known[i][0], out);
        assert_memory_equal(out, &known[i][6], sizeof out);
    }
}

static double *draw(int64_t samples, int64_t rest, double rate, int64_t stream) {
    double step = (double)scalars.step;
    tensor operand[] = {{ir_type_make(IR_I64, 0, NULL), &step}};
    ir_attrs attrs = {
        .shape = IR_INTS(samples, rest), .rate = rate, .stream = stream, .set = IR_SET(rate)};
    return run(IR_OP_random_keep, operand, 1, &attrs);
}

static void test_random_keep(void **state) {
    (void)state;
    enum { SAMPLES = 50, REST = 200 };
    double *a = draw(SAMPLES, REST, 0.25, 6), *b = draw(SAMPLES, REST, 0.25, 7);
    size_t kept = 0, differ = 0;
    for (int i = 0; i < SAMPLES * REST; i++) {
        uint32_t key[2] = {(uint32_t)scalars.seed, (uint32_t)(scalars.seed >> 32)}, word[4];
        ir_philox(key, (uint32_t[]){(uint32_t)(i % REST), (uint32_t)(i / REST), 6, 3}, word);
        assert_true(a[i] == (word[0] >> 8 < 0.25 * 0x1p24 ? 0 : 1 / 0.75));
        kept += a[i] != 0;
        differ += a[i] != b[i];
    }
    assert_in_range(kept, 7300, 7700);   /* 7500 +- 4.6 deviations */
    assert_in_range(differ, 3550, 3950); /* 2 * 0.25 * 0.75 of all */
    free(a);
    free(b);
    a = draw(3, 5, 0, 1);
    for (int i = 0; i < 15; i++)
        assert_true(a[i] == 1);
    free(a);
}

/* Reads the convolution's definition out of one hand-made case: cross-correlation, weight
 * (O,C,kh,kw). */
static void test_conv_by_hand(void **state) {
    (void)state;
    tensor conv[] = {{shape(4, 1, 2, 3, 1), (const double[]){1, 2, 3, 4, 5, 6}},
                     {shape(4, 1, 1, 2, 2), (const double[]){1, 10, 100, 1000}},
                     {shape(1, 1, 0, 0, 0), (const double[]){0.5}}};
    CHECK(conv2d, conv, NULL, 0, 5421.5, 6532.5);
    ir_attrs padded = {.pad = IR_INTS(0, 1), .stride = IR_INTS(1, 2)};
    CHECK(conv2d, conv, &padded, 0, 4010.5, 6532.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_has_a_case),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_composites_equal_their_expansion),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_adamw_steps),
        cmocka_unit_test(test_optimizer_parts),
        cmocka_unit_test(test_pointwise_values),
        cmocka_unit_test(test_gradient_at_zero),
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_random_keep),
        cmocka_unit_test(test_conv_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
