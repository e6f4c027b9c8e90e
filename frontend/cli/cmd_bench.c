/* cnxc bench: the same step again and again on random numbers, for at most a few seconds. */
#include "peak.h"
#include "program.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_STEPS = 2000, DEFAULT_BATCH = 16 };
static const double budget = 4; /* seconds of timed steps */

typedef struct bench_result {
    double ms; /* median of a step */
    double images_per_s;
    double gflops; /* two per multiply-accumulate of all kernels */
    double peak;   /* GFLOP/s of the threads together, 0 if unknown */
    int64_t macs;  /* of a step */
    int64_t steps;
    int64_t rss; /* bytes, measured */
} bench_result;

/* Numbers in [-1, 1) that depend on the seed only. */
static float noise(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)(int32_t)(*state >> 32) * 0x1p-31f;
}

static float *random_weights(const ir_plan *plan, uint64_t seed) {
    float *weights = malloc((size_t)plan->weights_elements * sizeof *weights);
    if (!weights) return NULL;
    uint64_t state = seed;
    for (int64_t i = 0; i < plan->weights_elements; i++)
        weights[i] = 0.03f * noise(&state);
    return weights;
}

/* A mask that is no random one: every row keeps its first tiles. */
static void keep_first(const cli_io *io, ir_mask mask) {
    for (int64_t i = 0; i < ir_type_elements(io->type); i++)
        ((float *)io->data)[i] = i % mask.tiles < mask.kept ? 0 : 1;
}

static void random_inputs(const cli_program *p, uint64_t seed) {
    uint64_t state = seed + 1;
    int64_t classes = ir_plan_classes(p->plan);
    for (size_t i = 0; i < p->io_count; i++) {
        const cli_io *io = &p->io[i];
        if (io->output) continue;
        int64_t count = ir_type_elements(io->type);
        ir_mask mask = ir_plan_mask(p->plan, io->name);
        if (mask.drawn) cli_program_ask(io);
        if (mask.tiles && !mask.drawn) keep_first(io, mask);
        if (mask.tiles) continue;
        for (int64_t k = 0; k < count; k++) {
            if (io->type.dtype == IR_F32)
                ((float *)io->data)[k] = noise(&state);
            else if (io->type.dtype == IR_I64)
                ((int64_t *)io->data)[k] = classes > 0 ? k % classes : 0;
        }
    }
}

static int64_t macs_of(const ir_plan *plan) {
    int64_t sum = 0;
    for (size_t r = 0; r < plan->main_count; r++)
        for (size_t i = 0; i < plan->main[r].call_count; i++)
            sum += plan->kernels[plan->main[r].calls[i].kernel].macs;
    return sum;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(cli *c, cli_program *p, bench_result *r) {
    double *times = malloc(MOST_STEPS * sizeof *times);
    if (!times) return cli_fail(c, CLI_RUN_FAILED, "out of memory");
    uint64_t seed = c->options->seed;
    int code = cli_program_step(c, p, 1e-4f, 1, seed); /* first touch of all memory */
    double spent = 0, last = 0;
    while (code == CLI_DONE && r->steps < MOST_STEPS && (r->steps == 0 || spent + last < budget)) {
        double start = cli_seconds();
        code = cli_program_step(c, p, 1e-4f, (uint64_t)r->steps + 2, seed);
        last = cli_seconds() - start;
        spent += last;
        times[r->steps++] = last;
    }
    if (code == CLI_DONE) {
        qsort(times, (size_t)r->steps, sizeof *times, by_value);
        double median = times[r->steps / 2];
        r->ms = 1e3 * median;
        r->images_per_s = (double)p->batch / median;
        r->macs = macs_of(p->plan);
        r->gflops = 2e-9 * (double)r->macs / median;
        r->peak = cli_fma_peak() * (double)p->threads;
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        r->rss = (int64_t)usage.ru_maxrss * 1024;
    }
    free(times);
    return code;
}

static void print_json(const cli_program *p, const bench_result *r, ir_text *out) {
    cli_json j = {0};
    cli_json_begin(&j, NULL, '{');
    cli_json_string(&j, "model", p->plan->name);
    cli_json_string(&j, "kind", ir_kind_names[p->plan->kind]);
    cli_json_number(&j, "images_per_s", r->images_per_s);
    cli_json_number(&j, "ms", r->ms);
    cli_json_number(&j, "gflops", r->gflops);
    cli_json_number(&j, "peak_gflops", r->peak > 0 ? r->peak : NAN);
    cli_json_number(&j, "share_of_peak", r->peak > 0 ? r->gflops / r->peak : NAN);
    cli_json_number(&j, "compile_s", p->compile_s);
    cli_json_whole(&j, "peak_bytes", p->plan->workspace_bytes);
    cli_json_whole(&j, "state_bytes", p->plan->state_bytes);
    cli_json_whole(&j, "rss_bytes", r->rss);
    cli_json_whole(&j, "macs", r->macs);
    cli_json_whole(&j, "batch", p->batch);
    cli_json_whole(&j, "steps", r->steps);
    cli_json_whole(&j, "threads", p->threads);
    cli_json_string(&j, "dtype", "f32");
    cli_json_string(&j, "cpu", p->target->facts.name);
    cli_json_end(&j);
    ir_text_printf(out, "%s\n", j.text.data);
    ir_text_free(&j.text);
}

static void print_words(const cli_program *p, const bench_result *r, ir_text *out) {
    ir_text_printf(out, "%s, %s, batch %lld, %lld thread%s, f32, %s\n", p->plan->name,
                   p->plan->kind == IR_KIND_INFER ? "inference" : "training step",
                   (long long)p->batch, (long long)p->threads, p->threads == 1 ? "" : "s",
                   p->target->facts.name);
    ir_text_printf(out, "  %.1f images/s, %.3f ms a step (median of %lld)\n", r->images_per_s,
                   r->ms, (long long)r->steps);
    ir_text_printf(out, "  %.1f GFLOP/s", r->gflops);
    if (r->peak > 0)
        ir_text_printf(out, ", %.0f %% of the %.0f that the FMA units give",
                       100 * r->gflops / r->peak, r->peak);
    ir_text_printf(out, "\n  compiled in %.2f s\n", p->compile_s);
    ir_text_printf(out, "  memory: step %.1f MB, state %.1f MB, process %.1f MB\n",
                   1e-6 * (double)p->plan->workspace_bytes, 1e-6 * (double)p->plan->state_bytes,
                   1e-6 * (double)r->rss);
}

static int bench(cli *c, cli_program *p) {
    float *weights = random_weights(p->plan, c->options->seed);
    if (!weights) return cli_fail(c, CLI_RUN_FAILED, "out of memory for the weights");
    int code = cli_program_init(c, p, weights);
    free(weights);
    if (code != CLI_DONE) return code;
    random_inputs(p, c->options->seed);
    bench_result r = {0};
    code = measure(c, p, &r);
    if (code != CLI_DONE) return code;
    ir_text out = {0};
    if (c->options->json)
        print_json(p, &r, &out);
    else
        print_words(p, &r, &out);
    code = cli_write_text(c, NULL, &out);
    ir_text_free(&out);
    return code;
}

int cli_bench(cli *c) {
    cli_program p = {0};
    cli_want want = {.kind = c->options->train ? IR_KIND_TRAIN : IR_KIND_INFER,
                     .batch = DEFAULT_BATCH,
                     .random = c->options->train};
    int code = cli_program_graph(c, &want, &p);
    if (code == CLI_DONE) code = cli_program_plan(c, &p);
    if (code == CLI_DONE) code = cli_program_compile(c, &p);
    if (code == CLI_DONE) code = cli_program_memory(c, &p);
    if (code == CLI_DONE) code = bench(c, &p);
    cli_program_free(&p);
    return code;
}
