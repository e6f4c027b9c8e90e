/* Runs a plan one statement and one element at a time. Tiles are arrays of doubles holding f32
 * values; sums over k, windows and folds run in double and are rounded once. Every access is
 * checked against its buffer. Independent of codegen and simple on purpose: it is what codegen is
 * measured against. */
#include "eval.h"
#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tile {
    double *data;       /* (rows,cols), row-major */
    double *next;       /* carry: the value for the next iteration */
    int64_t rows, cols; /* of the current step */
} tile;

typedef struct binding {
    char *start;   /* of the buffer, or of a private buffer's slice */
    int64_t shift; /* byte of parameter element 0, relative to start; may be negative */
    int64_t bytes; /* of the buffer */
} binding;

typedef struct scalars {
    float lr;
    int64_t step;
    int64_t seed;
} scalars; /* struct cnx_scalars */

typedef struct interpreter {
    const ir_plan *plan;
    const ir_plan_run *run;
    scalars scalars;
    const ir_kernel *k;
    tile *tiles;       /* per statement */
    binding *bindings; /* per parameter */
    int64_t *value;    /* per loop: where the current step starts */
    int64_t *size;     /* per loop: how long it is */
} interpreter;

static void run_body(interpreter *in, int32_t first, int32_t end);

static int64_t eval_affine(const interpreter *in, const ir_affine *at) {
    int64_t sum = at->base;
    for (int i = 0; i < at->count; i++)
        sum += at->term[i].factor * in->value[at->term[i].loop];
    return sum;
}

static int64_t extent_of(const interpreter *in, ir_extent extent) {
    return extent.loop < 0 ? extent.fixed : in->size[extent.loop];
}

static int64_t end_of(const interpreter *in, const ir_loop *loop) {
    return loop->within < 0 ? loop->extent : in->size[loop->within];
}

static double at_broadcast(const tile *t, int64_t i, int64_t j) {
    return t->data[(t->rows == 1 ? 0 : i) * t->cols + (t->cols == 1 ? 0 : j)];
}

/* --- memory --- */

static char *element(const interpreter *in, int32_t param, int64_t index) {
    const binding *b = &in->bindings[param];
    int64_t size = (int64_t)ir_dtype_size(in->k->params[param].dtype);
    int64_t byte = b->shift + index * size;
    if (byte < 0 || byte > b->bytes - size)
        IR_BUG("kernel %s: parameter %s element %lld is byte %lld of a buffer of %lld", in->k->name,
               in->k->params[param].name, (long long)index, (long long)byte, (long long)b->bytes);
    return b->start + byte;
}

static double read_element(const interpreter *in, int32_t param, int64_t index) {
    const char *p = element(in, param, index);
    switch (in->k->params[param].dtype) {
    case IR_F32: {
        float v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case IR_BF16: {
        uint16_t half;
        memcpy(&half, p, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        float v;
        memcpy(&v, &bits, sizeof v);
        return v;
    }
    case IR_I64: {
        int64_t v;
        memcpy(&v, p, sizeof v);
        return (double)v;
    }
    case IR_I32: {
        int32_t v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case IR_DTYPE_COUNT: break;
    }
    IR_BUG("load of type %d", (int)in->k->params[param].dtype);
}

/* Round to nearest even; NaN stays NaN. */
static uint16_t to_bf16(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (isnan(v)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void write_element(const interpreter *in, int32_t param, int64_t index, double value) {
    char *p = element(in, param, index);
    float v = (float)value;
    if (in->k->params[param].dtype == IR_F32) {
        memcpy(p, &v, sizeof v);
    } else if (in->k->params[param].dtype == IR_I32) {
        int32_t whole = (int32_t)v;
        memcpy(p, &whole, sizeof whole);
    } else {
        IR_ASSERT(in->k->params[param].dtype == IR_BF16);
        uint16_t half = to_bf16(v);
        memcpy(p, &half, sizeof half);
    }
}

static bool guards_hold(const interpreter *in, const ir_access *access) {
    for (int i = 0; i < access->guard_count; i++) {
        int64_t value = eval_affine(in, &access->guard[i].value);
        if (value < 0 || value >= access->guard[i].limit) return false;
    }
    return true;
}

static int64_t table_term(const interpreter *in, const ir_access *access) {
    if (access->table < 0) return 0;
    int64_t index = eval_affine(in, &access->table_at);
    int64_t v = (int64_t)read_element(in, access->table, index);
    return v / access->table_wrap * access->table_line +
           v % access->table_wrap * access->table_scale;
}

static int64_t start_of(const interpreter *in, const ir_access *access) {
    return eval_affine(in, &access->at) + table_term(in, access);
}

static void run_load(interpreter *in, const ir_stmt *s, tile *t) {
    bool present = guards_hold(in, &s->access);
    int64_t start = present ? start_of(in, &s->access) : 0;
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++) {
            int64_t index = start + i * s->access.row_stride + j * s->access.col_stride;
            double v = present ? read_element(in, s->access.param, index) : 0;
            t->data[i * t->cols + j] = (float)v;
        }
}

static void run_store(interpreter *in, const ir_stmt *s, const tile *t) {
    if (!guards_hold(in, &s->access)) return;
    const tile *x = &in->tiles[s->operand[0]];
    int64_t start = start_of(in, &s->access);
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++)
            write_element(in, s->access.param,
                          start + i * s->access.row_stride + j * s->access.col_stride,
                          at_broadcast(x, i, j));
}

/* --- values without operands --- */

static void run_iota(interpreter *in, const ir_stmt *s, tile *t) {
    int64_t start = eval_affine(in, &s->access.at);
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++)
            t->data[i * t->cols + j] =
                (float)(start + i * s->access.row_stride + j * s->access.col_stride);
}

/* The first Philox word's upper 24 bits, as a fraction (eval.h gives key and counter). */
static void run_uniform(interpreter *in, const ir_stmt *s, tile *t) {
    int64_t step, seed;
    memcpy(&step, element(in, s->access.param, 1), sizeof step);
    memcpy(&seed, element(in, s->access.param, 2), sizeof seed);
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)((uint64_t)seed >> 32)};
    int64_t start = eval_affine(in, &s->access.at);
    uint32_t sample = (uint32_t)eval_affine(in, &s->sample);
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++) {
            int64_t index = start + i * s->access.row_stride + j * s->access.col_stride;
            uint32_t counter[4] = {(uint32_t)index, sample, (uint32_t)s->stream, (uint32_t)step};
            uint32_t word[4];
            ir_philox(key, counter, word);
            t->data[i * t->cols + j] = (double)(word[0] >> 8) * 0x1p-24;
        }
}

/* --- elementwise --- */

static double gelu(double a) {
    return 0.5 * a * (1 + erf(a * M_SQRT1_2));
}
static double gelu_slope(double a) {
    return 0.5 * (1 + erf(a * M_SQRT1_2)) + a * exp(-0.5 * a * a) * 0.39894228040143267794;
}
static double tanh_inner(double a) {
    return 0.79788456080286535588 * (a + 0.044715 * a * a * a);
}
static double gelu_tanh(double a) {
    return 0.5 * a * (1 + tanh(tanh_inner(a)));
}
static double gelu_tanh_slope(double a) {
    double t = tanh(tanh_inner(a));
    double inner = 0.79788456080286535588 * (1 + 3 * 0.044715 * a * a);
    return 0.5 * (1 + t) + 0.5 * a * (1 - t * t) * inner;
}

static double map_element(ir_tile_op op, double a, double b, double c) {
    switch (op) {
    case IR_TILE_add: return a + b;
    case IR_TILE_sub: return a - b;
    case IR_TILE_mul: return a * b;
    case IR_TILE_div: return a / b;
    case IR_TILE_fma: return a * b + c; /* exact in double, up to the sum's rounding */
    case IR_TILE_max: return a < b || b != b ? b : a;
    case IR_TILE_min: return b < a ? b : a;
    case IR_TILE_sqrt: return sqrt(a);
    case IR_TILE_exp: return exp(a);
    case IR_TILE_log: return log(a);
    case IR_TILE_sigmoid: return 1 / (1 + exp(-a));
    case IR_TILE_gelu: return gelu(a);
    case IR_TILE_gelu_slope: return gelu_slope(a);
    case IR_TILE_gelu_tanh: return gelu_tanh(a);
    case IR_TILE_gelu_tanh_slope: return gelu_tanh_slope(a);
    case IR_TILE_less: return a < b;
    case IR_TILE_equal: return a == b;
    case IR_TILE_select: return a != 0 ? b : c;
    case IR_TILE_one_minus_pow: return -expm1(b * log1p(-a));
    default: IR_BUG("%s is not elementwise", ir_tile_get(op)->name);
    }
}

static void run_map(interpreter *in, const ir_stmt *s, tile *t) {
    int count = ir_tile_get(s->op)->operands;
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++) {
            double x[3] = {0};
            for (int o = 0; o < count; o++)
                x[o] = at_broadcast(&in->tiles[s->operand[o]], i, j);
            t->data[i * t->cols + j] = (float)map_element(s->op, x[0], x[1], x[2]);
        }
}

/* --- folds --- */

static void run_fold(interpreter *in, const ir_stmt *s, tile *t) {
    const tile *x = &in->tiles[s->operand[0]];
    bool over_rows = s->op == IR_TILE_sum_rows || s->op == IR_TILE_max_rows;
    bool sum = s->op == IR_TILE_sum_rows || s->op == IR_TILE_sum_cols;
    int64_t kept = over_rows ? x->cols : x->rows, folded = over_rows ? x->rows : x->cols;
    for (int64_t i = 0; i < kept; i++) {
        double total = 0;
        for (int64_t f = 0; f < folded; f++) {
            double v = over_rows ? x->data[f * x->cols + i] : x->data[i * x->cols + f];
            if (sum)
                total += v;
            else
                total = f == 0 ? v : map_element(IR_TILE_max, total, v, 0);
        }
        t->data[i] = (float)total;
    }
}

/* Where pixel (0,0) or tap (0,0) of a window's tensor stands. */
static int64_t plane_start(const interpreter *in, const ir_window *w, const ir_access *access) {
    ir_affine at = access->at;
    for (int i = 0; i < at.count; i++)
        if (at.term[i].loop == w->loop_y || at.term[i].loop == w->loop_x) at.term[i].factor = 0;
    return eval_affine(in, &at) + table_term(in, access);
}

static double window_sum(const interpreter *in, const ir_window *w, int64_t image, int64_t weight,
                         int64_t y, int64_t x) {
    double sum = 0;
    for (int ky = 0; ky < w->kernel_h; ky++)
        for (int kx = 0; kx < w->kernel_w; kx++) {
            int64_t yy = y + ky - w->kernel_h / 2, xx = x + kx - w->kernel_w / 2;
            bool outside = yy < 0 || yy >= w->height || xx < 0 || xx >= w->width;
            if (outside && !w->haloed) continue;
            int ty = w->flip ? w->kernel_h - 1 - ky : ky, tx = w->flip ? w->kernel_w - 1 - kx : kx;
            sum += read_element(in, w->image.param,
                                image + yy * w->line_stride + xx * w->image.row_stride) *
                   read_element(in, w->weight.param,
                                weight + ty * w->tap_line + tx * w->weight.row_stride);
        }
    return sum;
}

static double window_dw_sum(const interpreter *in, const ir_window *w, int64_t image, int64_t other,
                            int64_t ky, int64_t kx) {
    double sum = 0;
    for (int64_t y = 0; y < w->height; y++)
        for (int64_t x = 0; x < w->width; x++) {
            int64_t yy = y + ky - w->kernel_h / 2, xx = x + kx - w->kernel_w / 2;
            bool outside = yy < 0 || yy >= w->height || xx < 0 || xx >= w->width;
            if (outside && !w->haloed) continue;
            sum += read_element(in, w->image.param,
                                image + yy * w->line_stride + xx * w->image.row_stride) *
                   read_element(in, w->other.param,
                                other + y * w->other_line + x * w->other.row_stride);
        }
    return sum;
}

static void run_window(interpreter *in, const ir_stmt *s, tile *t) {
    const ir_window *w = s->window;
    bool gradient = s->op == IR_TILE_window_dw;
    const ir_access *second = gradient ? &w->other : &w->weight;
    bool present = guards_hold(in, &w->image) && guards_hold(in, second);
    int64_t image = present ? plane_start(in, w, &w->image) : 0;
    int64_t other = present ? plane_start(in, w, second) : 0;
    int64_t y = in->value[w->loop_y], x = gradient ? 0 : in->value[w->loop_x];
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++) {
            int64_t a = image + j * w->image.col_stride, b = other + j * second->col_stride;
            double sum =
                s->operand[0] == IR_NO_STMT ? 0 : at_broadcast(&in->tiles[s->operand[0]], i, j);
            if (present)
                sum +=
                    gradient ? window_dw_sum(in, w, a, b, y, i) : window_sum(in, w, a, b, y, x + i);
            t->data[i * t->cols + j] = (float)sum;
        }
}

/* --- regions --- */

static void run_matmul(interpreter *in, int32_t id, tile *t) {
    const ir_stmt *s = &in->k->stmts[id];
    const ir_loop *loop = &in->k->loops[s->loop];
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++)
            t->data[i * t->cols + j] =
                s->operand[0] == IR_NO_STMT ? 0 : at_broadcast(&in->tiles[s->operand[0]], i, j);
    const tile *a = &in->tiles[s->operand[1]], *b = &in->tiles[s->operand[2]];
    in->size[s->loop] = 1;
    for (int64_t k = 0; k < end_of(in, loop); k++) {
        in->value[s->loop] = k;
        run_body(in, id + 1, s->end);
        for (int64_t i = 0; i < t->rows; i++)
            for (int64_t j = 0; j < t->cols; j++)
                t->data[i * t->cols + j] += at_broadcast(a, i, 0) * at_broadcast(b, 0, j);
    }
    for (int64_t i = 0; i < t->rows * t->cols; i++)
        t->data[i] = (float)t->data[i];
}

static void spread(const tile *from, int64_t rows, int64_t cols, double *to) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            to[i * cols + j] = at_broadcast(from, i, j);
}

static void start_carries(interpreter *in, const ir_stmt *loop, int32_t first) {
    for (int32_t i = first; i < loop->end; i = in->k->stmts[i].end) {
        const ir_stmt *s = &in->k->stmts[i];
        if (s->op != IR_TILE_carry) continue;
        tile *t = &in->tiles[i];
        t->rows = extent_of(in, s->rows);
        t->cols = extent_of(in, s->cols);
        spread(&in->tiles[s->operand[0]], t->rows, t->cols, t->data);
    }
}

/* All carries take their new values at once. */
static void advance_carries(interpreter *in, const ir_stmt *loop, int32_t first) {
    for (int32_t i = first; i < loop->end; i = in->k->stmts[i].end) {
        const ir_stmt *s = &in->k->stmts[i];
        tile *t = &in->tiles[i];
        if (s->op == IR_TILE_carry) spread(&in->tiles[s->operand[1]], t->rows, t->cols, t->next);
    }
    for (int32_t i = first; i < loop->end; i = in->k->stmts[i].end) {
        tile *t = &in->tiles[i];
        if (in->k->stmts[i].op == IR_TILE_carry)
            memcpy(t->data, t->next, (size_t)(t->rows * t->cols) * sizeof *t->data);
    }
}

static void set_step(interpreter *in, int32_t loop, int64_t value) {
    const ir_loop *l = &in->k->loops[loop];
    in->value[loop] = value;
    int64_t left = end_of(in, l) - value;
    in->size[loop] = left < l->step ? left : l->step;
}

static void run_loop(interpreter *in, int32_t id) {
    const ir_stmt *s = &in->k->stmts[id];
    const ir_loop *loop = &in->k->loops[s->loop];
    start_carries(in, s, id + 1);
    for (int64_t value = 0; value < end_of(in, loop); value += loop->step) {
        set_step(in, s->loop, value);
        run_body(in, id + 1, s->end);
        advance_carries(in, s, id + 1);
    }
}

static void run_value(interpreter *in, const ir_stmt *s, tile *t) {
    if (s->op == IR_TILE_constant)
        t->data[0] = (float)s->value;
    else if (s->op == IR_TILE_load)
        run_load(in, s, t);
    else if (s->op == IR_TILE_iota)
        run_iota(in, s, t);
    else if (s->op == IR_TILE_uniform)
        run_uniform(in, s, t);
    else
        IR_BUG("%s is no value", ir_tile_get(s->op)->name);
}

static void run_stmt(interpreter *in, int32_t id) {
    const ir_stmt *s = &in->k->stmts[id];
    tile *t = &in->tiles[id];
    if (s->op == IR_TILE_loop) {
        run_loop(in, id);
        return;
    }
    if (s->op == IR_TILE_carry) return; /* its loop sets it */
    t->rows = extent_of(in, s->rows);
    t->cols = extent_of(in, s->cols);
    switch (ir_tile_get(s->op)->kind) {
    case IR_TILE_MAP: run_map(in, s, t); return;
    case IR_TILE_VALUE: run_value(in, s, t); return;
    case IR_TILE_REGION: run_matmul(in, id, t); return;
    case IR_TILE_EFFECT: run_store(in, s, t); return;
    case IR_TILE_FOLD:
        if (s->window)
            run_window(in, s, t);
        else
            run_fold(in, s, t);
        return;
    }
}

static void run_body(interpreter *in, int32_t first, int32_t end) {
    for (int32_t i = first; i < end; i = in->k->stmts[i].end)
        run_stmt(in, i);
}

/* --- kernels, calls, regions --- */

static int64_t most(const ir_kernel *k, ir_extent extent) {
    if (extent.loop < 0) return extent.fixed;
    const ir_loop *l = &k->loops[extent.loop];
    return l->step < l->extent ? l->step : l->extent;
}

static void open_kernel(interpreter *in, const ir_kernel *k, ir_arena *arena) {
    in->k = k;
    in->tiles = ir_arena_alloc(arena, (k->stmt_count + 1) * sizeof *in->tiles);
    in->bindings = ir_arena_alloc(arena, (k->param_count + 1) * sizeof *in->bindings);
    in->value = ir_arena_alloc(arena, (k->loop_count + 1) * sizeof *in->value);
    in->size = ir_arena_alloc(arena, (k->loop_count + 1) * sizeof *in->size);
    for (size_t i = 0; i < k->stmt_count; i++) {
        const ir_stmt *s = &k->stmts[i];
        if (s->op == IR_TILE_loop || s->op == IR_TILE_store) continue;
        size_t bytes = (size_t)(most(k, s->rows) * most(k, s->cols)) * sizeof(double);
        in->tiles[i].data = ir_arena_alloc(arena, bytes);
        if (s->op == IR_TILE_carry) in->tiles[i].next = ir_arena_alloc(arena, bytes);
    }
}

static char *buffer_start(interpreter *in, const ir_buffer *b) {
    switch (b->class) {
    case IR_BUFFER_INPUT:
    case IR_BUFFER_OUTPUT: return in->run->io[b->index];
    case IR_BUFFER_WEIGHTS: return (char *)(uintptr_t)in->run->weights + b->offset;
    case IR_BUFFER_STATE: return (char *)in->run->state + b->offset;
    case IR_BUFFER_ARENA: return (char *)in->run->workspace + b->offset;
    case IR_BUFFER_PRIVATE: return (char *)in->run->workspace + in->plan->arena_bytes + b->offset;
    case IR_BUFFER_SCALARS: return (char *)&in->scalars;
    }
    IR_BUG("buffer class %d", (int)b->class);
}

/* A private buffer holds the slice of this task only; kernels index it as if it held all. */
static void bind(interpreter *in, const ir_call *call, int64_t task) {
    for (size_t p = 0; p < in->k->param_count; p++) {
        const ir_buffer *b = &in->plan->buffers[call->arguments[p].buffer];
        int64_t shift = call->arguments[p].offset;
        if (b->class == IR_BUFFER_PRIVATE) shift -= task * b->bytes;
        in->bindings[p] = (binding){buffer_start(in, b), shift, b->bytes};
    }
}

/* Sets the parallel loops to one task, the innermost varying fastest; returns what they enclose. */
static int32_t enter_task(interpreter *in, int64_t task) {
    int32_t first = 0;
    while (first < (int32_t)in->k->stmt_count && in->k->stmts[first].op == IR_TILE_loop &&
           in->k->loops[in->k->stmts[first].loop].parallel)
        first++;
    for (int32_t i = first; i-- > 0;) {
        const ir_loop *l = &in->k->loops[in->k->stmts[i].loop];
        int64_t trips = (l->extent + l->step - 1) / l->step;
        set_step(in, in->k->stmts[i].loop, task % trips * l->step);
        task /= trips;
    }
    return first;
}

static void run_region(interpreter *in, const ir_region *region) {
    ir_arena *arena = ir_arena_new();
    interpreter *calls = ir_arena_alloc(arena, (region->call_count + 1) * sizeof *calls);
    for (size_t c = 0; c < region->call_count; c++) {
        calls[c] = *in;
        open_kernel(&calls[c], &in->plan->kernels[region->calls[c].kernel], arena);
    }
    for (size_t c = 0; region->spread && c < region->call_count; c++) {
        bind(&calls[c], &region->calls[c], 0);
        for (int64_t t = 0; t < calls[c].k->tasks; t++)
            run_body(&calls[c], enter_task(&calls[c], t), (int32_t)calls[c].k->stmt_count);
    }
    for (int64_t task = 0; !region->spread && task < region->tasks; task++)
        for (size_t c = 0; c < region->call_count; c++) {
            interpreter *one = &calls[c];
            int64_t share = one->k->tasks / region->tasks;
            bind(one, &region->calls[c], task);
            for (int64_t t = task * share; t < (task + 1) * share; t++)
                run_body(one, enter_task(one, t), (int32_t)one->k->stmt_count);
        }
    ir_arena_free(arena);
}

static interpreter begin(const ir_plan *plan, const ir_plan_run *run) {
    return (interpreter){
        .plan = plan, .run = run, .scalars = {run->lr, (int64_t)run->step, (int64_t)run->seed}};
}

void ir_plan_interpret_init(const ir_plan *plan, const ir_plan_run *run) {
    interpreter in = begin(plan, run);
    for (size_t r = 0; r < plan->init_count; r++)
        run_region(&in, &plan->init[r]);
}

void ir_plan_interpret_main(const ir_plan *plan, const ir_plan_run *run) {
    interpreter in = begin(plan, run);
    for (size_t r = 0; r < plan->main_count; r++)
        run_region(&in, &plan->main[r]);
}
