/* The later stages of a program: plan, machine code, memory, and running it. */
#include "program.h"

#include "progress.h"

#include <stdlib.h>
#include <string.h>

/* --- plan --- */

static int find_machine(cli *c, cli_program *p) {
    const char *name = c->options->cpu ? c->options->cpu : "native";
    if (c->options->target && !c->options->cpu) name = "generic";
    p->target = cg_machine_find(name);
    if (p->target) return CLI_DONE;
    ir_text names = {0};
    for (size_t i = 0; i < cg_machine_count(); i++)
        ir_text_printf(&names, "%s%s", i ? ", " : "", cg_machine_at(i)->facts.name);
    int code = cli_wrong_usage(c, "--cpu is '%s'; expected %s or native", name, names.data);
    ir_text_free(&names);
    return code;
}

static void log_time(cli *c, const char *stage, double seconds) {
    cli_json event = cli_event("stage");
    cli_json_string(&event, "name", stage);
    cli_json_number(&event, "seconds", seconds);
    cli_event_end(c, &event);
    if (c->options->time_passes) fprintf(stderr, "%10.3f ms  %s\n", 1e3 * seconds, stage);
}

/* A .cnxir file may hold what no pass leaves behind. */
static int prepare_graph(cli *c, cli_program *p) {
    ir_graph *ready = pass_prepare(p->graph, c->diag);
    if (!ready) return cli_fail_diag(c);
    ir_graph_free(p->graph);
    p->graph = ready;
    return CLI_DONE;
}

static void find_io(cli *c, cli_program *p) {
    const ir_plan *plan = p->plan;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        ir_buffer_class class = plan->buffers[i].class;
        p->io_count += class == IR_BUFFER_INPUT || class == IR_BUFFER_OUTPUT;
    }
    p->io = ir_arena_alloc(c->arena, (p->io_count + 1) * sizeof *p->io);
    p->io_data = ir_arena_alloc(c->arena, (p->io_count + 1) * sizeof *p->io_data);
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class != IR_BUFFER_INPUT && b->class != IR_BUFFER_OUTPUT) continue;
        IR_ASSERT(b->index >= 0 && (size_t)b->index < p->io_count && !p->io[b->index].name);
        p->io[b->index] =
            (cli_io){.name = b->name, .type = b->type, .output = b->class == IR_BUFFER_OUTPUT};
    }
}

int cli_program_plan(cli *c, cli_program *p) {
    int code = find_machine(c, p);
    if (code == CLI_DONE && p->from_graph) code = prepare_graph(c, p);
    if (code != CLI_DONE) return code;
    p->threads = cli_given(c->options, CLI_OPTION_threads) ? c->options->threads : rt_cores();
    pass_lower_options options = {.machine = &p->target->facts,
                                  .workers = p->threads,
                                  .disabled = p->lower_disabled,
                                  .dump_after = p->lower_dump_after};
    double start = cli_seconds();
    p->plan = pass_lower(p->graph, &options);
    log_time(c, "lower", cli_seconds() - start);
    start = cli_seconds();
    ir_plan_verify(p->plan);
    log_time(c, "verify plan", cli_seconds() - start);
    find_io(c, p);
    return CLI_DONE;
}

/* --- how much memory it takes --- */

int64_t cli_program_bytes(const cli_program *p) {
    const ir_plan *plan = p->plan;
    int64_t sum = plan->state_bytes + plan->workspace_bytes;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class == IR_BUFFER_INPUT || b->class == IR_BUFFER_OUTPUT) sum += b->bytes;
    }
    return sum;
}

int cli_check_memory(cli *c, const char *what, int64_t bytes) {
    int64_t free_bytes = rt_memory_free();
    if (free_bytes <= 0 || bytes <= free_bytes) return CLI_DONE;
    return cli_fail(c, CLI_RUN_FAILED,
                    "%s needs %.1f MB of memory, but %.1f MB are free; try a smaller --batch", what,
                    1e-6 * (double)bytes, 1e-6 * (double)free_bytes);
}

/* --- machine code --- */

int cli_program_compile(cli *c, cli_program *p) {
    const char *what =
        ir_arena_printf(c->arena, "'%s' at batch %lld", p->plan->name, (long long)p->batch);
    if (!cg_machine_runs_here(p->target))
        return cli_fail(c, CLI_USER_ERROR,
                        "this CPU cannot run code for %s; see 'cnxc --version' for what it can",
                        p->target->facts.name);
    int code = cli_check_memory(c, what, cli_program_bytes(p));
    if (code != CLI_DONE) return code;
    cg_jit_options options = {.machine = p->target, .perf_map = c->options->perf_map};
    double start = cli_seconds();
    p->jit = cg_jit_compile(p->plan, &options, c->diag);
    if (!p->jit) return cli_fail_diag(c);
    log_time(c, "compile", cli_seconds() - start);
    p->compile_s = cli_seconds() - p->started;
    return CLI_DONE;
}

/* --- memory --- */

int cli_program_memory(cli *c, cli_program *p) {
    p->state = rt_memory_alloc(p->plan->state_bytes);
    p->workspace = rt_memory_alloc(p->plan->workspace_bytes);
    bool good = p->state && p->workspace;
    for (size_t i = 0; i < p->io_count; i++) {
        p->io_data[i] = p->io[i].data = rt_memory_alloc(ir_type_bytes(p->io[i].type));
        good = good && p->io[i].data;
    }
    if (!good) return cli_fail(c, CLI_RUN_FAILED, "out of memory for '%s'", p->plan->name);
    p->pool = rt_threads(p->threads);
    return CLI_DONE;
}

cli_io *cli_program_io(const cli_program *p, const char *name) {
    for (size_t i = 0; i < p->io_count; i++)
        if (strcmp(p->io[i].name, name) == 0) return &p->io[i];
    return NULL;
}

void cli_program_ask(const cli_io *mask) {
    float *value = mask->data;
    for (int64_t i = 0; i < ir_type_elements(mask->type); i++)
        value[i] = -1;
}

/* --- running --- */

int cli_program_init(cli *c, cli_program *p, const float *weights) {
    int32_t code = cg_jit_init(p->jit, p->state, weights);
    return code == CNX_OK ? CLI_DONE : cli_fail(c, CLI_RUN_FAILED, "init: %s", cg_error(code));
}

int cli_program_step(cli *c, cli_program *p, float lr, uint64_t step, uint64_t seed) {
    cnx_scalars scalars = {.lr = lr, .step = step, .seed = seed};
    cg_run run = {.state = p->state,
                  .workspace = p->workspace,
                  .io = p->io_data,
                  .scalars = &scalars,
                  .threads = &p->pool};
    int32_t code = cg_jit_run(p->jit, &run);
    return code == CNX_OK ? CLI_DONE : cli_fail(c, CLI_RUN_FAILED, "run: %s", cg_error(code));
}

void cli_program_export(const cli_program *p, float *weights) {
    for (size_t i = 0; i < p->plan->weight_count; i++) {
        const ir_weight *w = &p->plan->weights[i];
        const ir_buffer *b = &p->plan->buffers[w->buffer];
        memcpy(weights + w->offset, (const char *)p->state + b->offset,
               (size_t)ir_type_bytes(w->type));
    }
}

void cli_program_free(cli_program *p) {
    for (size_t i = 0; i < p->io_count; i++)
        rt_memory_release(p->io[i].data, ir_type_bytes(p->io[i].type));
    if (p->plan) {
        rt_memory_release(p->state, p->plan->state_bytes);
        rt_memory_release(p->workspace, p->plan->workspace_bytes);
        ir_plan_free(p->plan);
    }
    cg_jit_free(p->jit);
    if (p->graph) ir_graph_free(p->graph);
    if (p->source) ir_graph_free(p->source);
    *p = (cli_program){0};
}
