/* The tile-operation table, plans as containers, and the identity of kernels. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

const ir_tile_info *ir_tile_get(ir_tile_op op) {
#define TILE(name, kind, operands, doc) {#name, IR_TILE_##kind, operands, doc},
    static const ir_tile_info table[IR_TILE_COUNT] = {
#include "tile_ops.def"
    };
#undef TILE
    IR_ASSERT((unsigned)op < IR_TILE_COUNT);
    return &table[op];
}

ir_plan *ir_plan_new(const char *name, ir_kind kind, const ir_machine *machine) {
    ir_arena *arena = ir_arena_new();
    ir_plan *plan = ir_arena_alloc(arena, sizeof *plan);
    plan->arena = arena;
    plan->name = ir_arena_strndup(arena, name, strlen(name));
    plan->kind = kind;
    plan->machine = machine;
    plan->batch = 1;
    plan->workers = 1;
    return plan;
}

void ir_plan_free(ir_plan *plan) {
    if (plan) ir_arena_free(plan->arena);
}

const char *ir_plan_meta(const ir_plan *plan, const char *key) {
    return ir_find_meta(plan->metas, plan->meta_count, key);
}

const ir_buffer *ir_plan_buffer(const ir_plan *plan, ir_buffer_class class, const char *name) {
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class == class && b->name && strcmp(b->name, name) == 0) return b;
    }
    return NULL;
}

int64_t ir_plan_classes(const ir_plan *plan) {
    const ir_buffer *logits = ir_plan_buffer(plan, IR_BUFFER_OUTPUT, "logits");
    return logits && logits->type.rank > 0 ? logits->type.dim[logits->type.rank - 1] : 0;
}

ir_mask ir_plan_mask(const ir_plan *plan, const char *input) {
    const ir_buffer *b = ir_plan_buffer(plan, IR_BUFFER_INPUT, input);
    return b ? b->mask : (ir_mask){0};
}

/* A kernel as a sequence of words, without names and costs: the one definition of its identity.
 * With `data` NULL words are hashed only. */
typedef struct word_sink {
    uint64_t hash;
    uint64_t *data;
    size_t count, capacity;
    bool keep;
} word_sink;

static void put(word_sink *sink, uint64_t word) {
    sink->hash = ir_hash(sink->hash, &word, sizeof word);
    if (!sink->keep) return;
    if (sink->count == sink->capacity) {
        sink->capacity = sink->capacity ? 2 * sink->capacity : 256;
        sink->data = realloc(sink->data, sink->capacity * sizeof *sink->data);
        IR_ASSERT(sink->data);
    }
    sink->data[sink->count++] = word;
}

static void put_affine(word_sink *sink, const ir_affine *at) {
    put(sink, (uint64_t)at->base);
    put(sink, (uint64_t)at->count);
    for (int i = 0; i < at->count; i++) {
        put(sink, (uint64_t)at->term[i].loop);
        put(sink, (uint64_t)at->term[i].factor);
    }
}

static void put_access(word_sink *sink, const ir_access *access) {
    put(sink, (uint64_t)access->param);
    put_affine(sink, &access->at);
    put(sink, (uint64_t)access->row_stride);
    put(sink, (uint64_t)access->col_stride);
    put(sink, (uint64_t)access->guard_count);
    for (int i = 0; i < access->guard_count; i++) {
        put_affine(sink, &access->guard[i].value);
        put(sink, (uint64_t)access->guard[i].limit);
    }
    put(sink, (uint64_t)access->table);
    if (access->table < 0) return;
    put_affine(sink, &access->table_at);
    put(sink, (uint64_t)access->table_scale);
    put(sink, (uint64_t)access->table_wrap);
    put(sink, (uint64_t)access->table_line);
}

static void put_window(word_sink *sink, const ir_window *w) {
    put_access(sink, &w->image);
    put(sink, (uint64_t)w->line_stride);
    put_access(sink, &w->weight);
    put(sink, (uint64_t)w->tap_line);
    put_access(sink, &w->other);
    put(sink, (uint64_t)w->other_line);
    put(sink, (uint64_t)w->kernel_h);
    put(sink, (uint64_t)w->kernel_w);
    put(sink, (uint64_t)w->height);
    put(sink, (uint64_t)w->width);
    put(sink, (uint64_t)w->loop_y);
    put(sink, (uint64_t)w->loop_x);
    put(sink, w->flip);
    put(sink, w->haloed);
}

static void put_extent(word_sink *sink, ir_extent extent) {
    put(sink, (uint64_t)extent.loop);
    put(sink, extent.loop < 0 ? (uint64_t)extent.fixed : 0);
}

static void put_stmt(word_sink *sink, const ir_stmt *s) {
    put(sink, s->op);
    put_extent(sink, s->rows);
    put_extent(sink, s->cols);
    for (int i = 0; i < 3; i++)
        put(sink, (uint64_t)s->operand[i]);
    put(sink, (uint64_t)s->end);
    put(sink, (uint64_t)s->loop);
    uint64_t bits;
    memcpy(&bits, &s->value, sizeof bits);
    put(sink, bits);
    put_access(sink, &s->access);
    put_affine(sink, &s->sample);
    put(sink, (uint64_t)s->stream);
    put(sink, s->window != NULL);
    if (s->window) put_window(sink, s->window);
}

static void put_kernel(word_sink *sink, const ir_kernel *k) {
    put(sink, k->param_count);
    for (size_t i = 0; i < k->param_count; i++) {
        put(sink, k->params[i].dtype);
        put(sink, k->params[i].written);
    }
    put(sink, k->loop_count);
    for (size_t i = 0; i < k->loop_count; i++) {
        const ir_loop *l = &k->loops[i];
        put(sink, (uint64_t)l->extent);
        put(sink, (uint64_t)l->step);
        put(sink, (uint64_t)l->within);
        put(sink, (uint64_t)l->halo);
        put(sink, (uint64_t)l->unroll);
        put(sink, l->parallel);
    }
    put(sink, k->stmt_count);
    for (size_t i = 0; i < k->stmt_count; i++)
        put_stmt(sink, &k->stmts[i]);
    put(sink, (uint64_t)k->tasks);
}

uint64_t ir_kernel_hash(const ir_kernel *kernel) {
    word_sink sink = {.hash = IR_HASH_SEED};
    put_kernel(&sink, kernel);
    return sink.hash;
}

bool ir_kernel_equal(const ir_kernel *a, const ir_kernel *b) {
    if (a->stmt_count != b->stmt_count || a->loop_count != b->loop_count) return false;
    word_sink x = {.hash = IR_HASH_SEED, .keep = true}, y = x;
    put_kernel(&x, a);
    put_kernel(&y, b);
    bool equal = x.count == y.count && memcmp(x.data, y.data, x.count * sizeof *x.data) == 0;
    free(x.data);
    free(y.data);
    return equal;
}
