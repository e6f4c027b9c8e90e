/* The functions codegen writes out as polynomials, against libm in double: a dense sweep of the
 * range and the special values, on every --cpu path this machine can run. Bounds are stated per
 * function. cnx-test: codegen
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sample_net.h"

#include "cg_jit.h"

enum { COUNT = 40000, SPECIALS = 8 };

typedef struct math_case {
    const char *name;
    ir_op op;
    bool tanh;
    double low, high;          /* swept evenly */
    double relative, absolute; /* |error| <= relative |exact| + absolute max(1, |x|) */
} math_case;

static const math_case cases[] = {
    {"exp", IR_OP_exp, false, -103, 89, 4e-7, 1e-44},
    {"log", IR_OP_log, false, 1e-3, 1e4, 3e-7, 1e-7},
    {"sigmoid", IR_OP_sigmoid, false, -100, 100, 5e-7, 1e-40},
    {"sqrt", IR_OP_sqrt, false, 0, 1e6, 1e-7, 0},
    {"gelu", IR_OP_gelu, false, -12, 12, 0, 2.5e-7},
    {"gelu tanh", IR_OP_gelu, true, -12, 12, 0, 2.5e-7},
    {"gelu slope", IR_OP_gelu_grad, false, -12, 12, 0, 4e-7},
    {"gelu tanh slope", IR_OP_gelu_grad, true, -12, 12, 0, 6e-7},
};

static double exact(const math_case *c, double x) {
    double k = sqrt(2 / M_PI), t = tanh(k * (x + 0.044715 * x * x * x));
    switch ((int)c->op) {
    case IR_OP_exp: return exp(x);
    case IR_OP_log: return log(x);
    case IR_OP_sigmoid: return 1 / (1 + exp(-x));
    case IR_OP_sqrt: return sqrt(x);
    case IR_OP_gelu: return c->tanh ? 0.5 * x * (1 + t) : 0.5 * x * erfc(-x * M_SQRT1_2);
    }
    if (!c->tanh) return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
}

/* Runs y = f(x) over `count` elements. */
static void evaluate(const cg_machine *machine, const math_case *c, const float *x, float *y) {
    ir_graph *g = ir_graph_new("math", IR_KIND_INFER);
    ir_type type = ir_type_make(IR_F32, 1, (int64_t[]){COUNT + SPECIALS});
    ir_value in = ir_input(g, "x", type), out;
    ir_attrs attrs = {.tanh = c->tanh, .set = c->tanh ? IR_SET(tanh) : 0};
    if (c->op == IR_OP_gelu_grad) {
        ir_value one = ir_constant(g, ir_type_make(IR_F32, 0, NULL), 1);
        out = ir_build(g, c->op, (ir_value[]){one, in}, 2, &attrs, NULL);
    } else {
        out = ir_build(g, c->op, &in, 1, &attrs, NULL);
    }
    ir_add_output(g, "y", out);
    pass_lower_options options = {.machine = &machine->facts, .workers = 1};
    ir_plan *plan = pass_lower(g, &options);
    ir_diag *diag = ir_diag_new();
    cg_jit *jit = cg_jit_compile(plan, &(cg_jit_options){.machine = machine}, diag);
    assert_non_null(jit);
    void *io[2] = {(void *)(uintptr_t)x, y};
    float none = 0;
    cg_run run = {.state = sample_block_of(plan->state_bytes),
                  .workspace = sample_block_of(plan->workspace_bytes),
                  .io = io};
    assert_int_equal(cg_jit_init(jit, run.state, &none), CNX_OK);
    assert_int_equal(cg_jit_run(jit, &run), CNX_OK);
    free(run.state);
    free(run.workspace);
    cg_jit_free(jit);
    ir_diag_free(diag);
    ir_plan_free(plan);
    ir_graph_free(g);
}

static bool close_enough(const math_case *c, double x, double got) {
    double want = exact(c, x);
    if (isnan(want)) return isnan(got);
    if (isinf((float)want)) return got == (float)want;
    double room = c->relative * fabs(want) + c->absolute * fmax(1, fabs(x));
    return fabs(got - want) <= room;
}

static void check(const cg_machine *machine, const math_case *c) {
    static const float specials[SPECIALS] = {NAN,   INFINITY, -INFINITY, 0,
                                             -0.0f, 1e-41f,   3e38f,     -3e38f};
    float *x = malloc((COUNT + SPECIALS) * sizeof *x), *y = malloc((COUNT + SPECIALS) * sizeof *y);
    memcpy(x, specials, sizeof specials);
    for (int i = 0; i < COUNT; i++)
        x[SPECIALS + i] = (float)(c->low + (c->high - c->low) * i / (COUNT - 1));
    evaluate(machine, c, x, y);
    for (int i = 0; i < COUNT + SPECIALS; i++) {
        bool infinite =
            i < SPECIALS && isinf(x[i]) && (c->op == IR_OP_gelu_grad || c->op == IR_OP_gelu);
        if (infinite) continue; /* inf times 0: the formula itself has no value there */
        bool good = close_enough(c, x[i], y[i]);
        if (!good)
            print_error("%s, %s(%.9g) = %.9g, expected %.9g\n", machine->facts.name, c->name, x[i],
                        y[i], exact(c, x[i]));
        assert_true(good);
    }
    free(x);
    free(y);
}

static void functions_are_accurate(void **unused) {
    (void)unused;
    for (size_t m = 0; m < cg_machine_count(); m++) {
        if (!cg_machine_runs_here(cg_machine_at(m))) continue;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            check(cg_machine_at(m), &cases[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(functions_are_accurate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
