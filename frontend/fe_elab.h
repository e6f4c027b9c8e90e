/* Elaboration: running a model's text with all values known, building the graph on the way.
 *
 * Everything is bounded: steps (one per expression and statement, and per element of a list), depth
 * of calls and expressions, nodes of the graph. An error gives a poison value and a message, once
 * per place, and elaboration goes on.
 */
#ifndef FE_ELAB_H
#define FE_ELAB_H

#include "fe_model.h"
#include "fe_value.h"

enum {
    FE_MAX_STEPS = 500000,
    FE_MAX_CALLS = 48,  /* blocks within blocks */
    FE_MAX_STACK = 600, /* expressions and statements within each other */
    FE_MAX_NODES = 20000,
    FE_MAX_LIST = 65536,
    FE_MAX_LIST_DEPTH = 8,
    FE_MAX_LABEL = 200,
    FE_MAX_RESULTS = 64 /* inputs, outputs and metas, of each */
};

/* A `param` of the file. */
typedef struct fe_global {
    const fe_item *item;     /* its declaration; NULL: the item of this number is no param */
    const fe_item *set;      /* the last `set` of it, or NULL */
    const fe_define *define; /* -D, or NULL */
    const double *recipe;    /* the recipe's value (drop_path), or NULL */
    enum { FE_UNKNOWN, FE_BUSY, FE_READY } state;
    fe_value value;
} fe_global;

typedef struct fe_local {
    const char *name;
    fe_value value;
} fe_local;

/* The names of one call of a block or model. */
typedef struct fe_frame {
    const char *prefix;  /* "stages.0.blocks.1." or "" */
    const fe_expr *call; /* of a block; NULL: a model, or the file */
    fe_local *locals;
    size_t count, capacity;
    bool returned;
    fe_value result;
} fe_frame;

typedef struct fe_elab {
    const fe_model *model;
    const fe_options *options;
    ir_arena *arena; /* values; lives as long as the elaboration */
    ir_diag *diag;
    ir_graph *graph;    /* NULL: only values are computed */
    fe_global *globals; /* one per item of the model */
    fe_frame *frame;    /* NULL: outside of any body */
    bool builtins;      /* batch, training, label_smoothing have values here */
    int64_t batch;
    double label_smoothing;
    bool smooths;    /* the model asked for label_smoothing */
    int64_t streams; /* random streams given out */
    int64_t steps;
    int calls, stack;
    bool stopped;                   /* a limit was reached: nothing more happens */
    ir_loc reported[IR_DIAG_LIMIT]; /* places that had their message */
    size_t reported_count;
    const char **names; /* hash table of parameter names */
    size_t name_count, name_capacity;
} fe_elab;

/* fe_params.c: globals with -D applied. False if a -D is wrong. */
fe_elab *fe_elab_new(const fe_model *model, const fe_options *options, ir_diag *diag);
void fe_elab_free(fe_elab *e);
fe_global *fe_find_global(fe_elab *e, const char *name);
/* Whether the model or its file has a parameter of this name. */
bool fe_is_parameter(fe_elab *e, const char *name);
fe_value fe_global_value(fe_elab *e, fe_global *global);
/* The value of -D for something whose default is `like` (POISON: anything). */
fe_value fe_define_value(fe_elab *e, const fe_define *define, fe_value like);
/* The place of its value, for messages. */
ir_loc fe_define_loc(fe_elab *e, const fe_define *define);
/* The last -D of this name, or NULL. */
const fe_define *fe_find_define(const fe_options *options, const char *name);
/* `value` as the kind of `like`: whole numbers become numbers. Reports what does not fit. */
fe_value fe_conform(fe_elab *e, ir_loc loc, const char *name, fe_value value, fe_value like);

/* Records an error, once per place; returns poison. */
fe_value fe_fail(fe_elab *e, ir_loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds to the message just recorded from where the block that it speaks of is called. */
void fe_hint_caller(fe_elab *e);
/* Counts work; false (after a message) when a limit is reached. */
bool fe_spend(fe_elab *e, ir_loc loc, int64_t steps);
/* Adds "did you mean" to the message just recorded, out of the names that have values here. */
void fe_suggest_value(fe_elab *e, const char *wrong);
/* A list with room for `count` elements; NULL after an error. Fill it, then fe_close_list. */
fe_list *fe_new_list(fe_elab *e, ir_loc loc, size_t count);
fe_value fe_close_list(fe_elab *e, ir_loc loc, fe_list *list);

/* fe_eval.c */
fe_value fe_eval(fe_elab *e, const fe_expr *expr);
fe_value fe_get_local(const fe_frame *frame, const char *name, bool *found);
void fe_set_local(fe_elab *e, const char *name, fe_value value);
/* fe_arith.c: operators on values and tensors. */
fe_value fe_binary(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a, fe_value b);
fe_value fe_unary(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a);

/* fe_call.c: a call with its label, whole (prefix included), or NULL. */
fe_value fe_call(fe_elab *e, const fe_expr *expr, const char *label);
/* Puts arguments into the slots of a specification "channels kernel stride=1"; *slot of an argument
 * that is not given and has no default is POISON with given[i] false. Returns false after an error.
 */
enum { FE_MAX_SLOTS = 12 };
typedef struct fe_slots {
    int count;
    const char *name[FE_MAX_SLOTS];
    fe_value value[FE_MAX_SLOTS];
    ir_loc loc[FE_MAX_SLOTS];
    bool given[FE_MAX_SLOTS];
} fe_slots;
bool fe_fill_slots(fe_elab *e, const fe_expr *call, const fe_value *values, size_t from,
                   const char *specification, fe_slots *slots);
/* fe_functions.c */
bool fe_find_function(const char *name, int *index);
fe_value fe_call_function(fe_elab *e, const fe_expr *call, int index, const fe_value *values,
                          const char *label);
/* fe_layers.c */
bool fe_find_layer(const char *name, int *index);
fe_value fe_call_layer(fe_elab *e, const fe_expr *call, int index, const fe_value *values,
                       const char *label);
/* A trained tensor; a name that stands twice is an error. */
fe_value fe_parameter(fe_elab *e, ir_loc loc, const char *name, ir_ints shape, const char *init,
                      double std);
/* fe_ops.c: any op of ir/ops.def, tensors first, then attributes by name or in the table's order.
 */
fe_value fe_call_op(fe_elab *e, const fe_expr *call, ir_op op, const fe_value *values,
                    const char *label);
/* Appends a node, or reports why not. */
fe_value fe_node(fe_elab *e, ir_loc loc, ir_op op, const ir_value *operands, int count,
                 const ir_attrs *attrs, const char *label);
/* `value` as one or `count` whole numbers; a single number stands for all of them. */
bool fe_to_ints(fe_elab *e, ir_loc loc, const char *what, fe_value value, int count, ir_ints *out);

/* fe_elab.c */
void fe_run_body(fe_elab *e, const fe_body *body);

#endif
