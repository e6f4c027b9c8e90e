/* Orders the units that write parameters and states, so that whoever reads a tensor as it was
 * before the step reads it before it changes.
 *
 * The update of one weight may read another: the gradient of a product's weights holds the scale
 * that was folded into them, and the scale has an update of its own. Readers go first; where two
 * updates read what the other writes, the old tensor is copied and its reader reads the copy.
 *
 * requires     all units; arguments know the value they stand for
 * establishes  an order of the LOW_UPDATE units in which values are written before they are read
 * and old values are read before they are overwritten
 */
#include "lowering.h"

#include <string.h>

typedef struct order {
    low_state *low;
    int32_t *writer;  /* per buffer: the update unit that writes it, or -1 */
    int32_t *readers; /* per buffer: update units yet to run that read its old value */
    bool *done;       /* per unit */
    size_t count;     /* units ordered */
    low_update_order *result;
} order;

static bool is_update(const low_unit *unit) {
    return unit->section == LOW_UPDATE;
}

/* The argument is a parameter or state as it was when the step began, written by another unit. */
static bool reads_old(const order *o, size_t unit, const low_argument *a) {
    if (a->written || a->root < 0) return false;
    int32_t writer = o->writer[a->buffer];
    ir_op op = o->low->graph->nodes[a->root].op;
    return writer >= 0 && writer != (int32_t)unit && (op == IR_OP_param || op == IR_OP_state);
}

/* What the unit reads is computed, and what it overwrites is read. */
static bool can_run(const order *o, size_t u, bool copying) {
    const low_unit *unit = &o->low->units[u];
    for (size_t i = 0; i < unit->argument_count; i++) {
        const low_argument *a = &unit->arguments[i];
        int32_t writer = o->writer[a->buffer];
        if (a->written && writer == (int32_t)u && o->readers[a->buffer] > 0 && !copying)
            return false;
        if (a->written || writer < 0 || writer == (int32_t)u || reads_old(o, u, a)) continue;
        if (!o->done[writer]) return false;
    }
    return true;
}

static void append(order *o, size_t u) {
    low_state *low = o->low;
    size_t room = o->result->count ? o->result->capacity : 0;
    *IR_PUSH(low->scratch, o->result->unit, o->result->count, room) = u;
    o->result->capacity = room;
}

/* Copies what the unit overwrites for those that still want it. */
static void keep_old(order *o, size_t u, size_t units) {
    low_state *low = o->low;
    for (size_t i = 0; i < low->units[u].argument_count; i++) {
        low_argument written = low->units[u].arguments[i];
        if (!written.written || o->readers[written.buffer] == 0) continue;
        const ir_buffer *b = &low->plan->buffers[written.buffer];
        int32_t copy = low_new_buffer(low, "old", b->dtype, b->type,
                                      b->bytes / (int64_t)ir_dtype_size(b->dtype), IR_BUFFER_ARENA);
        append(o, low->unit_count);
        low_copy_unit(low, written.buffer, copy, LOW_UPDATE);
        for (size_t r = 0; r < units; r++) {
            if (o->done[r] || r == u || !is_update(&low->units[r])) continue;
            for (size_t k = 0; k < low->units[r].argument_count; k++) {
                low_argument *a = &low->units[r].arguments[k];
                if (a->buffer == written.buffer && reads_old(o, r, a)) a->buffer = copy;
            }
        }
        o->readers[written.buffer] = 0;
    }
}

static void run(order *o, size_t u) {
    append(o, u);
    o->done[u] = true;
    const low_unit *unit = &o->low->units[u];
    for (size_t i = 0; i < unit->argument_count; i++)
        if (reads_old(o, u, &unit->arguments[i])) o->readers[unit->arguments[i].buffer]--;
}

static void study(order *o, size_t units) {
    low_state *low = o->low;
    size_t buffers = low->plan->buffer_count + units; /* copies come after the others */
    o->writer = ir_arena_alloc(low->scratch, (buffers + 1) * sizeof *o->writer);
    o->readers = ir_arena_alloc(low->scratch, (buffers + 1) * sizeof *o->readers);
    o->done = ir_arena_alloc(low->scratch, units + 1);
    memset(o->writer, 0xff, (buffers + 1) * sizeof *o->writer);
    for (size_t u = 0; u < units; u++)
        for (size_t i = 0; is_update(&low->units[u]) && i < low->units[u].argument_count; i++)
            if (low->units[u].arguments[i].written)
                o->writer[low->units[u].arguments[i].buffer] = (int32_t)u;
    for (size_t u = 0; u < units; u++)
        for (size_t i = 0; is_update(&low->units[u]) && i < low->units[u].argument_count; i++)
            if (reads_old(o, u, &low->units[u].arguments[i]))
                o->readers[low->units[u].arguments[i].buffer]++;
}

low_update_order low_order_updates(low_state *low) {
    size_t units = low->unit_count, first = 0;
    low_update_order result = {0};
    order o = {.low = low, .result = &result};
    study(&o, units);
    while (first < units) {
        if (o.done[first] || !is_update(&low->units[first])) {
            first++;
            continue;
        }
        size_t u = first;
        while (u < units && (o.done[u] || !is_update(&low->units[u]) || !can_run(&o, u, false)))
            u++;
        if (u == units) { /* everyone waits for a reader: copy for the first */
            u = first;
            while (u < units && (o.done[u] || !is_update(&low->units[u]) || !can_run(&o, u, true)))
                u++;
            if (u == units) IR_BUG("updates of '%s' wait for each other", low->graph->name);
            keep_old(&o, u, units);
        }
        run(&o, u);
    }
    return result;
}
