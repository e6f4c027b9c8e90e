/* A graph all the way: passes, plan, interpreter and machine code against the reference, with
 * gradients and updates. Sources get random numbers that are a function of seed and name.
 *
 *     graph_run r = graph_run_new(graph, &(graph_run_options){.seed = 7, .machine = facts});
 *     graph_run_interpret(&r, "plan");        every output and update, or the test fails
 *     graph_run_compile(&r, machine);         the same of machine code, alone and on threads
 *     graph_run_free(&r);
 */
#ifndef GRAPH_RUN_H
#define GRAPH_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cg_jit.h"
#include "lower.h"
#include "pass.h"
#include "random_graph.h"
#include "worst.h"

enum { GRAPH_RUN_IO = 128 };

typedef struct graph_run {
    uint64_t seed;
    ir_graph *graph;  /* after the passes */
    double **tensors; /* per node: sources, as floats hold them */
    ir_eval_result *want;
    ir_eval_result *shaken; /* from sources changed by a millionth: what rounding may do */
    ir_plan *plan;
    float *weights;
    void *io[GRAPH_RUN_IO];
    size_t inputs, count; /* count: with outputs */
    void *state, *workspace;
} graph_run;

static inline void *graph_run_block(int64_t bytes) {
    size_t size = (size_t)(bytes + 64) / 64 * 64;
    void *block = aligned_alloc(64, size);
    assert_non_null(block);
    return memset(block, 0x7f, size);
}

/* A source as the program takes it; what it cannot hold exactly is rounded in `tensor`, too. */
static inline void *graph_run_given(ir_type type, double *tensor) {
    int64_t n = ir_type_elements(type);
    void *data = graph_run_block(ir_type_bytes(type));
    for (int64_t i = 0; i < n; i++) {
        if (type.dtype == IR_I64)
            ((int64_t *)data)[i] = (int64_t)tensor[i];
        else
            tensor[i] = ((float *)data)[i] = (float)tensor[i];
    }
    return data;
}

static inline void graph_run_fill(graph_run *r) {
    const ir_graph *g = r->graph;
    size_t at = 0;
    r->tensors = random_tensors(g, r->seed);
    r->weights = graph_run_block(r->plan->weights_elements * 4);
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        if (!r->tensors[i]) continue;
        void *data = graph_run_given(node->type, r->tensors[i]);
        assert_true(r->inputs < GRAPH_RUN_IO);
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
    assert_true(r->count <= GRAPH_RUN_IO);
    for (size_t i = 0; i < g->output_count; i++)
        r->io[r->inputs + i] = graph_run_block(ir_type_bytes(ir_type_of(g, g->outputs[i].value)));
}

static inline void graph_run_evaluate(graph_run *r) {
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

typedef struct graph_run_options {
    uint64_t seed; /* of the values; odd ones clip gradients */
    const ir_machine *machine;
    int64_t workers;
    bool plain; /* without the optional passes of both levels */
} graph_run_options;

/* r->graph as a program, its sources and what comes of them. */
static inline void graph_run_lower(graph_run *r, const graph_run_options *o,
                                   const char *const *disabled) {
    pass_lower_options lower = {.machine = o->machine, .workers = o->workers, .disabled = disabled};
    r->plan = pass_lower(r->graph, &lower);
    ir_plan_verify(r->plan);
    graph_run_fill(r);
    graph_run_evaluate(r);
    r->state = graph_run_block(r->plan->state_bytes);
    r->workspace = graph_run_block(r->plan->workspace_bytes);
}

/* Takes the graph, which holds composite ops and no gradients. */
static inline graph_run graph_run_new(ir_graph *graph, const graph_run_options *o) {
    graph_run r = {.seed = o->seed};
    const char *off[32] = {0}, *lower_off[32] = {0};
    size_t count = 0;
    for (size_t i = 0; i < pass_count(); i++)
        if (pass_get(i)->need == PASS_OPTIONAL) off[count++] = pass_get(i)->name;
    for (size_t i = 0; i < pass_lower_count(); i++)
        lower_off[i] = pass_lower_get(i)->name;
    ir_diag *diag = ir_diag_new();
    /* A large eps: Adam divides by the gradient, and would blow up its rounding errors. */
    pass_options options = {.optimizer = {.beta1 = 0.9,
                                          .beta2 = 0.99,
                                          .eps = 0.05,
                                          .weight_decay = 0.1,
                                          .clip_norm = o->seed % 2 ? 0.5 : 0},
                            .disabled = o->plain ? off : NULL};
    r.graph = pass_run(graph, &options, diag);
    assert_non_null(r.graph);
    ir_diag_free(diag);
    ir_graph_free(graph);
    graph_run_lower(&r, o, o->plain ? lower_off : NULL);
    return r;
}

/* Takes a finished graph: as it is, through no pass. */
static inline graph_run graph_run_of(ir_graph *graph, const graph_run_options *o) {
    graph_run r = {.seed = o->seed, .graph = graph};
    graph_run_lower(&r, o, NULL);
    return r;
}

static inline void graph_run_free(graph_run *r) {
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
static inline void graph_run_near(const graph_run *r, const char *how, const char *name,
                                  const float *found, ir_value value, const double *before) {
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

static inline const ir_buffer *graph_run_state(const ir_plan *plan, const char *name) {
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class == IR_BUFFER_STATE && b->name && strcmp(b->name, name) == 0) return b;
    }
    fail_msg("no state '%s'", name);
    return NULL;
}

/* Every output, and every parameter and moment that the step changed. */
static inline void graph_run_check(const graph_run *r, const char *how) {
    const ir_graph *g = r->graph;
    for (size_t i = 0; i < g->output_count; i++)
        graph_run_near(r, how, g->outputs[i].name, r->io[r->inputs + i], g->outputs[i].value, NULL);
    for (size_t i = 0; i < g->update_count; i++) {
        ir_update u = g->updates[i];
        const char *name = ir_at(g, u.target)->name;
        const ir_buffer *b = graph_run_state(r->plan, name);
        graph_run_near(r, how, name, (const float *)((const char *)r->state + b->offset), u.value,
                       r->tensors[u.target.id]);
    }
}

static inline void graph_run_interpret(graph_run *r, const char *how) {
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
    graph_run_check(r, how);
}

static inline void graph_run_backwards(void *context, int64_t tasks, int64_t workers, cnx_task body,
                                       void *argument) {
    (void)context;
    for (int64_t t = tasks; t-- > 0;)
        body(argument, t, t % workers);
}

static inline void graph_run_execute(graph_run *r, const cg_jit *jit, const cnx_threads *threads) {
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

/* Machine code, alone and on all workers with tasks that come in the wrong order: the same bits. */
static inline void graph_run_compile(graph_run *r, const cg_machine *machine) {
    ir_diag *diag = ir_diag_new();
    cg_jit *jit = cg_jit_compile(r->plan, &(cg_jit_options){.machine = machine}, diag);
    assert_non_null(jit);
    graph_run_execute(r, jit, NULL);
    graph_run_check(r, machine->facts.name);
    void *serial[GRAPH_RUN_IO];
    for (size_t i = r->inputs; i < r->count; i++) {
        int64_t bytes = ir_type_bytes(ir_type_of(r->graph, r->graph->outputs[i - r->inputs].value));
        serial[i] = memcpy(graph_run_block(bytes), r->io[i], (size_t)bytes);
    }
    graph_run_execute(r, jit, &(cnx_threads){graph_run_backwards, NULL, r->plan->workers});
    for (size_t i = r->inputs; i < r->count; i++) {
        ir_type type = ir_type_of(r->graph, r->graph->outputs[i - r->inputs].value);
        assert_memory_equal(r->io[i], serial[i], (size_t)ir_type_bytes(type));
        free(serial[i]);
    }
    cg_jit_free(jit);
    ir_diag_free(diag);
}

#endif
