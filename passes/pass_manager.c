/* The pipeline of graph passes, and what every pass gets for free: the verifier, dumps, times. */
#include "pass.h"

#include <string.h>
#include <time.h>

typedef struct pipeline_step {
    pass_when when;
    const char *pass;
    const char *reason;
} pipeline_step;

/* clang-format off */
static const pipeline_step pipeline[] = {
    {PASS_ASKED, "densify",      "before anything else: all that follows sees a dense graph"},
    {PASS_ALL,   "expand",       "gradients and tiles exist for primitive ops only"},
    {PASS_ALL,   "live_sites",   "before autodiff: the backward pass then works on the same sites"},
    {PASS_ALL,   "fold",         "what is known now need not be differentiated"},
    {PASS_ALL,   "affine",       "scales in weights before autodiff: so are their gradients"},
    {PASS_ALL,   "simplify",     "fewer moves and broadcasts to differentiate"},
    {PASS_ALL,   "fold",         "simplify moved factors together"},
    {PASS_ALL,   "cse",          "a value read twice gets one gradient, not two that are added"},
    {PASS_ALL,   "dce",          "a pass that follows sees only what matters"},
    {PASS_GRADS, "autodiff",     "while the forward nodes still stand one by one"},
    {PASS_TRAIN, "optimizer",    "the update reads gradients before they are rewritten"},
    {PASS_GRADS, "fold",         "the gradient of the loss by itself is a constant"},
    {PASS_GRADS, "simplify",     "gradients of sums are broadcasts, factors sit on large tensors"},
    {PASS_GRADS, "products",     "what broadcasts and factors are left stand before products"},
    {PASS_GRADS, "simplify",     "behind the products they go on to pointwise ops and sums"},
    {PASS_GRADS, "fold",         "simplify moved factors together"},
    {PASS_GRADS, "cse",          "gradient rules recompute what the forward pass has"},
    {PASS_GRADS, "dce",          "gradients of what is no parameter"},
    {PASS_ALL,   "split_reduce", "kernels work sample by sample; after simplify merged sums"},
    {PASS_ALL,   "cse",          "sums within a sample that several sums over the batch share"},
    {PASS_ALL,   "dce",          "lowering makes a kernel of whatever is left"},
    {PASS_ALL,   "precision",    "after gradients are derived in f32, before tiles are chosen"},
};
/* clang-format on */
enum { STEPS = sizeof pipeline / sizeof *pipeline };

static const pass_info table[] = {
#define PASS(name, when, need, doc) {#name, PASS_##when, PASS_##need, doc, pass_##name},
#include "passes.def"
#undef PASS
};
enum { PASSES = sizeof table / sizeof *table };

pass_optimizer_options pass_optimizer_defaults(void) {
    return (pass_optimizer_options){
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01};
}

size_t pass_count(void) {
    return PASSES;
}

const pass_info *pass_get(size_t index) {
    IR_ASSERT(index < PASSES);
    return &table[index];
}

const pass_info *pass_find(const char *name) {
    for (size_t i = 0; i < PASSES; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

static bool runs_in(pass_when when, ir_kind kind, const pass_options *options) {
    switch (when) {
    case PASS_ASKED: return options && options->densify;
    case PASS_ALL: return true;
    case PASS_GRADS: return kind != IR_KIND_INFER;
    case PASS_TRAIN: return kind == IR_KIND_TRAIN;
    }
    IR_BUG("pass_when %d", (int)when);
}

void pass_print_pipeline(ir_kind kind, ir_text *out) {
    for (size_t i = 0; i < STEPS; i++)
        if (runs_in(pipeline[i].when, kind, NULL))
            ir_text_printf(out, "%-13s%s\n", pipeline[i].pass, pipeline[i].reason);
}

/* ---- names the user gave: "cse" or "cse.2" ---- */

typedef struct pass_name {
    const pass_info *pass; /* NULL: there is none */
    int run;               /* 0: not given */
} pass_name;

static pass_name split_name(const char *text) {
    char base[32] = "";
    size_t length = strcspn(text, ".");
    if (length < sizeof base) memcpy(base, text, length);
    pass_name name = {.pass = pass_find(base)};
    if (text[length] != '.') return name;
    const char *digits = text + length + 1;
    for (; *digits >= '0' && *digits <= '9' && name.run < 1000; digits++)
        name.run = name.run * 10 + (*digits - '0');
    if (*digits || name.run == 0) name.pass = NULL;
    return name;
}

static bool unknown(ir_diag *diag, const char *what, const char *name) {
    const char *names[PASSES];
    for (size_t i = 0; i < PASSES; i++)
        names[i] = table[i].name;
    ir_error(diag, (ir_loc){0}, "%s: there is no pass '%s'", what, name);
    const char *near = ir_nearest(name, names, PASSES);
    if (near) ir_hint(diag, "did you mean '%s'?", near);
    return false;
}

const pass_info *pass_find_run(const char *name) {
    return split_name(name).pass;
}

static bool is_disabled(const pass_options *options, const char *pass) {
    const char *const *name = options->disabled;
    for (; name && *name; name++)
        if (strcmp(*name, pass) == 0) return true;
    return false;
}

/* Steps of a pass in the pipeline of a kind, as far as stop_after lets it go. */
static int count_runs(const char *pass, ir_kind kind, const pass_options *options) {
    pass_name stop = {0};
    if (options->stop_after) stop = split_name(options->stop_after);
    int runs = 0, stop_runs = 0;
    for (size_t i = 0; i < STEPS; i++) {
        if (!runs_in(pipeline[i].when, kind, options)) continue;
        runs += strcmp(pipeline[i].pass, pass) == 0;
        if (!stop.pass || strcmp(pipeline[i].pass, stop.pass->name) != 0) continue;
        if (++stop_runs == (stop.run ? stop.run : 1)) break;
    }
    return runs;
}

bool pass_takes_place(const char *text, ir_kind kind, const pass_options *options, ir_text *why) {
    pass_name name = split_name(text);
    IR_ASSERT(name.pass);
    const char *pass = name.pass->name, *stop = options->stop_after;
    int runs = count_runs(pass, kind, options);
    bool disabled = is_disabled(options, pass);
    if (!disabled && runs > 0 && name.run <= runs) return true;
    if (disabled)
        ir_text_printf(why, "pass '%s' is disabled", pass);
    else
        ir_text_printf(why, "pass '%s' runs %d time%s in a program of kind %s%s%s", pass, runs,
                       runs == 1 ? "" : "s", ir_kind_names[kind], stop ? " that stops after " : "",
                       stop ? stop : "");
    return false;
}

static bool check_disabled(const pass_options *options, ir_diag *diag) {
    const char *const *name = options->disabled;
    for (; name && *name; name++) {
        const pass_info *pass = pass_find(*name);
        if (!pass) return unknown(diag, "disabled", *name);
        if (pass->need == PASS_REQUIRED)
            return ir_error(diag, (ir_loc){0}, "disabled: pass '%s' cannot be left out: %s", *name,
                            pass->doc);
    }
    return true;
}

/* The name of a run that takes place. */
static bool check_run(const char *what, const char *text, ir_kind kind, const pass_options *options,
                      ir_diag *diag) {
    if (!pass_find_run(text)) return unknown(diag, what, text);
    ir_text why = {0};
    if (pass_takes_place(text, kind, options, &why)) return true;
    ir_error(diag, (ir_loc){0}, "%s %s: %s", what, text, why.data);
    ir_text_free(&why);
    return false;
}

static bool check_names(const pass_options *options, ir_kind kind, ir_diag *diag) {
    if (!check_disabled(options, diag)) return false;
    pass_options whole = *options;
    whole.stop_after = NULL;
    if (options->stop_after && !check_run("stop after", options->stop_after, kind, &whole, diag))
        return false;
    const char *const *name = options->dump_after;
    for (; name && *name; name++)
        if (strcmp(*name, "all") != 0 && !check_run("dump after", *name, kind, options, diag))
            return false;
    return true;
}

/* ---- running ---- */

typedef struct pass_run_state {
    const pass_options *options;
    ir_diag *diag;
    ir_graph *graph;  /* the latest, owned; NULL before the first pass */
    int runs[PASSES]; /* of each pass so far */
    double total;     /* seconds */
} pass_run_state;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool names_run(const char *text, const char *pass, int run, int otherwise) {
    pass_name name = split_name(text);
    return name.pass && strcmp(name.pass->name, pass) == 0 &&
           run == (name.run ? name.run : otherwise);
}

static bool stops_after(const pass_options *options, const char *pass, int run) {
    return options->stop_after && names_run(options->stop_after, pass, run, 1);
}

static bool dumps_after(const pass_options *options, const char *pass, int run) {
    const char *const *name = options->dump_after;
    for (; name && *name; name++)
        if (strcmp(*name, "all") == 0 || names_run(*name, pass, run, run)) return true;
    return false;
}

static void dump(const pass_run_state *s, const char *pass, int run) {
    const pass_options *o = s->options;
    if (!dumps_after(o, pass, run)) return;
    if (o->dump) {
        o->dump(o->dump_context, pass, run, s->graph);
        return;
    }
    FILE *file = o->dump_file ? o->dump_file : stderr;
    ir_text text = {0};
    ir_graph_print(s->graph, &text);
    fprintf(file, "# after %s.%d\n%s", pass, run, text.data);
    ir_text_free(&text);
}

/* A graph that a pass has broken is a bug of that pass. */
static void verify(const pass_run_state *s, const char *pass, int run) {
#ifndef CNX_DEBUG
    if (s->options->no_verify) return;
#endif
    ir_diag *diag = ir_diag_new();
    if (!ir_verify(s->graph, diag)) {
        ir_diag_print(diag, stderr);
        IR_BUG("the graph is broken after %s.%d", pass, run);
    }
    ir_diag_free(diag);
}

static void report_time(pass_run_state *s, const char *pass, int run, double took, size_t before) {
    FILE *file = s->options->time_file;
    s->total += took;
    if (file)
        fprintf(file, "%10.3f  %7zu  %7zu  %s.%d\n", took * 1e3, before, s->graph->count, pass,
                run);
}

/* One step; false after a user's mistake. */
static bool run_step(pass_run_state *s, const ir_graph *in, const pass_info *pass, int run) {
    const pass_context context = {.options = s->options, .diag = s->diag};
    const ir_graph *before = s->graph ? s->graph : in;
    size_t errors = s->diag->errors, nodes = before->count;
    double start = seconds();
    ir_graph *after = pass->run(before, &context);
    double took = seconds() - start;
    ir_graph_free(s->graph);
    s->graph = after;
    if (!after) {
        if (s->diag->errors == errors) IR_BUG("%s.%d failed without a message", pass->name, run);
        return false;
    }
    verify(s, pass->name, run);
    dump(s, pass->name, run);
    report_time(s, pass->name, run, took, nodes);
    return true;
}

ir_graph *pass_run(const ir_graph *in, const pass_options *options, ir_diag *diag) {
    if (!check_names(options, in->kind, diag) || !ir_verify(in, diag)) return NULL;
    pass_run_state s = {.options = options, .diag = diag};
    if (options->time_file) fprintf(options->time_file, "        ms   before    after  pass\n");
    for (size_t i = 0; i < STEPS; i++) {
        const pass_info *pass = pass_find(pipeline[i].pass);
        if (!runs_in(pipeline[i].when, in->kind, options) || is_disabled(options, pass->name))
            continue;
        int run = ++s.runs[pass - table];
        if (!run_step(&s, in, pass, run)) return NULL;
        if (stops_after(options, pass->name, run)) break;
    }
    if (options->time_file)
        fprintf(options->time_file, "%10.3f  %7zu  %7zu  all passes\n", s.total * 1e3, in->count,
                s.graph->count);
    return s.graph;
}

ir_graph *pass_prepare(const ir_graph *in, ir_diag *diag) {
    const pass_options options = {.optimizer = pass_optimizer_defaults()};
    const pass_context context = {.options = &options, .diag = diag};
    ir_graph *expanded = pass_expand(in, &context);
    ir_graph *ready = pass_precision(expanded, &context);
    ir_graph_free(expanded);
    return ready;
}
