#include "kernel_build.h"

kb_kernel kb_begin(ir_arena *arena, const char *name, const char *doc) {
    kb_kernel k = {.arena = arena};
    k.kernel.name = name;
    k.kernel.doc = doc;
    k.kernel.tasks = 1;
    return k;
}

ir_kernel kb_finish(kb_kernel *k) {
    IR_ASSERT(k->depth == 0);
    k->kernel.hash = ir_kernel_hash(&k->kernel);
    return k->kernel;
}

int kb_param(kb_kernel *k, const char *name, ir_dtype dtype, bool written) {
    ir_kernel *kernel = &k->kernel;
    ir_param *p = IR_PUSH(k->arena, kernel->params, kernel->param_count, kernel->param_capacity);
    *p = (ir_param){.name = name, .dtype = dtype, .written = written};
    return (int)kernel->param_count - 1;
}

int kb_stmt(kb_kernel *k, ir_stmt stmt) {
    ir_kernel *kernel = &k->kernel;
    ir_stmt *s = IR_PUSH(k->arena, kernel->stmts, kernel->stmt_count, kernel->stmt_capacity);
    *s = stmt;
    s->end = (int32_t)kernel->stmt_count;
    return (int)kernel->stmt_count - 1;
}

static ir_stmt blank(ir_tile_op op, ir_extent rows, ir_extent cols) {
    ir_stmt stmt = {.op = op, .rows = rows, .cols = cols, .loop = -1};
    for (int i = 0; i < 3; i++)
        stmt.operand[i] = IR_NO_STMT;
    stmt.access.table = -1;
    stmt.access.param = -1;
    return stmt;
}

static int add_loop(kb_kernel *k, const char *name, int64_t extent, int64_t step, bool parallel) {
    IR_ASSERT(extent > 0 && step > 0 && k->depth < KB_MAX_DEPTH);
    ir_kernel *kernel = &k->kernel;
    ir_loop *l = IR_PUSH(k->arena, kernel->loops, kernel->loop_count, kernel->loop_capacity);
    *l =
        (ir_loop){.name = name, .extent = extent, .step = step, .within = -1, .parallel = parallel};
    if (parallel) kernel->tasks *= (extent + step - 1) / step;
    return (int)kernel->loop_count - 1;
}

static int open_region(kb_kernel *k, ir_stmt stmt) {
    int id = kb_stmt(k, stmt);
    k->open[k->depth++] = id;
    return id;
}

static int open_loop(kb_kernel *k, int loop) {
    ir_stmt stmt = blank(IR_TILE_loop, IR_FIXED(0), IR_FIXED(0));
    stmt.loop = loop;
    open_region(k, stmt);
    return loop;
}

int kb_loop(kb_kernel *k, const char *name, int64_t extent, int64_t step) {
    return open_loop(k, add_loop(k, name, extent, step, false));
}

static int64_t longest_step(const kb_kernel *k, int loop) {
    const ir_loop *l = &k->kernel.loops[loop];
    return l->step < l->extent ? l->step : l->extent;
}

int kb_loop_within(kb_kernel *k, const char *name, int outer, int64_t step) {
    int64_t extent = longest_step(k, outer);
    int loop = kb_loop(k, name, extent, step < extent ? step : extent);
    k->kernel.loops[loop].within = outer;
    return loop;
}

int kb_parallel(kb_kernel *k, const char *name, int64_t extent, int64_t step) {
    for (int i = 0; i < k->depth; i++)
        IR_ASSERT(k->kernel.loops[k->kernel.stmts[k->open[i]].loop].parallel);
    return open_loop(k, add_loop(k, name, extent, step, true));
}

int kb_matmul(kb_kernel *k, const char *name, int64_t extent, int init, ir_extent rows,
              ir_extent cols) {
    ir_stmt stmt = blank(IR_TILE_matmul, rows, cols);
    stmt.loop = add_loop(k, name, extent, 1, false);
    stmt.operand[0] = init;
    open_region(k, stmt);
    return stmt.loop;
}

void kb_matmul_within(kb_kernel *k, int outer) {
    ir_loop *l = &k->kernel.loops[k->kernel.stmts[k->open[k->depth - 1]].loop];
    IR_ASSERT(l->extent == longest_step(k, outer));
    l->within = outer;
}

int kb_end_matmul(kb_kernel *k, int a, int b) {
    int id = k->open[k->depth - 1];
    kb_end(k);
    k->kernel.stmts[id].operand[1] = a;
    k->kernel.stmts[id].operand[2] = b;
    return id;
}

void kb_end(kb_kernel *k) {
    IR_ASSERT(k->depth > 0);
    int id = k->open[--k->depth];
    k->kernel.stmts[id].end = (int32_t)k->kernel.stmt_count;
}

int kb_constant(kb_kernel *k, double value) {
    ir_stmt stmt = blank(IR_TILE_constant, IR_FIXED(1), IR_FIXED(1));
    stmt.value = value;
    return kb_stmt(k, stmt);
}

int kb_carry(kb_kernel *k, int init, ir_extent rows, ir_extent cols) {
    ir_stmt stmt = blank(IR_TILE_carry, rows, cols);
    stmt.operand[0] = init;
    return kb_stmt(k, stmt);
}

void kb_yield(kb_kernel *k, int carry, int value) {
    k->kernel.stmts[carry].operand[1] = value;
}

int kb_load(kb_kernel *k, ir_access access, ir_extent rows, ir_extent cols) {
    if (access.row_stride == 0) rows = IR_FIXED(1);
    if (access.col_stride == 0) cols = IR_FIXED(1);
    ir_stmt stmt = blank(IR_TILE_load, rows, cols);
    stmt.access = access;
    return kb_stmt(k, stmt);
}

void kb_store(kb_kernel *k, ir_access access, int value) {
    ir_stmt stmt = blank(IR_TILE_store, k->kernel.stmts[value].rows, k->kernel.stmts[value].cols);
    stmt.access = access;
    stmt.operand[0] = value;
    kb_stmt(k, stmt);
}

static bool is_one(ir_extent e) {
    return e.loop < 0 && e.fixed == 1;
}
static ir_extent wider(ir_extent a, ir_extent b) {
    return is_one(a) ? b : a;
}

int kb_map3(kb_kernel *k, ir_tile_op op, int a, int b, int c) {
    ir_stmt stmt = blank(op, IR_FIXED(1), IR_FIXED(1));
    int operand[3] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        stmt.operand[i] = operand[i];
        if (operand[i] == IR_NO_STMT) continue;
        stmt.rows = wider(stmt.rows, k->kernel.stmts[operand[i]].rows);
        stmt.cols = wider(stmt.cols, k->kernel.stmts[operand[i]].cols);
    }
    return kb_stmt(k, stmt);
}

int kb_map2(kb_kernel *k, ir_tile_op op, int a, int b) {
    return kb_map3(k, op, a, b, IR_NO_STMT);
}
int kb_map1(kb_kernel *k, ir_tile_op op, int a) {
    return kb_map3(k, op, a, IR_NO_STMT, IR_NO_STMT);
}

int kb_fold(kb_kernel *k, ir_tile_op op, int a) {
    bool rows = op == IR_TILE_sum_rows || op == IR_TILE_max_rows;
    ir_stmt *s = &k->kernel.stmts[a];
    ir_stmt stmt = blank(op, rows ? IR_FIXED(1) : s->rows, rows ? s->cols : IR_FIXED(1));
    stmt.operand[0] = a;
    return kb_stmt(k, stmt);
}

int kb_iota(kb_kernel *k, ir_affine at, ir_extent cols) {
    ir_stmt stmt = blank(IR_TILE_iota, IR_FIXED(1), cols);
    stmt.access = kb_access(-1, at, 0, 1);
    return kb_stmt(k, stmt);
}

int kb_uniform(kb_kernel *k, const kb_draw *draw, ir_extent cols) {
    ir_stmt stmt = blank(IR_TILE_uniform, IR_FIXED(1), cols);
    stmt.access = kb_access(draw->scalars, draw->at, 0, 1);
    stmt.sample = draw->sample;
    stmt.stream = draw->stream;
    return kb_stmt(k, stmt);
}

ir_affine kb_affine(int64_t base) {
    return (ir_affine){.base = base};
}

ir_affine kb_plus(ir_affine at, int loop, int64_t factor) {
    if (loop < 0 || factor == 0) return at;
    for (int i = 0; i < at.count; i++)
        if (at.term[i].loop == loop) {
            at.term[i].factor += factor;
            return at;
        }
    IR_ASSERT(at.count < IR_MAX_TERMS);
    at.term[at.count].loop = loop;
    at.term[at.count].factor = factor;
    at.count++;
    return at;
}

ir_affine kb_add(ir_affine a, ir_affine b) {
    a.base += b.base;
    for (int i = 0; i < b.count; i++)
        a = kb_plus(a, b.term[i].loop, b.term[i].factor);
    return a;
}

ir_access kb_access(int param, ir_affine at, int64_t row_stride, int64_t col_stride) {
    return (ir_access){
        .param = param, .at = at, .row_stride = row_stride, .col_stride = col_stride, .table = -1};
}

void kb_guard(ir_access *access, ir_affine value, int64_t limit) {
    IR_ASSERT(access->guard_count < IR_MAX_GUARDS);
    access->guard[access->guard_count++] = (ir_guard){.value = value, .limit = limit};
}

int64_t kb_divisor(int64_t n, int64_t most) {
    if (n <= most) return n;
    for (int64_t d = most; d > 1; d--)
        if (n % d == 0) return d;
    return 1;
}

int64_t kb_chunk(int64_t n, int64_t most) {
    int64_t even = kb_divisor(n, most), parts = (n + most - 1) / most;
    return 2 * even > most || even == n ? even : (n + parts - 1) / parts;
}

int64_t kb_part(int64_t n, int64_t most, int64_t unit) {
    int64_t even = kb_divisor(n, most);
    if (2 * even > most || even == n) return n / even;
    int64_t part = (n + most - 1) / most;
    return part > unit ? (part + unit - 1) / unit * unit : part;
}
