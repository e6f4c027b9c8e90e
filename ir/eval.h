/* Reference evaluator: runs a graph with plain loops in float64. The measure of everything else.
 *
 * Tensors are given and returned as doubles in row-major order (integers are exact up to 2^53).
 */
#ifndef IR_EVAL_H
#define IR_EVAL_H

#include "graph.h"

typedef struct ir_eval_scalars {
    double lr;     /* learning rate of this step */
    uint64_t step; /* from 1 */
    uint64_t seed; /* key of the random streams */
} ir_eval_scalars;

typedef struct ir_eval_result {
    double **value; /* per node: the tensor, or NULL if it was not needed */
    size_t count;   /* nodes */
} ir_eval_result;

/* `sources[id]` is the tensor of source node id (input, param, state); others are ignored.
 * Evaluates what outputs and updates need. Free with ir_eval_free. */
ir_eval_result *ir_eval_graph(const ir_graph *graph, const double *const *sources,
                              const ir_eval_scalars *scalars);
void ir_eval_free(ir_eval_result *result);

/* Philox4x32-10 (Salmon et al., SC 2011): out = random words of (key, counter). The mapping from
 * (seed, step, stream, sample, index) is documented in runtime/rt_random.h and repeated here:
 * key = (seed lo, seed hi), counter = (index, sample, stream, step), each its low 32 bits. */
void ir_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

#endif
