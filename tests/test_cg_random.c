/* Random graphs all the way: passes, plan, interpreter and machine code against the reference, with
 * gradients and updates; and with the optional passes of both levels switched off. Then some
 * graphs by hand, of shapes that random ones seldom have.
 * cnx-test: codegen
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cg_jit.h"
#include "lower.h"
#include "pass.h"
#include "random_graph.h"
#include "seed.h"
#include "worst.h"

enum { MAX_IO = 128 };

static const ir_machine small = {"test", 8, 16, 4, 2, 32768, 524288, 33554432};

typedef struct random_run {
    uint64_t seed;
    ir_graph *graph;  /* after the passes */
    double **tensors; /* per node: sources, as floats hold them */
    ir_eval_result *want;
    ir_eval_result *shaken; /* from sources changed by a millionth: what rounding may do */
    ir_plan *plan;
    float *weights;
    void *io[MAX_IO];
    size_t inputs, count; /* count: with outputs */
    void *state, *workspace;
} random_run;

static void *block_of(int64_t bytes) {
    size_t size = (size_t)(bytes + 64) / 64 * 64;
    void *block = aligned_alloc(64, size);
    assert_non_null(block);
    return memset(block, 0x7f, size);
}

/* A source as the program takes it; what it cannot hold exactly is rounded in `tensor`, too. */
static void *given(ir_type type, double *tensor) {
    int64_t n = ir_type_elements(type);
    void *data = block_of(ir_type_bytes(type));
    for (int64_t i = 0; i < n; i++) {
        if (type.dtype == IR_I64)
            ((int64_t *)data)[i] = (int64_t)tensor[i];
        else
            tensor[i] = ((float *)data)[i] = (float)tensor[i];
    }
    return data;
}

static void fill_sources(random_run *r) {
    const ir_graph *g = r->graph;
    size_t at = 0;
    r->tensors = random_tensors(g, r->seed);
    r->weights = block_of(r->plan->weights_elements * 4);
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        if (!r->tensors[i]) continue;
        void *data = given(node->type, r->tensors[i]);
        assert_true(r->inputs < MAX_IO);
        if (node->op == IR_OP_input) {
            r->io[r->inputs++] = data;
            continue;
        }
        memcpy(r->weights + at, data, (size_t)ir_type_bytes(node->type));
        at += (size_t)ir_type_elements(node->type);
        free(data);
    }
    assert_int_equal(at, r->plan->weights_elements);
    r->count = r->inputs + g->output_count;
    assert_true(r->count <= MAX_IO);
    for (size_t i = 0; i < g->output_count; i++)
        r->io[r->inputs + i] = block_of(ir_type_bytes(ir_type_of(g, g->outputs[i].value)));
}

static void evaluate(random_run *r) {
    ir_eval_scalars scalars = {.lr = 0.05, .step = 3, .seed = 7};
    r->want = ir_eval_graph(r->graph, (const double *const *)r->tensors, &scalars);
    double **moved = random_tensors(r->graph, r->seed);
    for (size_t i = 0; i < r->graph->count; i++) {
        ir_type type = r->graph->nodes[i].type;
        for (int64_t k = 0; moved[i] && type.dtype == IR_F32 && k < ir_type_elements(type); k++)
            moved[i][k] = r->tensors[i][k] * (1 + (k % 3 - 1) * 1e-6);
    }
    r->shaken = ir_eval_graph(r->graph, (const double *const *)moved, &scalars);
    random_tensors_free(moved, r->graph);
}

/* r->graph as a program, its sources and what comes of them. */
static void prepare(random_run *r, const ir_machine *machine, const char *const *disabled) {
    pass_lower_options lower = {.machine = machine, .workers = 3, .disabled = disabled};
    r->plan = pass_lower(r->graph, &lower);
    ir_plan_verify(r->plan);
    fill_sources(r);
    evaluate(r);
    r->state = block_of(r->plan->state_bytes);
    r->workspace = block_of(r->plan->workspace_bytes);
}

static random_run random_run_new(uint64_t seed, ir_kind kind, const ir_machine *machine,
                                 bool plain) {
    random_run r = {.seed = seed};
    const char *off[32] = {0}, *lower_off[32] = {0};
    size_t count = 0;
    for (size_t i = 0; i < pass_count(); i++)
        if (pass_get(i)->need == PASS_OPTIONAL) off[count++] = pass_get(i)->name;
    for (size_t i = 0; i < pass_lower_count(); i++)
        lower_off[i] = pass_lower_get(i)->name;
    random_graph random = random_graph_new(seed, kind);
    ir_diag *diag = ir_diag_new();
    /* A large eps: Adam divides by the gradient, and would blow up its rounding errors. */
    pass_options options = {.optimizer = {.beta1 = 0.9,
                                          .beta2 = 0.99,
                                          .eps = 0.05,
                                          .weight_decay = 0.1,
                                          .clip_norm = seed % 2 ? 0.5 : 0},
                            .disabled = plain ? off : NULL};
    r.graph = pass_run(random.graph, &options, diag);
    assert_non_null(r.graph);
    ir_diag_free(diag);
    ir_graph_free(random.graph);
    prepare(&r, machine, plain ? lower_off : NULL);
    return r;
}

static void random_run_free(random_run *r) {
    for (size_t i = 0; i < r->count; i++)
        free(r->io[i]);
    random_tensors_free(r->tensors, r->graph);
    ir_eval_free(r->want);
    ir_eval_free(r->shaken);
    ir_plan_free(r->plan);
    ir_graph_free(r->graph);
    free(r->weights);
    free(r->state);
    free(r->workspace);
}

/* `value` of the graph, against what it was before the step if it is an update. */
static void near(const random_run *r, const char *how, const char *name, const float *found,
                 ir_value value, const double *before) {
    const double *want = r->want->value[value.id], *shaken = r->shaken->value[value.id];
    double most = 0, error = 0, rounding = 0;
    for (int64_t i = 0; i < ir_type_elements(ir_type_of(r->graph, value)); i++) {
        most = fmax(most, fabs(want[i] - (before ? before[i] : 0)));
        rounding = fmax(rounding, fabs(shaken[i] - want[i]));
        error = worst_of(error, fabs(found[i] - want[i]));
    }
    /* 5e-5: rows of equal numbers are normalized by 1000, and so is what their mean was rounded by
     */
    if (!(error <= 5e-5 + 1e-4 * most + 10 * rounding))
        fail_msg("%s, seed %llu: '%s' is off by %g of %g", how, (unsigned long long)r->seed, name,
                 error, most);
}

static const ir_buffer *state_named(const ir_plan *plan, const char *name) {
    const ir_buffer *b = ir_plan_buffer(plan, IR_BUFFER_STATE, name);
    if (!b) fail_msg("no state '%s'", name);
    return b;
}

/* Every output, and every parameter and moment that the step changed. */
static void check_results(const random_run *r, const char *how) {
    const ir_graph *g = r->graph;
    for (size_t i = 0; i < g->output_count; i++)
        near(r, how, g->outputs[i].name, r->io[r->inputs + i], g->outputs[i].value, NULL);
    for (size_t i = 0; i < g->update_count; i++) {
        ir_update u = g->updates[i];
        const char *name = ir_at(g, u.target)->name;
        const ir_buffer *b = state_named(r->plan, name);
        near(r, how, name, (const float *)((const char *)r->state + b->offset), u.value,
             r->tensors[u.target.id]);
    }
}

static void interpret(random_run *r, const char *how) {
    ir_plan_run run = {.state = r->state,
                       .workspace = r->workspace,
                       .weights = r->weights,
                       .io = r->io,
                       .lr = 0.05f,
                       .step = 3,
                       .seed = 7};
    size_t weights = (size_t)r->plan->weights_elements * sizeof(float);
    if (r->plan->kind != IR_KIND_INFER) {
        memset(r->state, 0, (size_t)r->plan->state_bytes);
        memcpy(r->state, r->weights, weights);
    }
    ir_plan_interpret_init(r->plan, &run);
    ir_plan_interpret_main(r->plan, &run);
    check_results(r, how);
}

static void backwards(void *context, int64_t tasks, int64_t workers, cnx_task body,
                      void *argument) {
    (void)context;
    for (int64_t t = tasks; t-- > 0;)
        body(argument, t, t % workers);
}

static void execute(random_run *r, const cg_jit *jit, const cnx_threads *threads) {
    cnx_scalars scalars = {.lr = 0.05f, .step = 3, .seed = 7};
    cg_run run = {.state = r->state,
                  .workspace = r->workspace,
                  .io = r->io,
                  .scalars = &scalars,
                  .threads = threads};
    memset(r->state, 0x7f, (size_t)r->plan->state_bytes);
    memset(r->workspace, 0x7f, (size_t)r->plan->workspace_bytes);
    assert_int_equal(cg_jit_init(jit, r->state, r->weights), CNX_OK);
    assert_int_equal(cg_jit_run(jit, &run), CNX_OK);
}

/* Machine code, alone and on three workers whose tasks come in the wrong order: the same bits. */
static void compile(random_run *r, const cg_machine *machine) {
    ir_diag *diag = ir_diag_new();
    cg_jit *jit = cg_jit_compile(r->plan, &(cg_jit_options){.machine = machine}, diag);
    assert_non_null(jit);
    execute(r, jit, NULL);
    check_results(r, machine->facts.name);
    void *serial[MAX_IO];
    for (size_t i = r->inputs; i < r->count; i++) {
        int64_t bytes = ir_type_bytes(ir_type_of(r->graph, r->graph->outputs[i - r->inputs].value));
        serial[i] = memcpy(block_of(bytes), r->io[i], (size_t)bytes);
    }
    execute(r, jit, &(cnx_threads){backwards, NULL, 3});
    for (size_t i = r->inputs; i < r->count; i++) {
        ir_type type = ir_type_of(r->graph, r->graph->outputs[i - r->inputs].value);
        assert_memory_equal(r->io[i], serial[i], (size_t)ir_type_bytes(type));
        free(serial[i]);
    }
    cg_jit_free(jit);
    ir_diag_free(diag);
}

static uint64_t first_seed(int graphs) {
    uint64_t seed = seed_of_test();
    print_message("seeds %llu..%llu\n", (unsigned long long)seed,
                  (unsigned long long)seed + (uint64_t)graphs - 1);
    return seed;
}

static void plans_give_the_values_of_graphs(void **state) {
    (void)state;
    enum { GRAPHS = 40 };
    uint64_t seed = first_seed(GRAPHS);
    for (int i = 0; i < GRAPHS; i++, seed++)
        for (int kind = 0; kind < 3; kind++)
            for (int plain = 0; plain < 2; plain++) {
                random_run r = random_run_new(seed, (ir_kind)kind, &small, plain);
                interpret(&r, plain ? "plan without passes" : "plan");
                random_run_free(&r);
            }
}

static void machine_code_gives_the_values_of_graphs(void **state) {
    (void)state;
    enum { GRAPHS = 6 };
    uint64_t seed = first_seed(GRAPHS);
    for (int i = 0; i < GRAPHS; i++, seed++)
        for (size_t m = 0; m < cg_machine_count(); m++) {
            const cg_machine *machine = cg_machine_at(m);
            if (!cg_machine_runs_here(machine)) continue;
            random_run r = random_run_new(seed, (ir_kind)((i + m) % 3), &machine->facts, false);
            compile(&r, machine);
            random_run_free(&r);
        }
}

/* Finished graphs: kind, nodes and results. */
static const char *const by_hand[] = {
    /* both operands of a weight gradient made by one chain of cheap nodes */
    "infer version 1\n"
    "%0 = input \"x\" : f32[2,5,6]\n%1 = param \"b\" : f32[6]\n%2 = param \"s\" : f32[6]\n"
    "%3 = broadcast(%1) {shape=[2,5,6]} : f32[2,5,6]\n%4 = add(%0, %3) : f32[2,5,6]\n"
    "%5 = broadcast(%2) {shape=[2,5,6]} : f32[2,5,6]\n%6 = mul(%4, %5) : f32[2,5,6]\n"
    "%7 = matmul_tn(%4, %6) : f32[6,6]\noutput \"y\" = %7\n",
    /* a single class, rows that are not the batch */
    "infer version 1\n"
    "%0 = input \"x\" : f32[2,3]\n%1 = input \"label\" : i64[2,4]\n"
    "%2 = reshape(%1) {shape=[8]} : i64[8]\n%3 = one_hot(%2) {classes=1} : f32[8,1]\n"
    "output \"y\" = %3\noutput \"x2\" = %0\n",
    /* two updates in one kernel, with other moments each */
    "train version 1\n"
    "%0 = input \"x\" : f32[2,3]\n%1 = param \"p\" : f32[2,3]\n%2 = param \"q\" : f32[2,3]\n"
    "%3 = lr : f32[]\n%4 = step : i64[]\n%5 = mul(%0, %0) : f32[2,3]\n"
    "%6 = adamw(%1, %0, %5, %3, %4) {beta1=0.9, beta2=0.999, eps=0.01, decay=0, lr_scale=1} "
    ": f32[2,3]\n"
    "%7 = adamw(%2, %0, %5, %3, %4) {beta1=0.5, beta2=0.9, eps=0.01, decay=0, lr_scale=1} "
    ": f32[2,3]\n"
    "update %1 = %6\nupdate %2 = %7\noutput \"loss\" = %3\n",
};

static random_run by_hand_new(size_t i, const ir_machine *machine) {
    random_run r = {.seed = i};
    char text[4096];
    snprintf(text, sizeof text, "cnx graph by_hand %s", by_hand[i]);
    ir_source source = {.file = "by_hand.cnxir", .text = text};
    ir_diag *diag = ir_diag_new();
    r.graph = ir_graph_parse(&source, diag);
    if (!r.graph) ir_diag_print(diag, stderr);
    assert_non_null(r.graph);
    ir_diag_free(diag);
    prepare(&r, machine, NULL);
    return r;
}

static void graphs_by_hand_too(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++) {
        random_run r = by_hand_new(i, &small);
        interpret(&r, "plan by hand");
        random_run_free(&r);
        for (size_t m = 0; m < cg_machine_count(); m++) {
            const cg_machine *machine = cg_machine_at(m);
            if (!cg_machine_runs_here(machine)) continue;
            r = by_hand_new(i, &machine->facts);
            compile(&r, machine);
            random_run_free(&r);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_give_the_values_of_graphs),
        cmocka_unit_test(machine_code_gives_the_values_of_graphs),
        cmocka_unit_test(graphs_by_hand_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
