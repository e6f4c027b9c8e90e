/* Graph passes and their manager: from what the frontend elaborates to what lowering takes.
 *
 * A pass reads a graph and returns a new one with an arena of its own; the manager frees the old
 * one, verifies, dumps and times. Which passes run follows from the kind of the graph:
 *
 *     pass_options options = {.optimizer = pass_optimizer_defaults()};
 *     ir_graph *ready = pass_run(graph, &options, diag);            NULL after an error
 *
 * The result holds primitive and source ops only. Inputs, parameters and states are never removed
 * or reordered, so the interface of a program does not depend on how well it was optimized. In grad
 * programs each parameter has an output grad.<parameter>; train programs have updates instead.
 * A user's mistake (no output `loss`, an unknown pass name) goes to diag; a pass that breaks an
 * invariant is a compiler bug and aborts.
 */
#ifndef PASS_H
#define PASS_H

#include "graph.h"

typedef struct pass_optimizer_options {
    double beta1;        /* decay of the first moment */
    double beta2;        /* decay of the second moment */
    double eps;          /* added to the root of the second moment */
    double weight_decay; /* of parameters with decay = -1 */
    double clip_norm;    /* largest norm of all gradients together; 0: no clipping */
} pass_optimizer_options;
/* PyTorch's defaults of AdamW: 0.9 0.999 1e-8 0.01, no clipping. */
pass_optimizer_options pass_optimizer_defaults(void);

/* Receives the graph after a pass; `run` counts the runs of this pass from 1. */
typedef void pass_dump(void *context, const char *pass, int run, const ir_graph *graph);

typedef struct pass_options {
    pass_optimizer_options optimizer; /* used by train graphs */
    const char *const *disabled;      /* NULL-terminated names of optional passes; NULL: none */
    const char *const *dump_after; /* NULL-terminated: "cse" each run, "cse.2" the second, "all" */
    const char *stop_after;        /* "cse" the first run, "cse.2" the second; NULL: to the end */
    pass_dump *dump;               /* NULL: text to dump_file */
    void *dump_context;            /* first argument of dump */
    FILE *dump_file;               /* where dumps go without a callback; NULL: stderr */
    FILE *time_file;               /* table of times; NULL: none */
    bool densify;                  /* compile tile-sparse graphs in their masked-dense form */
    bool no_verify;                /* no verifier between passes; a Debug build verifies anyway */
} pass_options;

/* What a pass may know besides its graph. */
typedef struct pass_context {
    const pass_options *options;
    ir_diag *diag; /* users' mistakes; a pass that reports one returns NULL */
} pass_context;

/* Runs the pipeline of in->kind. `in` stays the caller's. NULL after an error. */
ir_graph *pass_run(const ir_graph *in, const pass_options *options, ir_diag *diag);
/* What lowering needs of a graph that went through no pipeline, such as one read from a .cnxir
 * file: composite ops are expanded, element types checked. `in` stays the caller's. NULL after an
 * error. */
ir_graph *pass_prepare(const ir_graph *in, ir_diag *diag);

typedef enum pass_when { PASS_ASKED, PASS_ALL, PASS_GRADS, PASS_TRAIN } pass_when;
typedef enum pass_need { PASS_REQUIRED, PASS_OPTIONAL } pass_need;

typedef struct pass_info {
    const char *name; /* "cse" */
    pass_when when;
    pass_need need;
    const char *doc;
    ir_graph *(*run)(const ir_graph *in, const pass_context *context);
} pass_info;

/* The table, in the order of passes.def. */
size_t pass_count(void);
const pass_info *pass_get(size_t index);
const pass_info *pass_find(const char *name); /* NULL if there is none */
/* The pass of a name such as "cse" or "cse.2", the second run of cse; NULL if there is none. */
const pass_info *pass_find_run(const char *name);
/* Whether this run of an existing pass takes place in a program of the kind; else *why gets the
 * reason: it is disabled, stands behind stop_after, or is of no use to the kind. */
bool pass_takes_place(const char *name, ir_kind kind, const pass_options *options, ir_text *why);
/* The pipeline of a kind as text, one line per step: name and reason. */
void pass_print_pipeline(ir_kind kind, ir_text *out);

#define PASS(name, when, need, doc)                                                                \
    ir_graph *pass_##name(const ir_graph *in, const pass_context *context);
#include "passes.def"
#undef PASS

#endif
