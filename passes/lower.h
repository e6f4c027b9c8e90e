/* Lowering: a verified graph of primitive ops becomes a plan of tile kernels.
 *
 *     graph -> clusters (fusion, each rule a pass of its own) -> kernels (tile_*.c) -> regions
 *           (plan_schedule.c) -> offsets (plan_memory.c)
 *
 * A cluster is the set of graph nodes that one kernel computes: at most one anchor (a product, a
 * window, a row op, a move) with pointwise nodes and column sums around it. Rules ask for traits of
 * ops.def, never for an op by name.
 *
 *     pass_lower_options options = {.machine = machine, .workers = 2};
 *     ir_plan *plan = pass_lower(graph, &options);
 */
#ifndef PASS_LOWER_H
#define PASS_LOWER_H

#include "plan.h"

typedef struct pass_lower_options {
    const ir_machine *machine; /* tile sizes and blocking follow from it */
    int64_t workers;           /* most threads the workspace has room for; at least 1 */
    const char *const
        *disabled; /* names of rows in lower_passes.def to leave out; NULL-terminated */
    FILE *dump;    /* clusters after each fusion rule, or NULL */
} pass_lower_options;

/* Names of the optional lowering passes, in order; for --no-pass and --help. */
size_t pass_lower_pass_count(void);
const char *pass_lower_pass_name(size_t index);
const char *pass_lower_pass_doc(size_t index);

/* The graph holds primitive and source ops only and is verified. Never fails: a graph the verifier
 * accepts can be lowered; anything else is a compiler bug. */
ir_plan *pass_lower(const ir_graph *graph, const pass_lower_options *options);

#endif
