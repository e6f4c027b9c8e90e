/* Merges regions that do not need each other into one that spreads the tasks of all their calls.
 *
 * After the samples have gone through the network, hundreds of small kernels are left: sums of
 * partial gradients, moments, updates. Each alone would cost a barrier that takes longer than its
 * work. A region's level is one more than the highest level of what it must follow: the writers of
 * what it reads, and the readers and writers of what it writes.
 *
 * requires     regions in an order that is right
 * establishes  runs of neighbouring regions with one call each become one region per level
 */
#include "lowering.h"

#include <string.h>

typedef struct levels {
    int32_t *read, *written; /* per buffer: highest level that reads, writes it so far, or -1 */
} levels;

static int32_t larger(int32_t a, int32_t b) {
    return a > b ? a : b;
}

static int32_t level_of(const levels *l, const ir_kernel *kernel, const ir_call *call) {
    int32_t level = 0;
    for (size_t a = 0; a < kernel->param_count; a++) {
        int32_t b = call->arguments[a].buffer;
        level = larger(level, l->written[b] + 1);
        if (kernel->params[a].written) level = larger(level, l->read[b] + 1);
    }
    for (size_t a = 0; a < kernel->param_count; a++) {
        int32_t *now = kernel->params[a].written ? l->written : l->read;
        int32_t b = call->arguments[a].buffer;
        now[b] = larger(now[b], level);
    }
    return level;
}

static void clear(const levels *l, size_t count) {
    memset(l->read, 0xff, (count + 1) * sizeof(int32_t));
    memset(l->written, 0xff, (count + 1) * sizeof(int32_t));
}

/* Regions [first, last) have one call each; appends what they become to `out`. */
static size_t merge_run(low_state *low, const levels *l, size_t first, size_t last, ir_region *out,
                        int32_t *new_index) {
    ir_plan *plan = low->plan;
    clear(l, plan->buffer_count);
    size_t base = (size_t)new_index[first], count = 0;
    for (size_t r = first; r < last; r++) {
        const ir_call *call = &plan->main[r].calls[0];
        const ir_kernel *kernel = &plan->kernels[call->kernel];
        size_t level = (size_t)level_of(l, kernel, call);
        if (level >= count) count = level + 1;
        new_index[r] = (int32_t)(base + level);
        ir_region *to = &out[base + level];
        if (to->call_count == 0) {
            *to = plan->main[r];
            continue;
        }
        if (!to->spread) to->tasks = plan->kernels[to->calls[0].kernel].tasks;
        to->spread = true;
        to->tasks += kernel->tasks;
        *IR_PUSH(plan->arena, to->calls, to->call_count, to->call_capacity) = *call;
    }
    return count;
}

void low_merge_regions(low_state *low, int32_t *unit_region) {
    ir_plan *plan = low->plan;
    levels l = {ir_arena_alloc(low->scratch, (plan->buffer_count + 1) * sizeof(int32_t)),
                ir_arena_alloc(low->scratch, (plan->buffer_count + 1) * sizeof(int32_t))};
    int32_t *new_index = ir_arena_alloc(low->scratch, (plan->main_count + 1) * sizeof(int32_t));
    ir_region *out = ir_arena_alloc(plan->arena, (plan->main_count + 1) * sizeof *out);
    size_t count = 0;
    for (size_t r = 0; r < plan->main_count;) {
        size_t end = r;
        while (end < plan->main_count && plan->main[end].call_count == 1)
            end++;
        new_index[r] = (int32_t)count;
        if (end == r) {
            out[count++] = plan->main[r++];
            continue;
        }
        count += merge_run(low, &l, r, end, out, new_index);
        r = end;
    }
    for (size_t u = 0; u < low->unit_count; u++)
        if (unit_region[u] >= 0) unit_region[u] = new_index[unit_region[u]];
    plan->main = out;
    plan->main_count = count;
}
