/* Regions: a task function each, which binds the arguments of its calls, a constant table of them,
 * and one loop that goes through the table.
 *
 * A region with one call and no private buffers is handed out in runs of neighbouring tasks, a few
 * per worker: its tasks may be small, and the kernel goes through a run by itself. Whatever the
 * runs, each task computes the same; so results do not depend on the number of workers.
 */
#include "cg_kernel.h"
#include "cg_parts.h"

#include "cnx_abi.h"

#include <stddef.h>

enum { RUNS_PER_WORKER = 8 };

/* ---- loops ---- */

LLVMBasicBlockRef cg_block(const cg_parts *p, LLVMValueRef function, const char *name) {
    return LLVMAppendBasicBlockInContext(p->m.context, function, name);
}

cg_each cg_each_begin(const cg_parts *p, LLVMValueRef function, LLVMValueRef first,
                      LLVMValueRef last) {
    LLVMBuilderRef b = p->m.builder;
    cg_each each = {.body = cg_block(p, function, "each"), .after = cg_block(p, function, "after")};
    LLVMBasicBlockRef before = LLVMGetInsertBlock(b);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, first, last, ""), each.body, each.after);
    LLVMPositionBuilderAtEnd(b, each.body);
    each.index = LLVMBuildPhi(b, p->m.i64, "");
    LLVMAddIncoming(each.index, &first, &before, 1);
    return each;
}

void cg_each_end(const cg_parts *p, cg_each *each, LLVMValueRef last) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef next = LLVMBuildNSWAdd(b, each->index, cg_int(&p->m, 1), "");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(b);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, last, ""), each->body, each->after);
    LLVMAddIncoming(each->index, &next, &latch, 1);
    LLVMPositionBuilderAtEnd(b, each->after);
}

/* ---- addresses ---- */

static LLVMValueRef byte_at(const cg_parts *p, LLVMValueRef base, LLVMValueRef offset) {
    LLVMTypeRef byte = LLVMInt8TypeInContext(p->m.context);
    return LLVMBuildGEP2(p->m.builder, byte, base, &offset, 1, "");
}

static LLVMValueRef byte_plus(const cg_parts *p, LLVMValueRef base, int64_t offset) {
    return offset ? byte_at(p, base, cg_int(&p->m, offset)) : base;
}

void cg_set_argument(const cg_parts *p, LLVMValueRef arguments, int field, LLVMValueRef value) {
    LLVMBuilderRef b = p->m.builder;
    LLVMBuildStore(b, value, LLVMBuildStructGEP2(b, p->arguments, arguments, (unsigned)field, ""));
}

/* One task function being emitted; pointers are loaded at its start when first asked for. */
typedef struct task {
    cg_parts *p;
    LLVMValueRef arguments, task, worker; /* task: i64 */
    LLVMValueRef pointer[CG_ARG_COUNT];
    LLVMValueRef privates; /* of this worker */
} task;

static LLVMValueRef argument(task *t, int field) {
    cg_parts *p = t->p;
    LLVMBuilderRef b = p->m.builder;
    if (!t->pointer[field]) {
        LLVMTypeRef type = field == CG_ARG_PIECES ? p->m.i64 : p->m.pointer;
        LLVMValueRef at = LLVMBuildStructGEP2(b, p->arguments, t->arguments, (unsigned)field, "");
        t->pointer[field] = LLVMBuildLoad2(b, type, at, "");
    }
    return t->pointer[field];
}

/* A private buffer is one task's slice; kernels index it as if it held all tasks'. */
static LLVMValueRef private_start(task *t, const ir_buffer *buffer) {
    cg_parts *p = t->p;
    LLVMBuilderRef b = p->m.builder;
    if (!t->privates) {
        LLVMValueRef part = LLVMBuildMul(b, t->worker, cg_int(&p->m, p->plan->private_bytes), "");
        t->privates =
            byte_at(p, byte_plus(p, argument(t, CG_ARG_WORKSPACE), p->plan->arena_bytes), part);
    }
    LLVMValueRef start = byte_plus(p, t->privates, buffer->offset);
    return byte_at(p, start, LLVMBuildMul(b, t->task, cg_int(&p->m, -buffer->bytes), ""));
}

static LLVMValueRef io_start(task *t, int32_t index) {
    cg_parts *p = t->p;
    LLVMValueRef at = cg_int(&p->m, index), io = argument(t, CG_ARG_IO);
    LLVMValueRef entry = LLVMBuildGEP2(p->m.builder, p->m.pointer, io, &at, 1, "");
    return LLVMBuildLoad2(p->m.builder, p->m.pointer, entry, "");
}

static LLVMValueRef buffer_start(task *t, const ir_buffer *b) {
    switch (b->class) {
    case IR_BUFFER_INPUT:
    case IR_BUFFER_OUTPUT: return io_start(t, b->index);
    case IR_BUFFER_WEIGHTS: return byte_plus(t->p, argument(t, CG_ARG_WEIGHTS), b->offset);
    case IR_BUFFER_STATE: return byte_plus(t->p, argument(t, CG_ARG_STATE), b->offset);
    case IR_BUFFER_ARENA: return byte_plus(t->p, argument(t, CG_ARG_WORKSPACE), b->offset);
    case IR_BUFFER_PRIVATE: return private_start(t, b);
    case IR_BUFFER_SCALARS: return argument(t, CG_ARG_SCALARS);
    }
    IR_BUG("buffer class %d", (int)b->class);
}

/* ---- kernels and tasks ---- */

static LLVMTypeRef kernel_type(const cg_parts *p, const ir_kernel *k) {
    LLVMTypeRef *types = ir_arena_alloc(p->scratch, (k->param_count + 2) * sizeof *types);
    types[0] = types[1] = p->m.i64;
    for (size_t i = 0; i < k->param_count; i++)
        types[i + 2] = p->m.pointer;
    return LLVMFunctionType(p->m.nothing, types, (unsigned)k->param_count + 2, false);
}

/* Calls the kernel on the tasks [first, last) of its region. */
static void emit_call(task *t, const ir_call *call, int64_t region_tasks, LLVMValueRef first,
                      LLVMValueRef last) {
    cg_parts *p = t->p;
    const ir_kernel *k = &p->plan->kernels[call->kernel];
    LLVMValueRef *args = ir_arena_alloc(p->scratch, (k->param_count + 2) * sizeof *args);
    int64_t share = k->tasks / region_tasks;
    args[0] = cg_offset(&p->m, NULL, first, share);
    args[1] = cg_offset(&p->m, NULL, last, share);
    for (size_t i = 0; i < k->param_count; i++) {
        const ir_argument *a = &call->arguments[i];
        args[i + 2] = byte_plus(p, buffer_start(t, &p->plan->buffers[a->buffer]), a->offset);
    }
    LLVMBuildCall2(p->m.builder, kernel_type(p, k), p->kernels[call->kernel], args,
                   (unsigned)k->param_count + 2, "");
}

static bool in_runs(const ir_plan *plan, const ir_region *region) {
    if (region->spread) return true;
    if (region->call_count != 1) return false;
    const ir_call *call = &region->calls[0];
    for (size_t i = 0; i < plan->kernels[call->kernel].param_count; i++)
        if (plan->buffers[call->arguments[i].buffer].class == IR_BUFFER_PRIVATE) return false;
    return true;
}

/* tasks * piece / pieces: where a piece starts. */
static LLVMValueRef piece_start(task *t, const ir_region *region, LLVMValueRef piece) {
    LLVMBuilderRef b = t->p->m.builder;
    LLVMValueRef scaled = cg_offset(&t->p->m, NULL, piece, region->tasks);
    return LLVMBuildUDiv(b, scaled, argument(t, CG_ARG_PIECES), "");
}

/* Piece p of P takes its share of every call; calls with few tasks begin at different pieces. */
static void emit_spread(task *t, const ir_region *region) {
    cg_parts *p = t->p;
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef function = LLVMGetBasicBlockParent(LLVMGetInsertBlock(b));
    LLVMValueRef pieces = argument(t, CG_ARG_PIECES);
    argument(t, CG_ARG_STATE);
    argument(t, CG_ARG_WORKSPACE);
    argument(t, CG_ARG_IO);
    argument(t, CG_ARG_SCALARS);
    for (size_t i = 0; i < region->call_count; i++) {
        const ir_call *call = &region->calls[i];
        int64_t tasks = p->plan->kernels[call->kernel].tasks;
        LLVMValueRef own = LLVMBuildAdd(b, t->task, cg_int(&p->m, (int64_t)i), "");
        own = LLVMBuildURem(b, own, pieces, "");
        LLVMValueRef next = LLVMBuildAdd(b, own, cg_int(&p->m, 1), "");
        LLVMValueRef first = LLVMBuildUDiv(b, cg_offset(&p->m, NULL, own, tasks), pieces, "");
        LLVMValueRef last = LLVMBuildUDiv(b, cg_offset(&p->m, NULL, next, tasks), pieces, "");
        LLVMBasicBlockRef some = cg_block(p, function, "some"),
                          done = cg_block(p, function, "done");
        LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, first, last, ""), some, done);
        LLVMPositionBuilderAtEnd(b, some);
        emit_call(t, call, tasks, first, last);
        LLVMBuildBr(b, done);
        LLVMPositionBuilderAtEnd(b, done);
    }
}

static LLVMValueRef emit_task(cg_parts *p, const ir_region *region, const char *name) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef f = cg_function(&p->m, name, p->task_type, false);
    LLVMPositionBuilderAtEnd(b, cg_block(p, f, ""));
    task t = {.p = p,
              .arguments = LLVMGetParam(f, 0),
              .task = LLVMGetParam(f, 1),
              .worker = LLVMGetParam(f, 2)};
    LLVMValueRef first = t.task, one = cg_int(&p->m, 1);
    LLVMValueRef last = LLVMBuildNSWAdd(b, t.task, one, "");
    if (region->spread) {
        emit_spread(&t, region);
        LLVMBuildRetVoid(b);
        return f;
    }
    if (in_runs(p->plan, region)) {
        last = piece_start(&t, region, last);
        first = piece_start(&t, region, first);
    }
    for (size_t i = 0; i < region->call_count; i++)
        emit_call(&t, &region->calls[i], region->tasks, first, last);
    LLVMBuildRetVoid(b);
    return f;
}

/* Init has the weights and the state, and nothing else. */
static void check_init(const ir_plan *plan) {
    for (size_t r = 0; r < plan->init_count; r++)
        for (size_t c = 0; c < plan->init[r].call_count; c++) {
            const ir_call *call = &plan->init[r].calls[c];
            for (size_t i = 0; i < plan->kernels[call->kernel].param_count; i++) {
                ir_buffer_class class = plan->buffers[call->arguments[i].buffer].class;
                if (class != IR_BUFFER_WEIGHTS && class != IR_BUFFER_STATE)
                    IR_BUG("init region %zu: buffer #%d is neither weights nor state", r,
                           call->arguments[i].buffer);
            }
        }
}

/* ---- the table and the loop over it ---- */

enum { ROW_TASK, ROW_TASKS, ROW_RUNS, ROW_COUNT };

static LLVMTypeRef row_type(const cg_parts *p) {
    LLVMTypeRef fields[ROW_COUNT] = {p->m.pointer, p->m.i64, p->m.i64};
    return LLVMStructTypeInContext(p->m.context, fields, ROW_COUNT, false);
}

static LLVMValueRef emit_row(cg_parts *p, const ir_region *region, bool init, size_t index) {
    const char *name = ir_arena_printf(p->scratch, "%s_%s_region_%zu", p->options->prefix,
                                       init ? "init" : "main", index);
    LLVMValueRef fields[ROW_COUNT] = {emit_task(p, region, name), cg_int(&p->m, region->tasks),
                                      cg_int(&p->m, in_runs(p->plan, region))};
    return LLVMConstStructInContext(p->m.context, fields, ROW_COUNT, false);
}

static LLVMValueRef emit_table(cg_parts *p) {
    size_t count = p->plan->init_count + p->plan->main_count, at = 0;
    LLVMValueRef *rows = ir_arena_alloc(p->scratch, (count + 1) * sizeof *rows);
    for (size_t r = 0; r < p->plan->init_count; r++)
        rows[at++] = emit_row(p, &p->plan->init[r], true, r);
    for (size_t r = 0; r < p->plan->main_count; r++)
        rows[at++] = emit_row(p, &p->plan->main[r], false, r);
    LLVMValueRef value = LLVMConstArray2(row_type(p), rows, count);
    LLVMValueRef table =
        LLVMAddGlobal(p->m.module, LLVMTypeOf(value),
                      ir_arena_printf(p->scratch, "%s_region_table", p->options->prefix));
    LLVMSetInitializer(table, value);
    LLVMSetGlobalConstant(table, true);
    LLVMSetLinkage(table, LLVMInternalLinkage);
    return table;
}

static LLVMValueRef row_field(const cg_parts *p, LLVMValueRef row, int field) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef at = LLVMBuildStructGEP2(b, row_type(p), row, (unsigned)field, "");
    return LLVMBuildLoad2(b, field == ROW_TASK ? p->m.pointer : p->m.i64, at, "");
}

/* The smaller of two i64. */
static LLVMValueRef least(const cg_parts *p, LLVMValueRef a, LLVMValueRef b) {
    LLVMValueRef less = LLVMBuildICmp(p->m.builder, LLVMIntSLT, a, b, "");
    return LLVMBuildSelect(p->m.builder, less, a, b, "");
}

static LLVMValueRef threads_field(const cg_parts *p, LLVMValueRef threads, size_t offset,
                                  LLVMTypeRef type) {
    return LLVMBuildLoad2(p->m.builder, type, byte_plus(p, threads, (int64_t)offset), "");
}

/* How many workers may run: 1 without threads, else the caller's count as far as the plan has room.
 */
static LLVMValueRef emit_workers(cg_parts *p, LLVMValueRef threads) {
    LLVMBuilderRef b = p->m.builder;
    LLVMBasicBlockRef entry = LLVMGetInsertBlock(b);
    LLVMBasicBlockRef some = cg_block(p, p->run, "threads"), go = cg_block(p, p->run, "go");
    LLVMBuildCondBr(b, LLVMBuildIsNull(b, threads, ""), go, some);
    LLVMPositionBuilderAtEnd(b, some);
    LLVMValueRef count = threads_field(p, threads, offsetof(cnx_threads, count), p->m.i64);
    count = least(p, count, cg_int(&p->m, p->plan->workers));
    LLVMBuildBr(b, go);
    LLVMPositionBuilderAtEnd(b, go);
    LLVMValueRef workers = LLVMBuildPhi(b, p->m.i64, "workers");
    LLVMValueRef values[2] = {cg_int(&p->m, 1), count};
    LLVMBasicBlockRef from[2] = {entry, some};
    LLVMAddIncoming(workers, values, from, 2);
    return workers;
}

/* threads->parallel_for(threads->context, pieces, workers, task, arguments) */
static void emit_parallel(cg_parts *p, LLVMValueRef threads, LLVMValueRef pieces,
                          LLVMValueRef workers, LLVMValueRef function, LLVMValueRef arguments) {
    LLVMTypeRef types[5] = {p->m.pointer, p->m.i64, p->m.i64, p->m.pointer, p->m.pointer};
    LLVMTypeRef type = LLVMFunctionType(p->m.nothing, types, 5, false);
    LLVMValueRef parallel_for =
        threads_field(p, threads, offsetof(cnx_threads, parallel_for), p->m.pointer);
    LLVMValueRef context = threads_field(p, threads, offsetof(cnx_threads, context), p->m.pointer);
    LLVMValueRef args[5] = {context, pieces, workers, function, arguments};
    LLVMBuildCall2(p->m.builder, type, parallel_for, args, 5, "");
}

/* One region: into how many pieces, and who runs them. */
static void emit_region(cg_parts *p, LLVMValueRef row, LLVMValueRef workers, LLVMValueRef arguments,
                        LLVMValueRef threads) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef one = cg_int(&p->m, 1), zero = cg_int(&p->m, 0);
    LLVMValueRef function = row_field(p, row, ROW_TASK), tasks = row_field(p, row, ROW_TASKS);
    LLVMValueRef serial = LLVMBuildICmp(b, LLVMIntSLE, workers, one, "serial");
    LLVMValueRef runs = cg_offset(&p->m, NULL, workers, RUNS_PER_WORKER);
    runs = least(p, LLVMBuildSelect(b, serial, one, runs, ""), tasks);
    LLVMValueRef cut = LLVMBuildICmp(b, LLVMIntNE, row_field(p, row, ROW_RUNS), zero, "");
    LLVMValueRef pieces = LLVMBuildSelect(b, cut, runs, tasks, "pieces");
    cg_set_argument(p, arguments, CG_ARG_PIECES, pieces);
    LLVMValueRef alone =
        LLVMBuildOr(b, serial, LLVMBuildICmp(b, LLVMIntSLE, pieces, one, ""), "alone");
    LLVMBasicBlockRef here = cg_block(p, p->run, "here"), done = cg_block(p, p->run, "done");
    LLVMBasicBlockRef spread = cg_block(p, p->run, "spread");
    LLVMBuildCondBr(b, alone, here, spread);
    LLVMPositionBuilderAtEnd(b, here);
    cg_each each = cg_each_begin(p, p->run, zero, pieces);
    LLVMValueRef args[3] = {arguments, each.index, zero};
    LLVMBuildCall2(b, p->task_type, function, args, 3, "");
    cg_each_end(p, &each, pieces);
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, spread);
    emit_parallel(p, threads, pieces, workers, function, arguments);
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, done);
}

static void emit_run(cg_parts *p, LLVMValueRef table) {
    LLVMBuilderRef b = p->m.builder;
    p->run = cg_function(&p->m, ir_arena_printf(p->scratch, "%s_run_regions", p->options->prefix),
                         p->run_type, false);
    LLVMPositionBuilderAtEnd(b, cg_block(p, p->run, ""));
    LLVMValueRef first = LLVMGetParam(p->run, 0), last = LLVMGetParam(p->run, 1);
    LLVMValueRef arguments = LLVMGetParam(p->run, 2), threads = LLVMGetParam(p->run, 3);
    LLVMValueRef workers = emit_workers(p, threads);
    cg_each region = cg_each_begin(p, p->run, first, last);
    LLVMValueRef row = LLVMBuildGEP2(b, row_type(p), table, &region.index, 1, "row");
    emit_region(p, row, workers, arguments, threads);
    cg_each_end(p, &region, last);
    LLVMBuildRetVoid(b);
}

void cg_emit_regions(cg_parts *p) {
    const ir_plan *plan = p->plan;
    LLVMTypeRef pointer = p->m.pointer, i64 = p->m.i64;
    LLVMTypeRef fields[CG_ARG_COUNT] = {pointer, pointer, pointer, pointer, pointer, i64};
    p->arguments = LLVMStructTypeInContext(p->m.context, fields, CG_ARG_COUNT, false);
    p->task_type = LLVMFunctionType(p->m.nothing, (LLVMTypeRef[]){pointer, i64, i64}, 3, false);
    p->run_type =
        LLVMFunctionType(p->m.nothing, (LLVMTypeRef[]){i64, i64, pointer, pointer}, 4, false);
    p->kernels = ir_arena_alloc(p->scratch, (plan->kernel_count + 1) * sizeof *p->kernels);
    check_init(plan);
    for (size_t k = 0; k < plan->kernel_count; k++) {
        const char *symbol =
            ir_arena_printf(p->scratch, "%s_%s", p->options->prefix, plan->kernels[k].name);
        p->kernels[k] = cg_emit_kernel(&p->m, &plan->kernels[k], symbol);
    }
    emit_run(p, emit_table(p));
}
