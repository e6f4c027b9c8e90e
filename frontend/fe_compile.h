/* The frontend: text of the language (docs/language.md) to a graph of the forward program.
 *
 * Loading reads a file and all files it uses, parses them and checks names. Elaboration runs one
 * model with everything decided: the kind of program, the batch, the values set by -D. Its result
 * holds composite ops and no gradients; autodiff and the optimizer are passes.
 *
 *     fe_model *model = fe_load("net.cnx", directories, diag);      NULL after an error
 *     fe_options options = {.kind = IR_KIND_TRAIN, .random = true};
 *     fe_recipe recipe;
 *     if (model) graph = fe_elaborate(model, &options, &recipe, diag);    NULL after an error
 *     ir_graph_free(graph);
 *     fe_model_free(model);
 *     ir_diag_free(diag);
 *
 * Source texts live in the arena of `diag`, since messages and nodes point into them: free it last.
 * A model is not changed by elaboration and may be elaborated any number of times.
 *
 * Infer: input image; output logits. Grad and train: inputs image and label; outputs logits and
 * loss. (What a model of another kind has stands in its file.) A parameter that is not decayed has
 * decay = 0, any other decay = -1, "as the recipe says".
 */
#ifndef FE_COMPILE_H
#define FE_COMPILE_H

#include "fe_recipe.h"
#include "graph.h"

typedef struct fe_define {
    const char *name;  /* "image_size" */
    const char *value; /* "160": as given on the command line */
} fe_define;

typedef struct fe_options {
    ir_kind kind;       /* infer: no loss and no label; grad and train: both */
    int64_t batch;      /* 0: infer 1, otherwise the recipe's */
    bool random;        /* drop path is on (grad and train only) */
    bool plain_loss;    /* the recipe does not shape the graph: no smoothing, no drop path of its */
    bool no_run;        /* no training run comes: -D of what only such a run uses is an error */
    const char *recipe; /* NULL: `usual`, `default`, or the last one in the file, or all defaults */
    /* Taken before `default` if the file has it, or NULL: `usual_SIZE` of a model called .._SIZE,
     * or else `usual`. */
    const char *usual;
    const uint64_t *seed; /* NULL: the recipe's */
    const fe_define *defines;
    size_t define_count;
} fe_options;

typedef struct fe_model fe_model;

/* Reads a file and what it uses. A used file is looked for beside the file that uses it, then in
 * `directories` (NULL-terminated, may be NULL). */
fe_model *fe_load(const char *path, const char *const *directories, ir_diag *diag);
/* The same for a text at hand; `name` stands for its path. */
fe_model *fe_load_text(const char *name, const char *text, const char *const *directories,
                       ir_diag *diag);
void fe_model_free(fe_model *model);

/* Name of the model that elaboration builds: the last one of the file; NULL if there is none. */
const char *fe_model_name(const fe_model *model);
/* The forward program, verified, and the recipe that shaped it (may be NULL: not wanted). */
ir_graph *fe_elaborate(const fe_model *model, const fe_options *options, fe_recipe *recipe,
                       ir_diag *diag);
/* The recipe alone: all numbers of a training run. The texts in `recipe` live as long as `diag`. */
bool fe_resolve_recipe(const fe_model *model, const fe_options *options, fe_recipe *recipe,
                       ir_diag *diag);

/* What a recipe changes in the parameters of a graph of kind train, by their names: learning rates
 * by layer (stem.*, stages.S.downsample.*, stages.S.blocks.B.*, and the rest, which
 * is the last layer), the spread of head.fc.weight's first values, and whether GRN is decayed.
 * False with a message if the names do not tell the layers. */
bool fe_fine_tune(ir_graph *graph, const fe_recipe *recipe, ir_diag *diag);

/* The parsed files as one canonical text without comments and `use`: it parses to the same print.
 */
void fe_print_ast(const fe_model *model, ir_text *out);
/* A recipe as the language writes it, every field stated, with its origin as a comment. */
void fe_print_recipe(const fe_recipe *recipe, ir_text *out);

#endif
