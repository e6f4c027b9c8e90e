/* Single kernels of a model's shapes, each checked against the reference evaluator, then timed
 * beside the peak of this core measured in the same run.
 *
 *     build/tests/bench_kernels [--cpu NAME] [--batch N] [--plan] [PATTERN]
 *
 * One thread. `share` is the part of the FMA peak (of vectors as wide as the path uses); products
 * should stand at 0.8 or more. Not a test: timings decide nothing.
 */
#include "cg_jit.h"
#include "eval.h"
#include "lower.h"
#include "worst.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench_case {
    const char *name;
    ir_op op;
    int64_t size, channels, other; /* sites along a side; columns of x (and dy for windows); of y */
} bench_case;

/* Atto at 224: fc1, fc2 and their gradients of all four stages, windows, downsampling. */
static const bench_case cases[] = {
    {"fc1.0", IR_OP_matmul_nt, 56, 40, 160},    {"fc1.1", IR_OP_matmul_nt, 28, 80, 320},
    {"fc1.2", IR_OP_matmul_nt, 14, 160, 640},   {"fc1.3", IR_OP_matmul_nt, 7, 320, 1280},
    {"fc2.0", IR_OP_matmul_nt, 56, 160, 40},    {"fc2.1", IR_OP_matmul_nt, 28, 320, 80},
    {"fc2.2", IR_OP_matmul_nt, 14, 640, 160},   {"fc2.3", IR_OP_matmul_nt, 7, 1280, 320},
    {"fc1dx.0", IR_OP_matmul_nn, 56, 40, 160},  {"fc1dx.1", IR_OP_matmul_nn, 28, 80, 320},
    {"fc1dx.2", IR_OP_matmul_nn, 14, 160, 640}, {"fc1dx.3", IR_OP_matmul_nn, 7, 320, 1280},
    {"fc2dx.0", IR_OP_matmul_nn, 56, 160, 40},  {"fc2dx.1", IR_OP_matmul_nn, 28, 320, 80},
    {"fc2dx.2", IR_OP_matmul_nn, 14, 640, 160}, {"fc2dx.3", IR_OP_matmul_nn, 7, 1280, 320},
    {"fc1dw.0", IR_OP_matmul_tn, 56, 40, 160},  {"fc1dw.1", IR_OP_matmul_tn, 28, 80, 320},
    {"fc1dw.2", IR_OP_matmul_tn, 14, 160, 640}, {"fc1dw.3", IR_OP_matmul_tn, 7, 320, 1280},
    {"fc2dw.0", IR_OP_matmul_tn, 56, 160, 40},  {"fc2dw.1", IR_OP_matmul_tn, 28, 320, 80},
    {"fc2dw.2", IR_OP_matmul_tn, 14, 640, 160}, {"fc2dw.3", IR_OP_matmul_tn, 7, 1280, 320},
    {"stem", IR_OP_matmul_nt, 56, 48, 40},      {"down.1", IR_OP_matmul_nt, 28, 160, 80},
    {"down.2", IR_OP_matmul_nt, 14, 320, 160},  {"down.3", IR_OP_matmul_nt, 7, 640, 320},
    {"dw.0", IR_OP_window, 56, 40, 0},          {"dw.1", IR_OP_window, 28, 80, 0},
    {"dw.2", IR_OP_window, 14, 160, 0},         {"dw.3", IR_OP_window, 7, 320, 0},
    {"dwdx.0", IR_OP_window_dx, 56, 40, 0},     {"dwdx.1", IR_OP_window_dx, 28, 80, 0},
    {"dwdx.2", IR_OP_window_dx, 14, 160, 0},    {"dwdx.3", IR_OP_window_dx, 7, 320, 0},
    {"dwdw.0", IR_OP_window_dw, 56, 40, 0},     {"dwdw.1", IR_OP_window_dw, 28, 80, 0},
    {"dwdw.2", IR_OP_window_dw, 14, 160, 0},    {"dwdw.3", IR_OP_window_dw, 7, 320, 0},
};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_window(ir_op op) {
    return op == IR_OP_window || op == IR_OP_window_dx || op == IR_OP_window_dw;
}

/* The op with inputs x and, as the op needs it, a parameter w or an input dy. */
static ir_graph *graph_of(const bench_case *c, int64_t batch) {
    ir_graph *g = ir_graph_new("kernel", IR_KIND_INFER);
    bool window = is_window(c->op);
    bool back = c->op == IR_OP_matmul_nn;
    int64_t s = c->size, k = c->channels, o = window ? k : c->other;
    ir_type x = ir_type_make(IR_F32, 4, (int64_t[]){batch, s, s, back ? o : k});
    ir_type y = ir_type_make(IR_F32, 4, (int64_t[]){batch, s, s, o});
    ir_type w = window ? ir_type_make(IR_F32, 4, (int64_t[]){k, 1, 7, 7})
                       : ir_type_make(IR_F32, 2, (int64_t[]){o, k});
    bool weight_grad = c->op == IR_OP_matmul_tn || c->op == IR_OP_window_dw;
    ir_value in[2] = {ir_input(g, "a", weight_grad ? y : x)};
    in[1] = weight_grad ? ir_input(g, "b", x) : ir_source_node(g, IR_OP_param, "w", w, NULL);
    ir_attrs attrs = {0};
    if (c->op == IR_OP_window_dw) attrs.kernel = IR_INTS(7, 7);
    ir_add_output(g, "y", ir_build(g, c->op, in, 2, &attrs, NULL));
    return g;
}

typedef struct bench_memory {
    float *tensor[3]; /* two sources and the result */
    const double *source[3];
    void *io[3], *state, *workspace;
} bench_memory;

static void *block(int64_t bytes) {
    void *memory = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64 + 64);
    if (!memory) abort();
    memset(memory, 0, (size_t)bytes);
    return memory;
}

static bench_memory memory_of(const ir_graph *g, const ir_plan *plan) {
    bench_memory m = {.state = block(plan->state_bytes), .workspace = block(plan->workspace_bytes)};
    uint64_t random = 1;
    int io = 0;
    for (int i = 0; i < 3; i++) {
        int64_t n = ir_type_elements(g->nodes[i].type);
        m.tensor[i] = block(n * 4);
        double *exact = malloc((size_t)n * sizeof *exact);
        for (int64_t e = 0; i < 2 && e < n; e++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            exact[e] = m.tensor[i][e] = (float)(int32_t)(random >> 32) * 0x1p-31f;
        }
        m.source[i] = exact;
        if (g->nodes[i].op != IR_OP_param) m.io[io++] = m.tensor[i];
    }
    return m;
}

static double error_of(const ir_graph *g, const bench_memory *m) {
    ir_eval_result *r = ir_eval_graph(g, m->source, &(ir_eval_scalars){0});
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < ir_type_elements(g->nodes[2].type); i++) {
        double want = r->value[2][i];
        worst = worst_of(worst, fabs(want - m->tensor[2][i]));
        if (fabs(want) > largest) largest = fabs(want);
    }
    ir_eval_free(r);
    return worst / largest;
}

/* Shortest of many runs. */
static double time_of(const cg_jit *jit, const cg_run *run) {
    double best = 1e9, end = seconds() + 0.25;
    while (seconds() < end) {
        double start = seconds();
        if (cg_jit_run(jit, run)) abort();
        double time = seconds() - start;
        if (time < best) best = time;
    }
    return best;
}

/* The peak: a product small enough to stay in L1 with the widest tile that fits the registers. */
static double peak_of(void) {
    typedef float wide __attribute__((vector_size(64)));
    double best = 0;
    for (int t = 0; t < 40; t++) {
        volatile float seed = 1e-9f;
        wide a[12], x = {0}, y = {0};
        for (int i = 0; i < 16; i++)
            x[i] = seed, y[i] = 1.0f - seed;
        for (int i = 0; i < 12; i++)
            a[i] = x * (float)(i + seed);
        double start = seconds();
        for (int r = 0; r < 200000; r++)
            for (int i = 0; i < 12; i++)
                a[i] = a[i] * y + x;
        double rate = 200000.0 * 12 * 32 / (seconds() - start) * 1e-9;
        for (int i = 1; i < 12; i++)
            a[0] += a[i];
        volatile float keep = a[0][0];
        (void)keep;
        if (rate > best) best = rate;
    }
    return best;
}

typedef struct bench_options {
    const cg_machine *machine;
    int64_t batch;
    double peak;
    bool plan; /* print it */
} bench_options;

/* Adds up what a step of the whole network spends in each kind of kernel. */
typedef struct bench_sum {
    double flop, time;
} bench_sum;

static int blocks_of(const bench_case *c) {
    static const int blocks[] = {2, 2, 6, 2};
    const char *stage = strchr(c->name, '.');
    bool once = strncmp(c->name, "down", 4) == 0 || !stage;
    return once ? 1 : blocks[stage[1] - '0'];
}

static bench_sum run_case(const bench_case *c, const bench_options *o) {
    const cg_machine *machine = o->machine;
    ir_graph *g = graph_of(c, o->batch);
    ir_plan *plan = pass_lower(g, &(pass_lower_options){.machine = &machine->facts, .workers = 1});
    ir_text text = {0};
    if (o->plan) ir_plan_print(plan, &text), puts(text.data);
    ir_text_free(&text);
    ir_diag *diag = ir_diag_new();
    cg_jit *jit = cg_jit_compile(plan, &(cg_jit_options){.machine = machine}, diag);
    if (!jit) ir_diag_print(diag, stderr), abort();
    bench_memory m = memory_of(g, plan);
    if (cg_jit_init(jit, m.state, m.tensor[1])) abort();
    cnx_scalars scalars = {.step = 1};
    cg_run run = {.state = m.state, .workspace = m.workspace, .io = m.io, .scalars = &scalars};
    double time = time_of(jit, &run), error = error_of(g, &m);
    double flop = 2.0 * (double)ir_node_cost(g, (ir_value){2}).macs;
    printf("%-9s %-11s %8.1f us %7.1f GFLOP/s  share %.2f%s\n", c->name, ir_op_get(c->op)->name,
           1e6 * time, 1e-9 * flop / time, 1e-9 * flop / time / o->peak,
           error < 1e-5 ? "" : "   WRONG RESULT");
    for (int i = 0; i < 3; i++)
        free(m.tensor[i]), free((void *)m.source[i]);
    free(m.state);
    free(m.workspace);
    cg_jit_free(jit);
    ir_diag_free(diag);
    ir_plan_free(plan);
    ir_graph_free(g);
    return (bench_sum){flop * blocks_of(c), time * blocks_of(c)};
}

int main(int argc, char **argv) {
    const char *cpu = "native", *pattern = "";
    bench_options o = {.batch = 8};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cpu") == 0 && i + 1 < argc)
            cpu = argv[++i];
        else if (strcmp(argv[i], "--batch") == 0 && i + 1 < argc)
            o.batch = atoi(argv[++i]);
        else if (strcmp(argv[i], "--plan") == 0)
            o.plan = true;
        else
            pattern = argv[i];
    }
    o.machine = cg_machine_find(cpu);
    if (!o.machine || !cg_machine_runs_here(o.machine) || o.batch < 1) {
        fprintf(stderr,
                "bench_kernels [--cpu NAME] [--batch N] [--plan] [PATTERN]: "
                "cannot run '%s'\n",
                cpu);
        return 2;
    }
    o.peak = peak_of();
    printf("%s, one thread, batch %d, peak %.0f GFLOP/s\n", o.machine->facts.name, (int)o.batch,
           o.peak);
    bench_sum sum[2] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!strstr(cases[i].name, pattern)) continue;
        bench_sum one = run_case(&cases[i], &o), *all = &sum[is_window(cases[i].op)];
        all->flop += one.flop;
        all->time += one.time;
    }
    for (int w = 0; w < 2; w++)
        if (sum[w].time > 0)
            printf("all %s, as often as Atto has them: %.1f GFLOP/s, share %.2f\n",
                   w ? "windows" : "products", 1e-9 * sum[w].flop / sum[w].time,
                   1e-9 * sum[w].flop / sum[w].time / o.peak);
    return 0;
}
