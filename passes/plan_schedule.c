/* Orders units into regions.
 *
 * requires     units in an order in which every unit follows those it reads
 * establishes  plan->kernels (equal ones once), plan->init and plan->main; units that work sample
 * by sample run depth-first in common regions, buffers used in one such region only are private to
 * the worker
 *
 * The prologue (packing and whatever depends on parameters alone) runs once in init for inference
 * and at the start of every step for training; updates of parameters and state come last, in the
 * order of update_order.c.
 */
#include "lowering.h"

#include <string.h>

typedef struct schedule {
    low_state *low;
    int32_t *writer;      /* per buffer: the unit that writes it, or -1 */
    int32_t *unit_region; /* per unit: its main region, or -1 */
    int32_t open;         /* region units are being added to, or -1 */
} schedule;

static int32_t kernel_index(low_state *low, const ir_kernel *kernel) {
    ir_plan *plan = low->plan;
    for (size_t i = 0; i < plan->kernel_count; i++)
        if (plan->kernels[i].hash == kernel->hash && ir_kernel_equal(&plan->kernels[i], kernel))
            return (int32_t)i;
    ir_kernel *k = IR_PUSH(plan->arena, plan->kernels, plan->kernel_count, plan->kernel_capacity);
    *k = *kernel;
    k->name = ir_arena_printf(plan->arena, "%s_%zu", kernel->name, plan->kernel_count - 1);
    return (int32_t)plan->kernel_count - 1;
}

static void add_call(low_state *low, ir_region *region, const low_unit *unit) {
    ir_arena *arena = low->plan->arena;
    ir_call *call = IR_PUSH(arena, region->calls, region->call_count, region->call_capacity);
    call->kernel = kernel_index(low, &unit->kernel);
    call->arguments = ir_arena_alloc(arena, (unit->argument_count + 1) * sizeof *call->arguments);
    for (size_t i = 0; i < unit->argument_count; i++)
        call->arguments[i] = (ir_argument){unit->arguments[i].buffer, unit->arguments[i].offset};
}

/* First and last region of every buffer. */
static void find_lives(ir_plan *plan) {
    for (size_t r = 0; r < plan->main_count; r++)
        for (size_t c = 0; c < plan->main[r].call_count; c++) {
            const ir_call *call = &plan->main[r].calls[c];
            for (size_t i = 0; i < plan->kernels[call->kernel].param_count; i++) {
                ir_buffer *b = &plan->buffers[call->arguments[i].buffer];
                if (b->first < 0) b->first = (int32_t)r;
                b->last = (int32_t)r;
            }
        }
}

static void place(schedule *s, low_unit *unit, bool init, bool join) {
    low_state *low = s->low;
    ir_plan *plan = low->plan;
    unit->done = true;
    if (init) {
        ir_region *r = IR_PUSH(plan->arena, plan->init, plan->init_count, plan->init_capacity);
        r->tasks = unit->kernel.tasks;
        add_call(low, r, unit);
        return;
    }
    if (!join || s->open < 0) {
        ir_region *r = IR_PUSH(plan->arena, plan->main, plan->main_count, plan->main_capacity);
        r->tasks = join ? low->batch : unit->kernel.tasks;
        s->open = join ? (int32_t)plan->main_count - 1 : -1;
    }
    int32_t region = (int32_t)plan->main_count - 1;
    s->unit_region[unit - low->units] = region;
    add_call(low, &plan->main[region], unit);
}

static bool ready(const schedule *s, const low_unit *unit) {
    for (size_t i = 0; i < unit->argument_count; i++) {
        int32_t w = s->writer[unit->arguments[i].buffer];
        if (unit->arguments[i].written || w < 0) continue;
        if (&s->low->units[w] != unit && !s->low->units[w].done) return false;
    }
    return true;
}

/* What the open region computed may be read by the slice of the same sample only. */
static bool can_join(const schedule *s, const low_unit *unit) {
    if (!unit->sample_local) return false;
    if (s->open < 0) return true;
    for (size_t i = 0; i < unit->argument_count; i++) {
        int32_t w = s->writer[unit->arguments[i].buffer];
        if (w < 0 || unit->arguments[i].written || s->unit_region[w] != s->open) continue;
        if (!unit->arguments[i].sliced) return false;
    }
    return true;
}

static low_unit *next_unit(const schedule *s, bool local, size_t *first) {
    low_state *low = s->low;
    while (*first < low->unit_count &&
           (low->units[*first].done || low->units[*first].section != LOW_MAIN))
        (*first)++;
    for (size_t i = *first; i < low->unit_count; i++) {
        low_unit *unit = &low->units[i];
        if (unit->done || unit->section != LOW_MAIN || !ready(s, unit)) continue;
        if (!local || can_join(s, unit)) return unit;
    }
    return NULL;
}

static void run_prologue(schedule *s, bool init) {
    for (size_t i = 0; i < s->low->unit_count; i++)
        if (s->low->units[i].section == LOW_PROLOGUE) place(s, &s->low->units[i], init, false);
}

/* A buffer is private when one region makes and reads it, slice by slice. */
static void find_private(schedule *s) {
    low_state *low = s->low;
    ir_plan *plan = low->plan;
    uint8_t *shared = ir_arena_alloc(low->scratch, plan->buffer_count + 1);
    for (size_t u = 0; u < low->unit_count; u++) {
        const low_unit *unit = &low->units[u];
        int32_t region = s->unit_region[u];
        for (size_t i = 0; i < unit->argument_count; i++) {
            const low_argument *a = &unit->arguments[i];
            bool whole = region >= 0 && !plan->main[region].spread &&
                         plan->main[region].tasks == low->batch && unit->sample_local;
            if (!a->sliced || !whole) shared[a->buffer] = 1;
        }
    }
    for (size_t i = 0; i < plan->buffer_count; i++) {
        ir_buffer *b = &plan->buffers[i];
        if (b->class != IR_BUFFER_ARENA || shared[i] || b->first < 0 || b->first != b->last)
            continue;
        if (b->bytes % low->batch || s->writer[i] < 0) continue;
        b->class = IR_BUFFER_PRIVATE;
        b->bytes /= low->batch;
    }
}

void low_schedule(low_state *low) {
    low_update_order updates = low_order_updates(low);
    schedule s = {.low = low, .open = -1};
    s.writer = ir_arena_alloc(low->scratch, (low->plan->buffer_count + 1) * sizeof(int32_t));
    s.unit_region = ir_arena_alloc(low->scratch, (low->unit_count + 1) * sizeof(int32_t));
    memset(s.writer, 0xff, (low->plan->buffer_count + 1) * sizeof(int32_t));
    memset(s.unit_region, 0xff, (low->unit_count + 1) * sizeof(int32_t));
    for (size_t u = 0; u < low->unit_count; u++) {
        if (low->units[u].section == LOW_UPDATE) continue;
        for (size_t i = 0; i < low->units[u].argument_count; i++)
            if (low->units[u].arguments[i].written)
                s.writer[low->units[u].arguments[i].buffer] = (int32_t)u;
    }
    run_prologue(&s, low->graph->kind == IR_KIND_INFER);
    bool depth_first = low_by_sample(low);
    size_t first = 0;
    for (;;) {
        low_unit *unit = depth_first ? next_unit(&s, true, &first) : NULL;
        bool join = unit != NULL;
        if (!unit) {
            s.open = -1;
            unit = depth_first ? next_unit(&s, true, &first) : NULL;
            join = unit != NULL;
        }
        if (!unit) unit = next_unit(&s, false, &first);
        if (!unit) break;
        place(&s, unit, false, join);
    }
    s.open = -1;
    for (size_t i = 0; i < updates.count; i++)
        place(&s, &low->units[updates.unit[i]], false, false);
    for (size_t u = 0; u < low->unit_count; u++)
        if (!low->units[u].done)
            IR_BUG("unit %zu (%s) was never ready", u, low->units[u].kernel.name);
    if (low_enabled(low, "merge_regions")) low_merge_regions(low, s.unit_region);
    find_lives(low->plan);
    find_private(&s);
}
