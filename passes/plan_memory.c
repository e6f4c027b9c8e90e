/* Gives every buffer its offset.
 *
 * requires     regions and the classes of buffers
 * establishes  offsets in state, arena and private parts; buffers whose lives do not meet share
 *              memory; a result takes over an operand that dies with it where both are read and
 *              written element by element; plan->*_bytes
 */
#include "lowering.h"

#include <stdlib.h>

typedef struct life {
    int32_t buffer;
    int64_t first, last; /* regions (arena) or calls of one region (private), inclusive */
    int32_t region;      /* private: which region */
    int64_t bytes, offset;
} life;

typedef struct memory {
    low_state *low;
    int32_t *into;           /* per buffer: buffer whose memory it takes over, or itself */
    int64_t *first, *last;   /* per buffer: positions of first and last call in main */
    int32_t *last_region_of; /* per buffer: region of the last call */
} memory;

static int64_t align64(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static bool in_workspace(const ir_buffer *b) {
    return b->class == IR_BUFFER_ARENA || b->class == IR_BUFFER_PRIVATE;
}

static void find_positions(memory *m) {
    const ir_plan *plan = m->low->plan;
    int64_t position = 0;
    for (size_t r = 0; r < plan->main_count; r++)
        for (size_t c = 0; c < plan->main[r].call_count; c++, position++) {
            const ir_call *call = &plan->main[r].calls[c];
            const ir_kernel *kernel = &plan->kernels[call->kernel];
            for (size_t a = 0; a < kernel->param_count; a++) {
                int32_t b = call->arguments[a].buffer;
                if (m->first[b] < 0) m->first[b] = position;
                m->last[b] = position;
                m->last_region_of[b] = (int32_t)r;
            }
        }
}

static int32_t home(const memory *m, int32_t buffer) {
    while (m->into[buffer] != buffer)
        buffer = m->into[buffer];
    return buffer;
}

static size_t calls_with(const ir_plan *plan, const ir_region *region, int32_t buffer) {
    size_t count = 0;
    for (size_t c = 0; c < region->call_count; c++)
        for (size_t a = 0; a < plan->kernels[region->calls[c].kernel].param_count; a++)
            if (region->calls[c].arguments[a].buffer == buffer) {
                count++;
                break;
            }
    return count;
}

/* Whether every reader of `in` inside the unit's region works on its own slice. */
static bool slices_only(const memory *m, int32_t in, int32_t region) {
    const low_state *low = m->low;
    const ir_region *r = &low->plan->main[region];
    if (r->call_count == 1) return true;
    if (r->spread) return calls_with(low->plan, r, in) == 1;
    for (size_t u = 0; u < low->unit_count; u++)
        for (size_t a = 0; a < low->units[u].argument_count; a++)
            if (low->units[u].arguments[a].buffer == in &&
                (!low->units[u].sample_local || !low->units[u].arguments[a].sliced))
                return false;
    return true;
}

static bool may_take_over(const memory *m, const low_unit *unit, const low_argument *out,
                          const low_argument *in) {
    const ir_plan *plan = m->low->plan;
    const ir_buffer *o = &plan->buffers[out->buffer], *i = &plan->buffers[in->buffer];
    if (in->written || !in->elementwise || !out->elementwise || in->offset || out->offset)
        return false;
    if (!in_workspace(o) || o->class != i->class || o->bytes != i->bytes || o->dtype != i->dtype)
        return false;
    if (unit->section != LOW_MAIN || m->into[out->buffer] != out->buffer) return false;
    if (m->last[in->buffer] != m->first[out->buffer] || m->first[in->buffer] < 0) return false;
    return slices_only(m, in->buffer, m->last_region_of[in->buffer]);
}

static void take_over(memory *m) {
    low_state *low = m->low;
    uint8_t *given = ir_arena_alloc(low->scratch, low->plan->buffer_count + 1);
    for (size_t u = 0; u < low->unit_count; u++) {
        low_unit *unit = &low->units[u];
        for (size_t o = 0; o < unit->argument_count; o++) {
            if (!unit->arguments[o].written) continue;
            for (size_t i = 0; i < unit->argument_count; i++) {
                const low_argument *in = &unit->arguments[i];
                if (given[in->buffer] || !may_take_over(m, unit, &unit->arguments[o], in)) continue;
                m->into[unit->arguments[o].buffer] = in->buffer;
                given[in->buffer] = 1;
                break;
            }
        }
    }
}

static int larger_first(const void *a, const void *b) {
    const life *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x->buffer > y->buffer) - (x->buffer < y->buffer);
}

static int lower_first(const void *a, const void *b) {
    const life *x = *(const life *const *)a, *y = *(const life *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* First fit in order of size; returns the end of the highest buffer. */
static int64_t assign(ir_arena *scratch, life *lives, size_t count) {
    qsort(lives, count, sizeof *lives, larger_first);
    const life **near = ir_arena_alloc(scratch, (count + 1) * sizeof *near);
    int64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = 0;
        for (size_t k = 0; k < i; k++)
            if (lives[k].region == lives[i].region && lives[k].first <= lives[i].last &&
                lives[i].first <= lives[k].last)
                near[n++] = &lives[k];
        qsort(near, n, sizeof *near, lower_first);
        int64_t at = 0;
        for (size_t k = 0; k < n; k++) {
            if (at + lives[i].bytes <= near[k]->offset) break;
            int64_t after = align64(near[k]->offset + near[k]->bytes);
            if (after > at) at = after;
        }
        lives[i].offset = at;
        if (at + lives[i].bytes > end) end = at + lives[i].bytes;
    }
    return align64(end);
}

/* Lifetimes of one class of buffers, each with those that took it over. */
static size_t collect(const memory *m, ir_buffer_class class, life *lives) {
    const ir_plan *plan = m->low->plan;
    size_t count = 0;
    int32_t *slot = ir_arena_alloc(m->low->scratch, (plan->buffer_count + 1) * sizeof(int32_t));
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class != class || b->first < 0 || m->into[i] != (int32_t)i) continue;
        bool private = class == IR_BUFFER_PRIVATE;
        lives[count] = (life){.buffer = (int32_t)i,
                              .bytes = b->bytes,
                              .region = private ? b->first : 0,
                              .first = private ? m->first[i] : b->first,
                              .last = private ? m->last[i] : b->last};
        slot[i] = (int32_t)count++;
    }
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class != class || b->first < 0 || m->into[i] == (int32_t)i) continue;
        life *l = &lives[slot[home(m, (int32_t)i)]];
        int64_t last = class == IR_BUFFER_PRIVATE ? m->last[i] : b->last;
        if (last > l->last) l->last = last;
    }
    return count;
}

static int64_t place_class(memory *m, ir_buffer_class class) {
    ir_plan *plan = m->low->plan;
    life *lives = ir_arena_alloc(m->low->scratch, (plan->buffer_count + 1) * sizeof *lives);
    size_t count = collect(m, class, lives);
    int64_t end = assign(m->low->scratch, lives, count);
    for (size_t i = 0; i < count; i++)
        plan->buffers[lives[i].buffer].offset = lives[i].offset;
    for (size_t i = 0; i < plan->buffer_count; i++)
        if (plan->buffers[i].class == class && m->into[i] != (int32_t)i)
            plan->buffers[i].offset = plan->buffers[home(m, (int32_t)i)].offset;
    return end;
}

/* Lives of the state of an inference plan, in regions of init: what only init reads lends its
 * memory to what comes later. The rest keeps its own, which is zero where nothing is written. */
static size_t collect_state(const memory *m, life *lives) {
    const ir_plan *plan = m->low->plan;
    int32_t *slot = ir_arena_alloc(m->low->scratch, (plan->buffer_count + 1) * sizeof *slot);
    size_t count = 0;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        if (plan->buffers[i].class != IR_BUFFER_STATE) continue;
        slot[i] = (int32_t)count;
        lives[count++] = (life){.buffer = (int32_t)i,
                                .bytes = plan->buffers[i].bytes,
                                .first = m->first[i] < 0 ? -1 : 0,
                                .last = INT64_MAX};
    }
    for (size_t r = 0; r < plan->init_count; r++)
        for (size_t c = 0; c < plan->init[r].call_count; c++) {
            const ir_call *call = &plan->init[r].calls[c];
            for (size_t a = 0; a < plan->kernels[call->kernel].param_count; a++) {
                int32_t b = call->arguments[a].buffer;
                if (plan->buffers[b].class != IR_BUFFER_STATE || m->first[b] >= 0) continue;
                life *l = &lives[slot[b]];
                if (l->first < 0) l->first = (int64_t)r;
                l->last = (int64_t)r;
            }
        }
    return count;
}

static void place_inference_state(const memory *m) {
    ir_plan *plan = m->low->plan; /* m->first: in main */
    life *lives = ir_arena_alloc(m->low->scratch, (plan->buffer_count + 1) * sizeof *lives);
    size_t count = collect_state(m, lives);
    int64_t end = assign(m->low->scratch, lives, count);
    for (size_t i = 0; i < count; i++)
        plan->buffers[lives[i].buffer].offset = lives[i].offset;
    plan->state_bytes = end ? end : 64;
}

/* Parameters of a training plan lie at their offsets in the weights, at the start of the state. */
static void place_state(low_state *low) {
    ir_plan *plan = low->plan;
    int64_t at = align64(plan->weights_elements * 4);
    for (size_t i = 0; i < plan->buffer_count; i++) {
        ir_buffer *b = &plan->buffers[i];
        if (b->class != IR_BUFFER_STATE) continue;
        bool parameter = false;
        for (size_t w = 0; w < plan->weight_count && !parameter; w++)
            parameter = plan->weights[w].buffer == (int32_t)i;
        if (parameter) continue;
        b->offset = at;
        at = align64(at + b->bytes);
    }
    plan->state_bytes = at ? at : 64;
}

void low_plan_memory(low_state *low) {
    ir_plan *plan = low->plan;
    memory m = {.low = low};
    size_t n = plan->buffer_count + 1;
    m.into = ir_arena_alloc(low->scratch, n * sizeof *m.into);
    m.first = ir_arena_alloc(low->scratch, n * sizeof *m.first);
    m.last = ir_arena_alloc(low->scratch, n * sizeof *m.last);
    m.last_region_of = ir_arena_alloc(low->scratch, n * sizeof *m.last_region_of);
    for (size_t i = 0; i < plan->buffer_count; i++) {
        ir_buffer *b = &plan->buffers[i];
        m.into[i] = (int32_t)i;
        m.first[i] = m.last[i] = -1;
        if (in_workspace(b) && b->first >= 0)
            plan->naive_bytes +=
                align64(b->bytes * (b->class == IR_BUFFER_PRIVATE ? low->batch : 1));
    }
    find_positions(&m);
    if (low_enabled(low, "in_place")) take_over(&m);
    plan->arena_bytes = place_class(&m, IR_BUFFER_ARENA);
    plan->private_bytes = place_class(&m, IR_BUFFER_PRIVATE);
    if (low->graph->kind == IR_KIND_INFER)
        place_inference_state(&m);
    else
        place_state(low);
    if (plan->arena_bytes + plan->private_bytes == 0) plan->arena_bytes = 64; /* never empty */
    plan->workspace_bytes = plan->arena_bytes + plan->workers * plan->private_bytes;
}
