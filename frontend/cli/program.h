/* A model on its way from text to something that runs, one stage after the other:
 *
 *     cli_program p = {0};
 *     cli_want want = {.kind = IR_KIND_INFER, .batch = 16};
 *     code = cli_program_graph(c, &want, &p);       text, elaboration, graph passes
 *     code = cli_program_plan(c, &p);               lowering; inputs and outputs are known
 *     code = cli_program_compile(c, &p);            machine code in this process
 *     code = cli_program_memory(c, &p);             that of state, workspace, inputs and outputs
 *     cli_program_init(&p, weights);
 *     cli_program_step(&p, lr, step, seed);         once per step, on p.io
 *     cli_program_free(&p);
 *
 * Every stage prints what went wrong and returns an exit code. Input may be .cnx or .cnxir; a
 * .cnxir went through the graph passes already and through none here.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "cg_jit.h"
#include "cli.h"
#include "fe_compile.h"
#include "lower.h"
#include "pass.h"
#include "rt_memory.h"
#include "rt_parallel.h"

typedef struct cli_want {
    ir_kind kind;     /* of the program */
    bool any_kind;    /* a .cnxir decides its kind itself */
    int64_t batch;    /* of the program unless --batch or a .cnxir says otherwise */
    bool fixed_batch; /* `batch` must hold: --batch and a .cnxir may only agree */
    bool random;      /* drop path and other randomness are on */
    bool plain_loss;  /* mean loss without smoothing, unless --recipe is given */
    bool loss_only;   /* of a training step only the loss is an output, as in an object file */
    bool source_only; /* stop before the graph passes */
    bool keep_source; /* keep what was elaborated, too */
    bool graph_only;  /* no plan follows */
    bool second;      /* beside a program of another kind: options name passes of either */
    bool reference;   /* leave out every optional pass */
} cli_want;

/* A tensor of the program's interface: an input or an output. */
typedef struct cli_io {
    const char *name;
    ir_type type;
    void *data; /* ir_type_bytes, 64-byte aligned; NULL before cli_program_memory */
    bool output;
} cli_io;

typedef struct cli_program {
    ir_graph *graph;
    ir_graph *source;            /* as elaborated, if wanted: forward, with composite ops */
    uint64_t source_hash;        /* of what was elaborated, as text */
    fe_recipe recipe;            /* of a .cnx; unset for a .cnxir */
    bool from_graph;             /* the input is a .cnxir */
    const char **disabled;       /* --no-pass, NULL-terminated: graph passes */
    const char **lower_disabled; /* and passes of lowering */
    const char **dump_after;     /* --dump-after likewise */
    const char **lower_dump_after;
    ir_plan *plan;
    cg_jit *jit;
    const cg_machine *target;
    int64_t batch;
    int64_t threads;
    cnx_threads pool; /* that many */
    double compile_s; /* text to callable */
    double started;   /* when cli_program_graph began */
    void *state, *workspace;
    cli_io *io; /* inputs, then outputs, as the plan numbers them */
    size_t io_count;
    void **io_data; /* the same pointers, as the program takes them */
} cli_program;

bool cli_is_graph_file(const char *path); /* .cnxir */
/* The parsed file of the model argument, or NULL with diagnostics. */
fe_model *cli_load_model(cli *c);
/* What the options say about elaboration. */
fe_options cli_fe_options(cli *c, const cli_want *want);

int cli_program_graph(cli *c, const cli_want *want, cli_program *p);
/* program_passes.c, the part of cli_program_graph that is about passes. Reads --no-pass,
 * --dump-after and the like; one that names what does not run is wrong usage. */
int cli_check_passes(cli *c, const cli_want *want, cli_program *p);
int cli_run_passes(cli *c, const cli_want *want, cli_program *p);
int cli_program_plan(cli *c, cli_program *p);
int cli_program_compile(cli *c, cli_program *p);
int cli_program_memory(cli *c, cli_program *p);
/* Bytes of state, workspace, inputs and outputs; after cli_program_plan. */
int64_t cli_program_bytes(const cli_program *p);
/* Compares what is needed for `what` with what is free; returns an exit code. */
int cli_check_memory(cli *c, const char *what, int64_t bytes);
/* Init regions, on weights in the order of plan->weights. Returns an exit code. */
int cli_program_init(cli *c, cli_program *p, const float *weights);
/* One run of the main regions on p->io. */
int cli_program_step(cli *c, cli_program *p, float lr, uint64_t step, uint64_t seed);
void cli_program_free(cli_program *p);

/* The tensor of this name among inputs or outputs, or NULL. */
cli_io *cli_program_io(const cli_program *p, const char *name);
/* Fills a mask so that the program draws it (ir_mask). */
void cli_program_ask(const cli_io *mask);
/* Parameters of a training program, copied out of its state into the order of plan->weights. */
void cli_program_export(const cli_program *p, float *weights);

#endif
