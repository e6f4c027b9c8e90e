/* Kernels: the nest of loops, products, and the order of statements. */
#include "cg_emit.h"

#include <string.h>

static void emit_body(cg_emit *e, int32_t first, int32_t end);

cg_range cg_range_begin(cg_emit *e, LLVMValueRef first, LLVMValueRef *values, int count) {
    LLVMBuilderRef b = e->m->builder;
    cg_range r = {.before = LLVMGetInsertBlock(b), .count = count};
    r.body = LLVMAppendBasicBlockInContext(e->m->context, e->function, "");
    r.carried = ir_arena_alloc(e->arena, (size_t)(count + 1) * sizeof *r.carried);
    LLVMBuildBr(b, r.body);
    LLVMPositionBuilderAtEnd(b, r.body);
    r.index = LLVMBuildPhi(b, e->m->i64, "");
    LLVMAddIncoming(r.index, &first, &r.before, 1);
    for (int i = 0; i < count; i++) {
        r.carried[i] = LLVMBuildPhi(b, LLVMTypeOf(values[i]), "");
        LLVMAddIncoming(r.carried[i], &values[i], &r.before, 1);
        values[i] = r.carried[i];
    }
    return r;
}

void cg_range_end(cg_emit *e, cg_range *range, int64_t step, LLVMValueRef last,
                  LLVMValueRef *values) {
    LLVMBuilderRef b = e->m->builder;
    LLVMValueRef next = LLVMBuildNSWAdd(b, range->index, cg_int(e->m, step), "");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(b);
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->m->context, e->function, "");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, last, ""), range->body, after);
    LLVMAddIncoming(range->index, &next, &latch, 1);
    for (int i = 0; i < range->count; i++)
        LLVMAddIncoming(range->carried[i], &values[i], &latch, 1);
    LLVMPositionBuilderAtEnd(b, after);
}

/* ---- what a region needs from outside ---- */

static void force_operand(cg_emit *e, int32_t operand, int32_t first, int32_t end) {
    if (operand == IR_NO_STMT || (operand >= first && operand < end)) return;
    if (e->k->stmts[operand].op != IR_TILE_constant) cg_force(e, operand);
}

static void force_outer(cg_emit *e, int32_t region) {
    int32_t end = e->k->stmts[region].end;
    for (int32_t s = region; s < end; s++)
        for (int o = 0; o < 3; o++)
            force_operand(e, e->k->stmts[s].operand[o], region, end);
}

/* ---- loops ---- */

static int64_t range_of(const cg_emit *e, const ir_loop *l) {
    return l->within < 0 ? l->extent : e->loops[l->within].size;
}

/* Tiles carried by a loop, flattened. */
typedef struct carries {
    int32_t stmt[32];
    int count;
    LLVMValueRef *value;
    int total;
} carries;

static carries find_carries(cg_emit *e, const ir_stmt *loop, int32_t id) {
    carries c = {0};
    for (int32_t s = id + 1; s < loop->end; s++) {
        if (ir_tile_get(e->k->stmts[s].op)->kind == IR_TILE_REGION) {
            s = e->k->stmts[s].end - 1;
            continue;
        }
        if (e->k->stmts[s].op != IR_TILE_carry) continue;
        IR_ASSERT(c.count < 32);
        c.stmt[c.count++] = s;
        c.total += (int)cg_extent(e, e->k->stmts[s].rows) *
                   cg_cut_columns(e, cg_extent(e, e->k->stmts[s].cols)).count;
    }
    c.value = ir_arena_alloc(e->arena, (size_t)(c.total + 1) * sizeof *c.value);
    return c;
}

static void gather(cg_emit *e, carries *c, int operand) {
    int n = 0;
    for (int i = 0; i < c->count; i++) {
        const ir_stmt *s = &e->k->stmts[c->stmt[i]];
        int64_t rows = cg_extent(e, s->rows), cols = cg_extent(e, s->cols);
        int vectors = cg_cut_columns(e, cols).count;
        for (int64_t r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                c->value[n++] = cg_operand(e, s->operand[operand], r, cols, v);
    }
}

static void scatter(cg_emit *e, const carries *c) {
    int n = 0;
    for (int i = 0; i < c->count; i++) {
        const ir_stmt *s = &e->k->stmts[c->stmt[i]];
        int64_t rows = cg_extent(e, s->rows);
        int vectors = cg_cut_columns(e, cg_extent(e, s->cols)).count;
        e->tile[c->stmt[i]] = (cg_element){0};
        for (int64_t r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                cg_set(e, c->stmt[i], r, v, c->value[n++]);
    }
}

static void emit_step(cg_emit *e, int32_t id, carries *c) {
    const ir_stmt *s = &e->k->stmts[id];
    cg_forget(e, id + 1, s->end, true);
    scatter(e, c);
    emit_body(e, id + 1, s->end);
    gather(e, c, 1);
}

/* Steps [from, to) of the loop, all of full size. */
static void emit_steps(cg_emit *e, int32_t id, carries *c, int64_t from, int64_t to) {
    const ir_stmt *s = &e->k->stmts[id];
    int64_t step = e->k->loops[s->loop].step;
    cg_loop *loop = &e->loops[s->loop];
    if (to - from <= 0) return;
    loop->size = step;
    if (to - from == step) {
        *loop = (cg_loop){.add = from, .size = step};
        emit_step(e, id, c);
        return;
    }
    cg_range range = cg_range_begin(e, cg_int(e->m, from), c->value, c->total);
    *loop = (cg_loop){.dynamic = range.index, .size = step};
    emit_step(e, id, c);
    cg_range_end(e, &range, step, cg_int(e->m, to), c->value);
}

static void emit_const_step(cg_emit *e, int32_t id, carries *c, int64_t at, int64_t size) {
    e->loops[e->k->stmts[id].loop] = (cg_loop){.add = at, .size = size};
    emit_step(e, id, c);
}

static void emit_loop(cg_emit *e, int32_t id) {
    const ir_stmt *s = &e->k->stmts[id];
    const ir_loop *l = &e->k->loops[s->loop];
    force_outer(e, id);
    carries c = find_carries(e, s, id);
    gather(e, &c, 0);
    int64_t extent = range_of(e, l), full = extent / l->step * l->step, from = 0, to = full;
    for (; from < to && from - l->halo < 0; from += l->step)
        emit_const_step(e, id, &c, from, l->step);
    while (to > from && to + l->halo > extent)
        to -= l->step;
    emit_steps(e, id, &c, from, to);
    for (; to < full; to += l->step)
        emit_const_step(e, id, &c, to, l->step);
    if (full < extent) emit_const_step(e, id, &c, full, extent - full);
    cg_forget(e, id + 1, s->end, true);
    scatter(e, &c);
}

/* ---- products ---- */

enum { UNROLL = 4 };

static void product_step(cg_emit *e, int32_t id, LLVMValueRef *acc) {
    const ir_stmt *s = &e->k->stmts[id];
    int64_t rows = cg_extent(e, s->rows), cols = cg_extent(e, s->cols);
    cg_cut cut = cg_cut_columns(e, cols);
    for (int v = 0; v < cut.count; v++)
        cg_operand(e, s->operand[2], 0, cols, v);
    for (int64_t r = 0; r < rows; r++) {
        LLVMValueRef a = cg_operand(e, s->operand[1], r, 1, 0);
        for (int v = 0; v < cut.count; v++) {
            LLVMValueRef *at = &acc[r * cut.count + v];
            LLVMValueRef b = cg_operand(e, s->operand[2], 0, cols, v);
            *at = cg_fma(e->m, cg_splat(e->m, a, cut.width[v]), b, *at);
        }
    }
}

static void product_steps(cg_emit *e, int32_t id, LLVMValueRef *acc, LLVMValueRef dynamic,
                          int64_t from, int64_t count) {
    const ir_stmt *s = &e->k->stmts[id];
    for (int64_t u = 0; u < count; u++) {
        e->loops[s->loop] = (cg_loop){.dynamic = dynamic, .add = from + u, .size = 1};
        cg_forget(e, id + 1, s->end, u == 0);
        product_step(e, id, acc);
    }
}

static void emit_product(cg_emit *e, int32_t id) {
    const ir_stmt *s = &e->k->stmts[id];
    const ir_loop *l = &e->k->loops[s->loop];
    force_outer(e, id);
    int64_t rows = cg_extent(e, s->rows), cols = cg_extent(e, s->cols);
    cg_cut cut = cg_cut_columns(e, cols);
    int n = (int)rows * cut.count;
    LLVMValueRef *acc = ir_arena_alloc(e->arena, (size_t)n * sizeof *acc);
    for (int i = 0; i < n; i++)
        acc[i] = s->operand[0] == IR_NO_STMT
                     ? cg_number(e->m, 0, cut.width[i % cut.count])
                     : cg_operand(e, s->operand[0], i / cut.count, cols, i % cut.count);
    int64_t extent = range_of(e, l);
    int64_t unroll = l->unroll ? l->unroll : UNROLL, full = extent / unroll * unroll;
    if (full > unroll) {
        cg_range range = cg_range_begin(e, cg_int(e->m, 0), acc, n);
        product_steps(e, id, acc, range.index, 0, unroll);
        cg_range_end(e, &range, unroll, cg_int(e->m, full), acc);
    } else {
        full = 0;
    }
    product_steps(e, id, acc, NULL, full, extent - full);
    cg_forget(e, id + 1, s->end, true);
    for (int i = 0; i < n; i++)
        cg_set(e, id, i / cut.count, i % cut.count, acc[i]);
}

/* ---- statements in order ---- */

static int32_t store_group_end(const cg_emit *e, int32_t s, int32_t end) {
    const ir_stmt *first = &e->k->stmts[s];
    int32_t last = s + 1;
    while (!first->access.guard_count && last < end) {
        const ir_stmt *next = &e->k->stmts[last];
        if (next->op != IR_TILE_store || next->access.guard_count ||
            cg_extent(e, next->rows) != cg_extent(e, first->rows) ||
            cg_extent(e, next->cols) != cg_extent(e, first->cols))
            break;
        last++;
    }
    return last;
}

static void emit_body(cg_emit *e, int32_t first, int32_t end) {
    for (int32_t s = first; s < end;) {
        const ir_stmt *stmt = &e->k->stmts[s];
        int32_t next = s + 1;
        switch ((int)stmt->op) {
        case IR_TILE_loop:
            emit_loop(e, s);
            next = stmt->end;
            break;
        case IR_TILE_matmul:
            emit_product(e, s);
            next = stmt->end;
            break;
        case IR_TILE_window: cg_emit_window(e, s); break;
        case IR_TILE_window_dw: cg_emit_window_dw(e, s); break;
        case IR_TILE_store:
            next = store_group_end(e, s, end);
            cg_store_group(e, s, next);
            break;
        }
        s = next;
    }
}

/* ---- tasks ---- */

static LLVMBasicBlockRef block(cg_emit *e) {
    return LLVMAppendBasicBlockInContext(e->m->context, e->function, "");
}

/* Statement `id` is the parallel loop number `level`; `task` is what is left of the task's number.
 */
static void emit_parallel(cg_emit *e, int32_t id, LLVMValueRef task, int64_t inner) {
    const ir_stmt *s = &e->k->stmts[id];
    if (s->op != IR_TILE_loop || !e->k->loops[s->loop].parallel) {
        cg_forget(e, 0, (int32_t)e->k->stmt_count, true);
        emit_body(e, id, (int32_t)e->k->stmt_count);
        return;
    }
    LLVMBuilderRef b = e->m->builder;
    const ir_loop *l = &e->k->loops[s->loop];
    int64_t trips = (l->extent + l->step - 1) / l->step, rest = l->extent % l->step;
    inner /= trips;
    LLVMValueRef index = LLVMBuildUDiv(b, task, cg_int(e->m, inner), "");
    LLVMValueRef left = LLVMBuildURem(b, task, cg_int(e->m, inner), "");
    cg_loop *loop = &e->loops[s->loop];
    if (trips == 1) {
        *loop = (cg_loop){.size = l->extent};
        emit_parallel(e, id + 1, left, inner);
        return;
    }
    LLVMBasicBlockRef whole = block(e), after = block(e), part = rest ? block(e) : NULL;
    if (rest) {
        LLVMValueRef last = LLVMBuildICmp(b, LLVMIntEQ, index, cg_int(e->m, trips - 1), "");
        LLVMBuildCondBr(b, last, part, whole);
        LLVMPositionBuilderAtEnd(b, part);
        *loop = (cg_loop){.add = l->extent - rest, .size = rest};
        emit_parallel(e, id + 1, left, inner);
        LLVMBuildBr(b, after);
    } else {
        LLVMBuildBr(b, whole);
    }
    LLVMPositionBuilderAtEnd(b, whole);
    LLVMValueRef value = LLVMBuildMul(b, index, cg_int(e->m, l->step), "");
    *loop = (cg_loop){.dynamic = value, .size = l->step};
    emit_parallel(e, id + 1, left, inner);
    LLVMBuildBr(b, after);
    LLVMPositionBuilderAtEnd(b, after);
}

LLVMValueRef cg_emit_kernel(cg_module *m, const ir_kernel *kernel, const char *symbol) {
    cg_emit e = {.m = m, .k = kernel, .arena = ir_arena_new()};
    size_t params = kernel->param_count;
    LLVMTypeRef *types = ir_arena_alloc(e.arena, (params + 2) * sizeof *types);
    types[0] = types[1] = m->i64;
    for (size_t i = 0; i < params; i++)
        types[i + 2] = m->pointer;
    LLVMTypeRef signature = LLVMFunctionType(m->nothing, types, (unsigned)params + 2, false);
    e.function = cg_function(m, symbol, signature, false);
    e.params = ir_arena_alloc(e.arena, (params + 1) * sizeof *e.params);
    for (size_t i = 0; i < params; i++)
        e.params[i] = LLVMGetParam(e.function, (unsigned)i + 2);
    e.loops = ir_arena_alloc(e.arena, (kernel->loop_count + 1) * sizeof *e.loops);
    e.tile = ir_arena_alloc(e.arena, (kernel->stmt_count + 1) * sizeof *e.tile);
    e.base = ir_arena_alloc(e.arena, (kernel->stmt_count + 1) * sizeof *e.base);
    LLVMPositionBuilderAtEnd(m->builder, block(&e));
    LLVMValueRef first = LLVMGetParam(e.function, 0), last = LLVMGetParam(e.function, 1);
    cg_range tasks = cg_range_begin(&e, first, NULL, 0);
    emit_parallel(&e, 0, tasks.index, kernel->tasks);
    cg_range_end(&e, &tasks, 1, last, NULL);
    LLVMBuildRetVoid(m->builder);
    ir_arena_free(e.arena);
    return e.function;
}
