/* Every op of ir/ops.def, compiled for every --cpu path this machine can run, against the reference
 * evaluator; the plan interpreter stands between them; 1 and 3 workers give the same bits; guard
 * bytes around every buffer stay untouched. cnx-test: codegen
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cg_jit.h"
#include "hooks.h"
#include "lower.h"
#include "op_case.h"
#include "worst.h"

#include <math.h>
#include <stdio.h>

enum { GUARD = 256, MAX_IO = 16 };

typedef struct op_run {
    ir_graph *graph;  /* primitive */
    double **source;  /* per node of `graph` */
    void *io[MAX_IO]; /* inputs, then the output, each between guards */
    int inputs;
    float *weights;
    ir_eval_result *want;
} op_run;

static void *guarded(size_t bytes) {
    size_t whole = (bytes + 63) / 64 * 64 + 2 * GUARD;
    char *block = aligned_alloc(64, whole);
    assert_non_null(block);
    memset(block, 0x5a, whole);
    return block + GUARD;
}

static void release(void *data, size_t bytes) {
    unsigned char *block = (unsigned char *)data - GUARD;
    for (int i = 0; i < GUARD; i++)
        assert_int_equal(block[i], 0x5a);
    for (size_t i = bytes; i < bytes + GUARD; i++)
        assert_int_equal(block[GUARD + i], 0x5a);
    free(block);
}

static void fill(void *to, ir_type type, const double *from) {
    for (int64_t i = 0; i < ir_type_elements(type); i++) {
        if (type.dtype == IR_I64)
            ((int64_t *)to)[i] = (int64_t)from[i];
        else if (type.dtype == IR_I32)
            ((int32_t *)to)[i] = (int32_t)from[i];
        else
            ((float *)to)[i] = (float)from[i];
    }
}

/* Composites become primitive; sources keep their order. */
static ir_graph *expanded(const ir_graph *from) {
    ir_graph *to = ir_graph_new("op", IR_KIND_INFER);
    ir_value *map = calloc(from->count + 1, sizeof *map);
    for (size_t i = 0; i < from->count; i++) {
        ir_node node = from->nodes[i];
        for (int o = 0; o < node.operand_count; o++)
            node.operand[o] = map[node.operand[o].id];
        bool step = node.op == IR_OP_input && node.type.dtype == IR_I64 && node.type.rank == 0;
        if (step) map[i] = ir_build(to, IR_OP_step, NULL, 0, NULL, NULL);
        if (step) continue;
        map[i] = ir_op_get(node.op)->kind == IR_COMPOSITE
                     ? ir_expand(to, &node)
                     : ir_copy_node(to, from, (ir_value){(uint32_t)i}, map);
    }
    ir_copy_results(to, from, map);
    free(map);
    return to;
}

static const ir_eval_scalars scalars = {.lr = 0.001, .step = 3, .seed = 0x123456789abcdefull};

static op_run op_run_new(const op_case_graph *g) {
    op_run r = {.graph = expanded(g->graph)};
    r.source = calloc(r.graph->count + 1, sizeof *r.source);
    size_t from = 0;
    for (size_t i = 0; i < r.graph->count; i++) {
        const ir_node *node = &r.graph->nodes[i];
        if (node->op != IR_OP_input) continue;
        while (g->graph->nodes[from].op != IR_OP_input ||
               !ir_type_equal(g->graph->nodes[from].type, node->type))
            from++;
        r.source[i] = g->source[from++];
        assert_true(r.inputs < MAX_IO - 1);
        r.io[r.inputs] = guarded((size_t)ir_type_bytes(node->type));
        fill(r.io[r.inputs++], node->type, r.source[i]);
    }
    ir_type out = ir_type_of(r.graph, r.graph->outputs[0].value);
    r.io[r.inputs] = guarded((size_t)ir_type_bytes(out));
    r.want = ir_eval_graph(r.graph, (const double *const *)r.source, &scalars);
    return r;
}

static void op_run_free(op_run *r) {
    int io = 0;
    for (size_t i = 0; i < r->graph->count; i++)
        if (r->graph->nodes[i].op == IR_OP_input)
            release(r->io[io++], (size_t)ir_type_bytes(r->graph->nodes[i].type));
    ir_type out = ir_type_of(r->graph, r->graph->outputs[0].value);
    release(r->io[io], (size_t)ir_type_bytes(out));
    ir_eval_free(r->want);
    free(r->source);
    ir_graph_free(r->graph);
}

static double at(const void *data, ir_dtype dtype, int64_t i) {
    return dtype == IR_I32 ? ((const int32_t *)data)[i] : (double)((const float *)data)[i];
}

static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static void compare(const op_run *r, const op_case *c, const char *path) {
    ir_value value = r->graph->outputs[0].value;
    ir_type type = ir_type_of(r->graph, value);
    const double *want = r->want->value[value.id];
    double most = 1e-30, error = 0;
    for (int64_t i = 0; i < ir_type_elements(type); i++) {
        double found = at(r->io[r->inputs], type.dtype, i), off = fabs(found - want[i]);
        if (same(found, want[i])) continue;
        most = fmax(most, fabs(want[i]));
        error = worst_of(error, off);
    }
    if (error / most < 2e-6) return;
    print_error("%s.%s on %s: error %g of %g\n", ir_op_get(c->op)->name, c->label, path, error,
                most);
    fail();
}

static void serial_workers(void *context, int64_t tasks, int64_t workers, cnx_task body,
                           void *argument) {
    (void)context;
    for (int64_t t = tasks; t-- > 0;)
        body(argument, t, t % workers);
}

static void compiled(op_run *r, const op_case *c, const cg_machine *machine) {
    ir_plan *plan =
        pass_lower(r->graph, &(pass_lower_options){.machine = &machine->facts, .workers = 3});
    ir_plan_verify(plan);
    ir_diag *diag = ir_diag_new();
    cg_jit *jit = cg_jit_compile(plan, &(cg_jit_options){.machine = machine}, diag);
    assert_non_null(jit);
    ir_type type = ir_type_of(r->graph, r->graph->outputs[0].value);
    size_t bytes = (size_t)ir_type_bytes(type);
    void *state = guarded((size_t)plan->state_bytes);
    void *workspace = guarded((size_t)plan->workspace_bytes), *first = malloc(bytes);
    cnx_scalars given = {.lr = 0.001f, .step = scalars.step, .seed = scalars.seed};
    cnx_threads many = {serial_workers, NULL, 3};
    cg_run run = {.state = state, .workspace = workspace, .io = r->io, .scalars = &given};
    assert_int_equal(cg_jit_init(jit, state, r->weights), CNX_OK);
    for (int threads = 0; threads < 2; threads++) {
        run.threads = threads ? &many : NULL;
        memset(r->io[r->inputs], 0x7f, bytes);
        assert_int_equal(cg_jit_run(jit, &run), CNX_OK);
        compare(r, c, machine->facts.name);
        if (threads == 0)
            memcpy(first, r->io[r->inputs], bytes);
        else
            assert_memory_equal(first, r->io[r->inputs], bytes);
    }
    free(first);
    release(state, (size_t)plan->state_bytes);
    release(workspace, (size_t)plan->workspace_bytes);
    cg_jit_free(jit);
    ir_diag_free(diag);
    ir_plan_free(plan);
}

static void interpreted(op_run *r, const op_case *c) {
    static const ir_machine machine = {"test", 8, 16, 4, 2, 32768, 524288, 33554432};
    ir_plan *plan = pass_lower(r->graph, &(pass_lower_options){.machine = &machine, .workers = 2});
    ir_plan_run run = {.state = guarded((size_t)plan->state_bytes),
                       .workspace = guarded((size_t)plan->workspace_bytes),
                       .weights = r->weights,
                       .io = r->io,
                       .lr = 0.001f,
                       .step = scalars.step,
                       .seed = scalars.seed};
    ir_plan_interpret_init(plan, &run);
    ir_plan_interpret_main(plan, &run);
    compare(r, c, "the interpreter");
    release(run.state, (size_t)plan->state_bytes);
    release(run.workspace, (size_t)plan->workspace_bytes);
    ir_plan_free(plan);
}

static int run_everywhere(const op_case *c, const op_case_graph *g) {
    op_run r = op_run_new(g);
    int ran = 0;
    r.weights = calloc(1, sizeof(float));
    interpreted(&r, c);
    for (size_t m = 0; m < cg_machine_count(); m++) {
        if (!cg_machine_runs_here(cg_machine_at(m))) continue;
        compiled(&r, c, cg_machine_at(m));
        ran++;
    }
    free(r.weights);
    op_run_free(&r);
    return ran;
}

static void every_op_runs_as_the_reference_says(void **unused) {
    (void)unused;
    int ran = 0;
    for (size_t i = 0; i < op_case_count; i++) {
        if (ir_op_get(op_cases[i].op)->kind == IR_SOURCE) continue;
        op_case_graph g = op_case_build(&op_cases[i]);
        ran += run_everywhere(&op_cases[i], &g);
        op_case_free(&g);
    }
    assert_true(ran > 0);
}

/* The largest of nothing but -infinity is that, and a NaN is seen wherever it stands. */
static void largest_sees_infinity_and_nan(void **unused) {
    (void)unused;
    for (size_t i = 0; i < op_case_count; i++) {
        if (op_cases[i].op != IR_OP_max) continue;
        op_case_graph g = op_case_build(&op_cases[i]);
        int64_t count = ir_type_elements(ir_type_of(g.graph, (ir_value){0}));
        for (int64_t k = 0; k < count; k++)
            g.source[0][k] = -INFINITY;
        assert_true(run_everywhere(&op_cases[i], &g) > 0);
        for (int64_t k = 0; k < count; k += 37) {
            double before = g.source[0][k];
            g.source[0][k] = NAN;
            if (k % 3) g.source[0][(k + 11) % count] = 1;
            assert_true(run_everywhere(&op_cases[i], &g) > 0);
            g.source[0][k] = before;
        }
        op_case_free(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op_runs_as_the_reference_says),
                                       cmocka_unit_test(largest_sees_infinity_and_nan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
