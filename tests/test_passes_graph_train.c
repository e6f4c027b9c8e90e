/* Gradients of whole graphs against central differences, and the optimizer against numbers computed
 * elsewhere and by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pass.h"
#include "random_graph.h"
#include "seed.h"

static const ir_eval_scalars scalars = {.lr = 0.01, .step = 2, .seed = 77};

static ir_graph *run(const ir_graph *in, pass_optimizer_options optimizer) {
    ir_diag *diag = ir_diag_new();
    pass_options options = {.optimizer = optimizer};
    ir_graph *out = pass_run(in, &options, diag);
    ir_diag_print(diag, stderr);
    assert_non_null(out);
    assert_int_equal(diag->errors, 0);
    ir_diag_free(diag);
    return out;
}

static ir_graph *parse(const char *text) {
    static ir_source source; /* places in messages point to it */
    source = (ir_source){.file = "test.cnxir", .text = text};
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = ir_graph_parse(&source, diag);
    bool good = graph && ir_verify(graph, diag);
    ir_diag_print(diag, stderr);
    assert_true(good);
    ir_diag_free(diag);
    return graph;
}

static ir_value source_named(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        bool named = node->op == IR_OP_param || node->op == IR_OP_state || node->op == IR_OP_input;
        if (named && strcmp(node->name, name) == 0) return (ir_value){(uint32_t)i};
    }
    fail_msg("no source '%s'", name);
    return IR_NO_VALUE;
}

static ir_value output_named(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->output_count; i++)
        if (strcmp(graph->outputs[i].name, name) == 0) return graph->outputs[i].value;
    return IR_NO_VALUE;
}

/* ---- random graphs ---- */

static double loss_of(const ir_graph *graph, double *const *tensors) {
    ir_eval_result *r = ir_eval_graph(graph, (const double *const *)tensors, &scalars);
    double loss = r->value[output_named(graph, "loss").id][0];
    ir_eval_free(r);
    return loss;
}

/* A kink of relu, or a row of equal numbers that is normalized, may lie within h: take a smaller
 * one. */
static bool agrees(const ir_graph *graph, double **tensors, double *x, double gradient) {
    double was = *x, difference = 0;
    for (double h = 1e-5; h > 5e-8; h /= 10) {
        *x = was + h;
        double above = loss_of(graph, tensors);
        *x = was - h;
        double below = loss_of(graph, tensors);
        *x = was;
        difference = (above - below) / (2 * h);
        if (fabs(difference - gradient) <= 1e-5 * (1 + fabs(gradient))) return true;
    }
    print_error("gradient %.10g, difference %.10g\n", gradient, difference);
    return false;
}

static int check_gradients(uint64_t seed) {
    random_graph r = random_graph_new(seed, IR_KIND_GRAD);
    ir_graph *ready = run(r.graph, pass_optimizer_defaults());
    double **tensors = random_tensors(r.graph, seed), **own = random_tensors(ready, seed);
    ir_eval_result *result = ir_eval_graph(ready, (const double *const *)own, &scalars);
    int alive = 0;
    for (size_t i = 0; i < r.graph->count; i++) {
        const ir_node *param = &r.graph->nodes[i];
        if (param->op != IR_OP_param) continue;
        char name[64];
        snprintf(name, sizeof name, "grad.%s", param->name);
        ir_value grad = output_named(ready, name);
        if (!ir_some(grad)) fail_msg("no output '%s'", name);
        assert_true(ir_type_equal(ir_type_of(ready, grad), param->type));
        size_t n = (size_t)ir_type_elements(param->type);
        for (size_t j = 0; j < n; j += 1 + n / 4) {
            double g = result->value[grad.id][j];
            alive += g != 0;
            if (!agrees(r.graph, tensors, &tensors[i][j], g))
                fail_msg("seed %llu: %s[%zu]", (unsigned long long)seed, name, j);
        }
    }
    ir_eval_free(result);
    random_tensors_free(own, ready);
    random_tensors_free(tensors, r.graph);
    ir_graph_free(ready);
    ir_graph_free(r.graph);
    return alive;
}

static void test_gradients_are_differences(void **state) {
    (void)state;
    uint64_t seed = seed_of_test();
    enum { GRAPHS = 60 };
    int alive = 0;
    print_message("seeds %llu..%llu\n", (unsigned long long)seed,
                  (unsigned long long)seed + GRAPHS - 1);
    for (int i = 0; i < GRAPHS; i++)
        alive += check_gradients(seed + (uint64_t)i);
    assert_true(alive > 3 * GRAPHS);
}

/* ---- what a gradient is made of ---- */

/* Gradient of one parameter of a text, as doubles; the caller frees. Sources hold 0.5, 1, 1.5, ...
 * but labels 0, 1, ... */
static double *gradient_of(const char *text, const char *name, ir_type *type) {
    ir_graph *graph = parse(text), *ready = run(graph, pass_optimizer_defaults());
    double **tensors = calloc(ready->count + 1, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i < ready->count; i++) {
        const ir_node *node = &ready->nodes[i];
        if (node->op != IR_OP_input && node->op != IR_OP_param) continue;
        size_t n = (size_t)ir_type_elements(node->type);
        tensors[i] = calloc(n, sizeof(double));
        assert_non_null(tensors[i]);
        for (size_t j = 0; j < n; j++)
            tensors[i][j] = node->type.dtype == IR_I64 ? (double)j : 0.5 + 0.5 * (double)j;
    }
    ir_eval_result *r = ir_eval_graph(ready, (const double *const *)tensors, &scalars);
    ir_value grad = output_named(ready, name);
    if (!ir_some(grad)) fail_msg("no output '%s'", name);
    double *value = r->value[grad.id];
    r->value[grad.id] = NULL;
    *type = ir_type_of(ready, grad);
    ir_eval_free(r);
    random_tensors_free(tensors, ready);
    ir_graph_free(ready);
    ir_graph_free(graph);
    return value;
}

static void check_gradient(const char *text, const char *name, size_t n, const double *wanted) {
    ir_type type;
    double *found = gradient_of(text, name, &type);
    assert_int_equal(ir_type_elements(type), n);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(found[i] - wanted[i]) <= 1e-12 * (1 + fabs(wanted[i]))))
            fail_msg("%s[%zu] is %.17g, expected %.17g", name, i, found[i], wanted[i]);
    free(found);
}

#define SHARED                                                                                     \
    "cnx graph shared grad version 1\n"                                                            \
    "%0 = input \"x\" : f32[3]\n"                                                                  \
    "%1 = param \"w\" : f32[3]\n"                                                                  \
    "%2 = param \"unused\" : f32[2,2]\n"                                                           \
    "%3 = mul(%0, %1) : f32[3]\n"                                                                  \
    "%4 = square(%1) : f32[3]\n"                                                                   \
    "%5 = add(%3, %4) : f32[3]\n"                                                                  \
    "%6 = add(%5, %1) : f32[3]\n"                                                                  \
    "%7 = sum(%6) {axes=[0]} : f32[]\n"                                                            \
    "output \"loss\" = %7\n"

/* d/dw (x w + w^2 + w) = x + 2 w + 1; a parameter the loss does not know has the gradient 0. */
static void test_shared_and_unused_parameters(void **state) {
    (void)state;
    check_gradient(SHARED, "grad.w", 3, (const double[]){2.5, 4, 5.5});
    check_gradient(SHARED, "grad.unused", 4, (const double[]){0, 0, 0, 0});
    ir_graph *graph = parse(SHARED), *ready = run(graph, pass_optimizer_defaults());
    assert_int_equal(ready->output_count, 3);
    assert_string_equal(ready->outputs[0].name, "loss");
    assert_string_equal(ready->outputs[1].name, "grad.w");
    assert_string_equal(ready->outputs[2].name, "grad.unused");
    ir_graph_free(ready);
    ir_graph_free(graph);
}

/* (softmax(x) - target) / rows; x = 0.5 1 1.5 in the first row, 2 2.5 3 in the second: the softmax
 * of both is the same. */
static void test_labels_and_soft_targets(void **state) {
    (void)state;
    double e = exp(0.5), sum = 1 + e + e * e, p[3] = {1 / sum, e / sum, e * e / sum};
    double hard[6], smooth[6], soft[6];
    for (int i = 0; i < 6; i++) {
        double one = i / 3 == i % 3, t = 0.5 + 0.5 * i, row = i < 3 ? 3 : 7.5;
        hard[i] = (p[i % 3] - one) / 2;
        smooth[i] = (p[i % 3] - (0.9 * one + 0.1 / 3)) / 2;
        soft[i] = (p[i % 3] * row - t) / 2;
    }
#define XENT(type, attrs)                                                                          \
    "cnx graph xent grad version 1\n%0 = input \"target\" : " type                                 \
    "\n%1 = param \"w\" : f32[2,3]\n%2 = cross_entropy(%1, %0)" attrs                              \
    " : f32[]\noutput \"loss\" = %2\n"
    check_gradient(XENT("i64[2]", ""), "grad.w", 6, hard);
    check_gradient(XENT("i64[2]", " {smoothing=0.1}"), "grad.w", 6, smooth);
    check_gradient(XENT("f32[2,3]", ""), "grad.w", 6, soft);
}

/* The gradient drops the samples that the forward pass drops, and scales the others as it does. */
static void test_drop_path(void **state) {
    (void)state;
    ir_type type;
    double *g = gradient_of("cnx graph drop grad version 1\n%0 = param \"w\" : f32[64,3]\n"
                            "%1 = drop_path(%0) {rate=0.25, stream=9} : f32[64,3]\n"
                            "%2 = sum(%1) {axes=[0,1]} : f32[]\noutput \"loss\" = %2\n",
                            "grad.w", &type);
    uint32_t key[2] = {77, 0}, word[4];
    int kept = 0;
    for (uint32_t n = 0; n < 64; n++) {
        ir_philox(key, (const uint32_t[]){0, n, 9, 2}, word);
        double wanted = word[0] >> 8 < 0.25 * 0x1p24 ? 0 : 1 / 0.75;
        kept += wanted != 0;
        for (int i = 0; i < 3; i++)
            assert_true(g[3 * n + i] == wanted);
    }
    assert_in_range(kept, 36, 60);
    free(g);
}

static void check_mistake(const char *text, const char *message, int line) {
    ir_graph *graph = parse(text);
    ir_diag *diag = ir_diag_new();
    pass_options options = {.optimizer = pass_optimizer_defaults()};
    assert_null(pass_run(graph, &options, diag));
    assert_int_equal(diag->errors, 1);
    assert_string_equal(diag->messages[0].text, message);
    int found = 0, column;
    if (line) ir_loc_line(diag->messages[0].loc, &found, &column);
    assert_int_equal(found, line);
    ir_diag_free(diag);
    ir_graph_free(graph);
}

static void test_losses_without_gradient(void **state) {
    (void)state;
    check_mistake("cnx graph net grad version 1\n%0 = param \"w\" : f32[]\noutput \"lost\" = %0\n",
                  "'net' has no output 'loss', so there is nothing to differentiate", 0);
    check_mistake("cnx graph net grad version 1\n%0 = param \"w\" : f32[2]\noutput \"loss\" = %0\n",
                  "the output 'loss' is f32[2], expected a single number, f32[]", 2);
    check_mistake(
        "cnx graph net train version 1\n%0 = param \"w\" : f32[]\n"
        "%1 = gelu(%0) : f32[]\n%2 = gelu_grad(%1, %0) : f32[]\noutput \"loss\" = %2\n",
        "the loss depends on parameters through operand 1 of 'gelu_grad' (dy x), by which "
        "it cannot be differentiated",
        4);
}

/* ---- the optimizer ---- */

/* A training program stepped with the reference evaluator; states start at zero. */
typedef struct stepper {
    ir_graph *graph;
    double **tensors;
} stepper;

static stepper stepper_new(const char *text, pass_optimizer_options options) {
    ir_graph *graph = parse(text);
    stepper s = {.graph = run(graph, options)};
    ir_graph_free(graph);
    s.tensors = calloc(s.graph->count + 1, sizeof *s.tensors);
    assert_non_null(s.tensors);
    for (size_t i = 0; i < s.graph->count; i++) {
        size_t n = (size_t)ir_type_elements(s.graph->nodes[i].type);
        s.tensors[i] = calloc(n, sizeof(double));
        assert_non_null(s.tensors[i]);
    }
    return s;
}

static double *tensor(const stepper *s, const char *name) {
    return s->tensors[source_named(s->graph, name).id];
}

static void step(stepper *s, double lr, uint64_t number) {
    ir_eval_scalars now = {.lr = lr, .step = number};
    ir_eval_result *r = ir_eval_graph(s->graph, (const double *const *)s->tensors, &now);
    for (size_t i = 0; i < s->graph->update_count; i++) {
        ir_update u = s->graph->updates[i];
        size_t n = (size_t)ir_type_elements(ir_type_of(s->graph, u.target));
        memcpy(s->tensors[u.target.id], r->value[u.value.id], n * sizeof(double));
    }
    ir_eval_free(r);
}

static void stepper_free(stepper *s) {
    random_tensors_free(s->tensors, s->graph);
    ir_graph_free(s->graph);
}

static void close_to(double found, double wanted) {
    if (!(fabs(found - wanted) <= 1e-13 * (1 + fabs(wanted))))
        fail_msg("%.17g, expected %.17g", found, wanted);
}

/* The loss sum(w x) has the gradient x, so the test gives gradients. */
#define LINEAR_LOSS(attrs)                                                                         \
    "cnx graph step train version 1\n%0 = input \"x\" : f32[2]\n%1 = param \"w\"" attrs            \
    " : f32[2]\n%2 = mul(%0, %1) : f32[2]\n%3 = sum(%2) {axes=[0]} : f32[]\n"                      \
    "output \"loss\" = %3\n"

/* Numbers of PyTorch 2, float64: AdamW(lr=0.01, betas=(0.9, 0.95), weight_decay=0.05). */
static void test_adamw_steps(void **state) {
    (void)state;
    static const double gradient[3][2] = {{0.5, -1}, {0.25, 2}, {-1, 0.125}};
    static const double wanted[3][2] = {{0.9895000002000001, -1.9890000001},
                                        {0.9796123197564398, -1.9916392395819165},
                                        {0.9811567137813759, -1.9938425631467889}};
    pass_optimizer_options options = {
        .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.05};
    stepper s = stepper_new(LINEAR_LOSS(" {lr_scale=0.5}"), options);
    tensor(&s, "w")[0] = 1;
    tensor(&s, "w")[1] = -2;
    for (uint64_t t = 0; t < 3; t++) {
        memcpy(tensor(&s, "x"), gradient[t], sizeof gradient[t]);
        step(&s, 0.02, t + 1); /* lr_scale halves it */
        for (int i = 0; i < 2; i++)
            close_to(tensor(&s, "w")[i], wanted[t][i]);
    }
    stepper_free(&s);
}

/* The first step by hand: the moments are (1-beta) g and (1-beta) g^2, bias correction gives g and
 * g^2 back, so w moves by lr g / (|g| + eps) after it has decayed by lr times decay. */
static void test_first_step_by_hand(void **state) {
    (void)state;
    pass_optimizer_options options = pass_optimizer_defaults();
    options.weight_decay = 0.5;
    const char *const attrs[] = {LINEAR_LOSS(""), LINEAR_LOSS(" {decay=0}"),
                                 LINEAR_LOSS(" {decay=0.25, lr_scale=2}")};
    static const double decay[] = {0.5, 0, 0.25}, lr[] = {0.125, 0.125, 0.25};
    for (int i = 0; i < 3; i++) {
        stepper s = stepper_new(attrs[i], options);
        assert_int_equal(s.graph->update_count, 3);
        assert_int_equal(s.graph->output_count, 1);
        double *w = tensor(&s, "w"), *x = tensor(&s, "x");
        w[0] = w[1] = 8;
        x[0] = 3;
        x[1] = -4;
        step(&s, 0.125, 1);
        close_to(tensor(&s, "adam_m.w")[0], 0.1 * 3);
        close_to(tensor(&s, "adam_m.w")[1], 0.1 * -4);
        close_to(tensor(&s, "adam_v.w")[0], 0.001 * 9);
        close_to(tensor(&s, "adam_v.w")[1], 0.001 * 16);
        close_to(w[0], 8 - lr[i] * decay[i] * 8 - lr[i] * 3 / (3 + 1e-8));
        close_to(w[1], 8 - lr[i] * decay[i] * 8 + lr[i] * 4 / (4 + 1e-8));
        stepper_free(&s);
    }
}

/* Gradients (3) and (4, 12) have the norm 13 together; clipped to 2 each becomes 2/13 of itself. */
static void test_clipping(void **state) {
    (void)state;
    static const char text[] = "cnx graph clip train version 1\n"
                               "%0 = input \"a\" : f32[]\n%1 = input \"b\" : f32[2]\n"
                               "%2 = param \"u\" : f32[]\n%3 = param \"v\" : f32[2]\n"
                               "%4 = mul(%0, %2) : f32[]\n%5 = mul(%1, %3) : f32[2]\n"
                               "%6 = sum(%5) {axes=[0]} : f32[]\n%7 = add(%4, %6) : f32[]\n"
                               "output \"loss\" = %7\n";
    static const double limits[] = {0, 2, 13.5};
    for (int i = 0; i < 3; i++) {
        pass_optimizer_options options = pass_optimizer_defaults();
        options.clip_norm = limits[i];
        stepper s = stepper_new(text, options);
        tensor(&s, "a")[0] = 3;
        tensor(&s, "b")[0] = 4;
        tensor(&s, "b")[1] = 12;
        step(&s, 0.01, 1);
        double factor = i == 1 ? 2 / (13 + 1e-6) : 1;
        close_to(tensor(&s, "adam_m.u")[0], 0.1 * 3 * factor);
        close_to(tensor(&s, "adam_m.v")[0], 0.1 * 4 * factor);
        close_to(tensor(&s, "adam_v.v")[1], 0.001 * 144 * factor * factor);
        stepper_free(&s);
    }
}

/* A parameter that the loss does not know still decays, as in PyTorch with a gradient of zero. */
static void test_unused_parameter_decays(void **state) {
    (void)state;
    stepper s = stepper_new("cnx graph idle train version 1\n%0 = param \"idle\" : f32[]\n"
                            "%1 = param \"w\" : f32[]\n%2 = square(%1) : f32[]\n"
                            "output \"loss\" = %2\n",
                            pass_optimizer_defaults());
    tensor(&s, "idle")[0] = 3;
    step(&s, 0.5, 1);
    close_to(tensor(&s, "idle")[0], 3 - 0.5 * 0.01 * 3);
    stepper_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_differences),
        cmocka_unit_test(test_shared_and_unused_parameters),
        cmocka_unit_test(test_labels_and_soft_targets),
        cmocka_unit_test(test_drop_path),
        cmocka_unit_test(test_losses_without_gradient),
        cmocka_unit_test(test_adamw_steps),
        cmocka_unit_test(test_first_step_by_hand),
        cmocka_unit_test(test_clipping),
        cmocka_unit_test(test_unused_parameter_decays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
