/* Weights of a program: from a file, from the rules of initialisation, into a file.
 *
 * In memory they are one block of f32 in the order of plan->weights, as every compiled program
 * takes them. Loading is strict: a missing, an extra and a misshapen tensor are errors that name
 * it;
 * --partial lists them and goes on, and what is missing starts as in training. A weight (O,I) may
 * be stored (O,I,1,1) and the other way round.
 *
 *     cli_weights w;
 *     int code = cli_weights_load(c, &program, "net.safetensors", &w);
 *     if (code == CLI_DONE) code = cli_program_init(c, &program, w.values);
 *     cli_weights_free(&w);
 */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "program.h"
#include "rt_safetensors.h"

typedef struct cli_weights {
    float *values;    /* plan->weights_elements */
    rt_tensors *file; /* where they come from, with its metadata; NULL if from no file */
} cli_weights;

/* Both return an exit code; free the weights in any case. */
int cli_weights_load(cli *c, const cli_program *p, const char *path, cli_weights *weights);
/* First values by the rules in the graph, which depend on the seed alone. */
int cli_weights_start(cli *c, const cli_program *p, uint64_t seed, cli_weights *weights);
void cli_weights_free(cli_weights *weights);

/* Parameter i of `values` as a tensor of a file, with its name and shape. */
rt_tensor cli_weight_tensor(const ir_plan *plan, size_t i, const float *values);
/* The shape, type and data of an input, output or parameter as a tensor of a file. */
rt_tensor cli_tensor(const char *name, ir_type type, const void *data);

#endif
