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
    const char *const *dump_after; /* fusion rules or "all": clusters to stderr; NULL-terminated */
} pass_lower_options;

/* The optional passes of lowering, in order; for --no-pass and --dump-after. */
typedef struct pass_lower_info {
    const char *name;
    bool fuses; /* a fusion rule, after which there are clusters to dump */
    const char *doc;
} pass_lower_info;
size_t pass_lower_count(void);
const pass_lower_info *pass_lower_get(size_t index);
const pass_lower_info *pass_lower_find(const char *name); /* NULL if there is none */

/* The graph holds primitive and source ops only and is verified. Never fails: a graph the verifier
 * accepts can be lowered; anything else is a compiler bug. */
ir_plan *pass_lower(const ir_graph *graph, const pass_lower_options *options);

#endif
