/* Weights of a program: from a file, from the rules of initialisation, into a file.
 *
 * A file is safetensors or a checkpoint of PyTorch, its tensors named as the model's parameters or
 * in any of the maps that come with cnxc (models/NAME.map): the one that knows most of them is
 * taken. Loading is strict: a missing, an extra and a misshapen tensor are errors that name it;
 * --partial lists them and goes on, and what is missing starts as in training. Dimensions of 1 may
 * be more or fewer: a weight (O,I) may be stored (O,I,1,1) and the other way round.
 *
 * Loading checks everything and reads no data. They are read tensor by tensor as a program takes
 * them, so that weights of gigabytes are never in memory twice.
 *
 *     cli_weights w;
 *     int code = cli_weights_load(c, &program, "net.safetensors", &w);
 *     if (code == CLI_DONE) code = cli_weights_init(c, &program, &w);
 *     cli_weights_free(&w);
 */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "program.h"
#include "rt_naming.h"

typedef struct cli_weights {
    float *values;    /* plan->weights_elements, after cli_weights_gather */
    rt_tensors *file; /* where they come from, with its metadata; NULL if from no file */
    rt_namings *maps; /* if one of them was needed */
    rt_named *named;  /* the file's tensors by cnx's names */
    size_t named_count;
    const rt_tensor **from; /* per weight; NULL: it starts by its rule */
    const ir_node **params; /* per weight */
    uint64_t seed;          /* of first values */
} cli_weights;

/* Both return an exit code; free the weights in any case. */
int cli_weights_load(cli *c, const cli_program *p, const char *path, cli_weights *weights);
/* The same for fine-tuning, from a pre-training run. Strict about the encoder. Tensors of the
 * decoder (proj, mask_token, decoder, pred) are passed over; head.fc starts by its rule whatever
 * the file holds, head.norm if it holds none. `meta finetune_grn` of the model may say `leave_out`
 * (GRN of the file is passed over) or `fresh` (GRN of the model starts by its rule). */
int cli_weights_load_encoder(cli *c, const cli_program *p, const char *path, cli_weights *weights);
/* First values by the rules in the graph, which depend on the seed alone. */
int cli_weights_start(cli *c, const cli_program *p, uint64_t seed, cli_weights *weights);
void cli_weights_free(cli_weights *weights);

/* Reads all into weights->values, one block in the order of plan->weights. */
int cli_weights_gather(cli *c, const cli_program *p, cli_weights *weights);
/* Runs init on a state that is fresh from cli_program_memory, in place of cli_program_init: a
 * weight is read before the first region that needs it and forgotten after the last one. */
int cli_weights_init(cli *c, cli_program *p, const cli_weights *weights);

/* Parameter i of `values` as a tensor of a file, with its name and shape. */
rt_tensor cli_weight_tensor(const ir_plan *plan, size_t i, const float *values);
/* The shape, type and data of an input, output or parameter as a tensor of a file. */
rt_tensor cli_tensor(const char *name, ir_type type, const void *data);

/* weights_names.c */
/* A file of tensors in any format that is known. */
rt_tensors *cli_open_tensors(const char *path, rt_error *error);
/* The directory of the maps that come with cnxc, or NULL. */
const char *cli_find_namings(cli *c);
/* These maps; NULL with an error. */
rt_namings *cli_open_namings(cli *c, rt_error *error);
/* The name of a rule that is most like a name: in cnx, or in the map itself. NULL if none is. */
const char *cli_nearest_rule(cli *c, const rt_naming *naming, const char *name, bool in_cnx);

#endif
