/* Code generation on a whole small network: every --cpu path this machine can run, forward and with
 * all gradients, against the reference evaluator; 1 and 2 threads bitwise equal. cnx-test: codegen
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "cg_jit.h"
#include "sample_net.h"

/* A parallel-for on plain threads: tasks are dealt out in turn. */
typedef struct share {
    cnx_task body;
    void *argument;
    int64_t first, step, tasks;
} share;

static void *work(void *data) {
    share *s = data;
    for (int64_t t = s->first; t < s->tasks; t += s->step)
        s->body(s->argument, t, s->first);
    return NULL;
}

static void parallel_for(void *context, int64_t tasks, int64_t workers, cnx_task body,
                         void *argument) {
    pthread_t thread[8];
    share shares[8];
    (void)context;
    assert_true(workers <= 8);
    for (int64_t w = 0; w < workers; w++) {
        shares[w] = (share){body, argument, w, workers, tasks};
        assert_int_equal(pthread_create(&thread[w], NULL, work, &shares[w]), 0);
    }
    for (int64_t w = 0; w < workers; w++)
        pthread_join(thread[w], NULL);
}

static void run_once(sample_net *net, const ir_plan *plan, const cg_jit *jit, int64_t threads) {
    cnx_scalars scalars = {.lr = 1e-3f, .step = 3, .seed = 7};
    cnx_threads many = {parallel_for, NULL, threads};
    cg_run run = {.state = sample_block_of(plan->state_bytes),
                  .workspace = sample_block_of(plan->workspace_bytes),
                  .io = net->io,
                  .scalars = &scalars,
                  .threads = threads > 1 ? &many : NULL};
    assert_int_equal(cg_jit_init(jit, run.state, net->weights), CNX_OK);
    assert_int_equal(cg_jit_run(jit, &run), CNX_OK);
    free(run.state);
    free(run.workspace);
}

static void check(const cg_machine *machine, sample_options o) {
    sample_net net = sample_net_new(o);
    pass_lower_options options = {.machine = &machine->facts, .workers = 3};
    ir_plan *plan = pass_lower(net.graph, &options);
    ir_diag *diag = ir_diag_new();
    cg_jit *jit = cg_jit_compile(plan, &(cg_jit_options){.machine = machine}, diag);
    assert_non_null(jit);
    run_once(&net, plan, jit, 1);
    double error = sample_error(&net);
    if (!(error < 1e-5))
        print_error("%s batch %d size %d channels %d: error %g\n", machine->facts.name,
                    (int)o.batch, (int)o.size, (int)o.channels, error);
    assert_true(error < 1e-5);
    size_t count = net.graph->output_count;
    void *serial[SAMPLE_MAX_IO];
    for (size_t i = 0; i < count; i++) {
        serial[i] = net.io[net.inputs + i];
        ir_type type = ir_type_of(net.graph, net.graph->outputs[i].value);
        net.io[net.inputs + i] = calloc((size_t)ir_type_elements(type), sizeof(float));
    }
    for (int64_t threads = 2; threads <= 3; threads++) {
        run_once(&net, plan, jit, threads);
        for (size_t i = 0; i < count; i++) {
            ir_type type = ir_type_of(net.graph, net.graph->outputs[i].value);
            assert_memory_equal(serial[i], net.io[net.inputs + i], (size_t)ir_type_bytes(type));
        }
    }
    for (size_t i = 0; i < count; i++)
        free(serial[i]);
    cg_jit_free(jit);
    ir_diag_free(diag);
    ir_plan_free(plan);
    sample_net_free(&net);
}

/* However many workers a plan has room for, it gives the same bits. */
static void any_number_of_workers(void **unused) {
    (void)unused;
    const cg_machine *machine = cg_machine_find("native");
    sample_net net =
        sample_net_new((sample_options){.batch = 4, .size = 26, .channels = 12, .gradients = true});
    void *first[SAMPLE_MAX_IO] = {0};
    static const int64_t workers[] = {1, 2, 3, 8};
    for (int w = 0; w < 4; w++) {
        pass_lower_options options = {.machine = &machine->facts, .workers = workers[w]};
        ir_plan *plan = pass_lower(net.graph, &options);
        ir_diag *diag = ir_diag_new();
        cg_jit *jit = cg_jit_compile(plan, &(cg_jit_options){.machine = machine}, diag);
        assert_non_null(jit);
        run_once(&net, plan, jit, workers[w]);
        for (size_t i = 0; i < net.graph->output_count; i++) {
            ir_type type = ir_type_of(net.graph, net.graph->outputs[i].value);
            size_t bytes = (size_t)ir_type_bytes(type);
            if (w == 0)
                first[i] = memcpy(malloc(bytes), net.io[net.inputs + i], bytes);
            else
                assert_memory_equal(first[i], net.io[net.inputs + i], bytes);
            if (w == 3) free(first[i]);
        }
        cg_jit_free(jit);
        ir_diag_free(diag);
        ir_plan_free(plan);
    }
    sample_net_free(&net);
}

static void on_every_path(sample_options o) {
    int paths = 0;
    for (size_t i = 0; i < cg_machine_count(); i++) {
        if (!cg_machine_runs_here(cg_machine_at(i))) continue;
        check(cg_machine_at(i), o);
        paths++;
    }
    assert_true(paths > 0);
}

static void infers(void **unused) {
    (void)unused;
    on_every_path((sample_options){.batch = 1, .size = 10, .channels = 3});
    on_every_path((sample_options){.batch = 4, .size = 30, .channels = 20});
    on_every_path((sample_options){.batch = 3, .size = 16, .channels = 40});
}

static void differentiates(void **unused) {
    (void)unused;
    on_every_path((sample_options){.batch = 3, .size = 12, .channels = 5, .gradients = true});
    on_every_path((sample_options){.batch = 6, .size = 26, .channels = 24, .gradients = true});
    on_every_path((sample_options){.batch = 1, .size = 34, .channels = 8, .gradients = true});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(infers), cmocka_unit_test(differentiates),
                                       cmocka_unit_test(any_number_of_workers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
