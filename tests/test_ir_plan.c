/* Plans: text, verification, identity of kernels, and the interpreter against plain loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eval.h"
#include "kernel_build.h"

/* --- a plan of one kernel --- */

static int32_t add_buffer(ir_plan *plan, const char *name, ir_dtype dtype, ir_buffer_class class,
                          int64_t elements) {
    ir_buffer *b = IR_PUSH(plan->arena, plan->buffers, plan->buffer_count, plan->buffer_capacity);
    int32_t id = (int32_t)plan->buffer_count - 1;
    *b = (ir_buffer){.name = name, .dtype = dtype, .class = class};
    b->type = ir_type_make(dtype, 1, &elements);
    b->bytes = elements * (int64_t)ir_dtype_size(dtype);
    int64_t room = (b->bytes + 63) / 64 * 64;
    if (class == IR_BUFFER_INPUT || class == IR_BUFFER_OUTPUT) {
        for (int32_t i = 0; i < id; i++)
            b->index += plan->buffers[i].class == IR_BUFFER_INPUT ||
                        plan->buffers[i].class == IR_BUFFER_OUTPUT;
    } else if (class == IR_BUFFER_STATE) {
        b->offset = plan->state_bytes;
        plan->state_bytes += room;
    } else if (class == IR_BUFFER_ARENA) {
        b->offset = plan->arena_bytes;
        plan->arena_bytes += room;
    } else if (class == IR_BUFFER_PRIVATE) {
        b->offset = plan->private_bytes;
        plan->private_bytes += room;
    }
    plan->workspace_bytes = plan->arena_bytes + plan->workers * plan->private_bytes;
    return id;
}

static int32_t add_kernel(ir_plan *plan, ir_kernel kernel) {
    *IR_PUSH(plan->arena, plan->kernels, plan->kernel_count, plan->kernel_capacity) = kernel;
    return (int32_t)plan->kernel_count - 1;
}

static ir_region *add_region(ir_plan *plan, bool init, int64_t tasks) {
    ir_region *r = init ? IR_PUSH(plan->arena, plan->init, plan->init_count, plan->init_capacity)
                        : IR_PUSH(plan->arena, plan->main, plan->main_count, plan->main_capacity);
    r->tasks = tasks;
    return r;
}

static void add_call(ir_plan *plan, ir_region *region, int32_t kernel, const int32_t *buffers) {
    ir_call *c = IR_PUSH(plan->arena, region->calls, region->call_count, region->call_capacity);
    size_t count = plan->kernels[kernel].param_count;
    c->kernel = kernel;
    c->arguments = ir_arena_alloc(plan->arena, (count + 1) * sizeof *c->arguments);
    for (size_t i = 0; i < count; i++)
        c->arguments[i].buffer = buffers[i];
}

static ir_plan *plan_of(const char *name) {
    return ir_plan_new(name, IR_KIND_INFER, NULL);
}

static void run_plan(const ir_plan *plan, void *const *io, const float *weights) {
    ir_plan_verify(plan);
    void *state = calloc(1, (size_t)plan->state_bytes + 64);
    void *workspace = malloc((size_t)plan->workspace_bytes + 64);
    memset(workspace, 0x7f, (size_t)plan->workspace_bytes + 64);
    ir_plan_run run = {.state = state,
                       .workspace = workspace,
                       .weights = weights,
                       .io = io,
                       .lr = 0.25f,
                       .step = 7,
                       .seed = 0x123456789abcull};
    ir_plan_interpret_init(plan, &run);
    ir_plan_interpret_main(plan, &run);
    free(state);
    free(workspace);
}

static float sample(int i) {
    return (float)((i * 7919 + 13) % 211 - 105) / 64;
}

static float *numbers(int count, int seed) {
    float *x = malloc((size_t)count * sizeof *x);
    for (int i = 0; i < count; i++)
        x[i] = sample(i + 1000 * seed);
    return x;
}

static void assert_near(double found, double expected, double tolerance) {
    if (fabs(found - expected) > tolerance * (1 + fabs(expected)))
        fail_msg("found %.9g, expected %.9g", found, expected);
}

/* --- linear + gelu + per-sample sum of squares, the header's example --- */

enum { N = 2, ROWS = 7, K = 5, J = 10, PANEL = 4, STEP = 3 };

/* w is packed in panels of PANEL columns: element (k, j + c) of panel j at j K + k PANEL + c. */
static ir_kernel linear_kernel(ir_arena *arena, int64_t k_factor) {
    kb_kernel b = kb_begin(arena, "linear", "matmul_nt gelu sum");
    int x = kb_param(&b, "x", IR_F32, false), w = kb_param(&b, "w", IR_F32, false);
    int bias = kb_param(&b, "b", IR_F32, false), h = kb_param(&b, "h", IR_F32, true);
    int ss = kb_param(&b, "ss", IR_F32, true);
    int n = kb_parallel(&b, "n", N, 1), j = kb_parallel(&b, "j", J, PANEL);
    ir_extent cols = IR_STEP_OF(j);
    int c = kb_load(&b, kb_access(bias, kb_plus(kb_affine(0), j, 1), 0, 1), IR_FIXED(1), cols);
    int zero = kb_constant(&b, 0);
    int r = kb_loop(&b, "r", ROWS, STEP);
    ir_extent rows = IR_STEP_OF(r);
    int carry = kb_carry(&b, zero, IR_FIXED(1), cols);
    int k = kb_matmul(&b, "k", K, c, rows, cols);
    ir_affine at = kb_plus(kb_plus(kb_plus(kb_affine(0), n, ROWS * K), r, K), k, k_factor);
    int left = kb_load(&b, kb_access(x, at, K, 0), rows, IR_FIXED(1));
    at = kb_plus(kb_plus(kb_affine(0), j, K), k, PANEL);
    int right = kb_load(&b, kb_access(w, at, 0, 1), IR_FIXED(1), cols);
    int y = kb_map1(&b, IR_TILE_gelu, kb_end_matmul(&b, left, right));
    at = kb_plus(kb_plus(kb_plus(kb_affine(0), n, ROWS * J), r, J), j, 1);
    kb_store(&b, kb_access(h, at, J, 1), y);
    int part = kb_fold(&b, IR_TILE_sum_rows, kb_map2(&b, IR_TILE_mul, y, y));
    kb_yield(&b, carry, kb_map2(&b, IR_TILE_add, carry, part));
    kb_end(&b);
    kb_store(&b, kb_access(ss, kb_plus(kb_plus(kb_affine(0), n, J), j, 1), 0, 1), carry);
    kb_end(&b);
    kb_end(&b);
    return kb_finish(&b);
}

static ir_plan *linear_plan(int64_t k_factor) {
    ir_plan *plan = plan_of("linear");
    int panels = (J + PANEL - 1) / PANEL;
    int32_t io[5] = {add_buffer(plan, "x", IR_F32, IR_BUFFER_INPUT, N * ROWS * K),
                     add_buffer(plan, "w", IR_F32, IR_BUFFER_INPUT, panels * PANEL * K),
                     add_buffer(plan, "b", IR_F32, IR_BUFFER_INPUT, J),
                     add_buffer(plan, "h", IR_F32, IR_BUFFER_OUTPUT, N * ROWS * J),
                     add_buffer(plan, "ss", IR_F32, IR_BUFFER_OUTPUT, N * J)};
    int32_t kernel = add_kernel(plan, linear_kernel(plan->arena, k_factor));
    add_call(plan, add_region(plan, false, N), kernel, io);
    return plan;
}

static void test_linear(void **state) {
    (void)state;
    ir_plan *plan = linear_plan(1);
    float *x = numbers(N * ROWS * K, 1), *w = numbers(3 * PANEL * K, 2), *b = numbers(J, 3);
    float h[N * ROWS * J], ss[N * J];
    run_plan(plan, (void *[]){x, w, b, h, ss}, NULL);
    for (int n = 0; n < N; n++)
        for (int j = 0; j < J; j++) {
            double squares = 0;
            for (int r = 0; r < ROWS; r++) {
                double sum = b[j];
                for (int k = 0; k < K; k++)
                    sum += (double)x[(n * ROWS + r) * K + k] *
                           w[j / PANEL * PANEL * K + k * PANEL + j % PANEL];
                double y = 0.5 * sum * (1 + erf(sum / sqrt(2)));
                assert_near(h[(n * ROWS + r) * J + j], y, 1e-6);
                squares += y * y;
            }
            assert_near(ss[n * J + j], squares, 1e-6);
        }
    free(x);
    free(w);
    free(b);
    ir_plan_free(plan);
}

static void test_print(void **state) {
    (void)state;
    ir_plan *plan = linear_plan(1);
    ir_text text = {0}, again = {0};
    ir_plan_print(plan, &text);
    ir_plan_print(plan, &again);
    assert_string_equal(text.data, again.data);
    const char *expected =
        "kernel linear(x f32, w f32, b f32, h f32 out, ss f32 out) tasks 6  # matmul_nt gelu sum\n"
        "  parallel n in 2 step 1\n"
        "    parallel j in 10 step 4\n"
        "      %2 = load b[j] (1, j)\n"
        "      loop r in 7 step 3\n"
        "        %5 = carry 0, %13 (1, j)\n"
        "        %6 = matmul k in 5 (r, j) %7 %8 + %2\n"
        "          %7 = load x[35 n + 5 r + k] rows 5 (r, 1)\n"
        "          %8 = load w[5 j + 4 k] (1, j)\n"
        "        %9 = gelu %6 (r, j)\n"
        "        store h[70 n + 10 r + j] rows 10 (r, j) = %9\n"
        "        %11 = mul %9, %9 (r, j)\n"
        "        %12 = sum_rows %11 (1, j)\n"
        "        %13 = add %5, %12 (1, j)\n"
        "      store ss[10 n + j] (1, j) = %5\n";
    const char *found = strstr(text.data, "kernel linear(");
    assert_non_null(found);
    if (strncmp(found, expected, strlen(expected)) != 0) assert_string_equal(found, expected);
    const char *main = "\nmain\n  region 0 tasks 2\n    linear(#0, #1, #2, #3, #4)\n";
    assert_non_null(strstr(text.data, main));
    ir_text_free(&text);
    ir_text_free(&again);
    ir_plan_free(plan);
}

static void test_identity(void **state) {
    (void)state;
    ir_plan *plan = plan_of("identity");
    ir_kernel a = linear_kernel(plan->arena, 1), b = linear_kernel(plan->arena, 1);
    b.name = "other";
    b.params[0].name = "renamed";
    b.loops[0].name = "sample";
    assert_true(ir_kernel_hash(&b) == a.hash);
    assert_true(ir_kernel_equal(&a, &b));
    ir_kernel c = linear_kernel(plan->arena, 2);
    assert_true(c.hash != a.hash);
    assert_false(ir_kernel_equal(&a, &c));
    b.loops[2].step++;
    assert_true(ir_kernel_hash(&b) != a.hash);
    assert_false(ir_kernel_equal(&a, &b));
    ir_plan_free(plan);
}

/* --- verification: each broken plan aborts with its reason --- */

static void expect_abort(const ir_plan *plan, const char *reason) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        ir_plan_verify(plan);
        _exit(0);
    }
    close(ends[1]);
    char text[4096];
    size_t length = 0;
    ssize_t got;
    while (length < sizeof text - 1 &&
           (got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status)) fail_msg("accepted, expected: %s", reason);
    if (!strstr(text, reason)) fail_msg("found: %s\nexpected: %s", text, reason);
}

static ir_stmt *find_stmt(ir_plan *plan, ir_tile_op op) {
    ir_kernel *k = &plan->kernels[0];
    for (size_t i = 0; i < k->stmt_count; i++)
        if (k->stmts[i].op == op) return &k->stmts[i];
    fail_msg("no %s", ir_tile_get(op)->name);
    return NULL;
}

static void broken(void (*change)(ir_plan *), const char *reason) {
    ir_plan *plan = linear_plan(1);
    change(plan);
    plan->kernels[0].hash = ir_kernel_hash(&plan->kernels[0]);
    expect_abort(plan, reason);
    ir_plan_free(plan);
}

static void too_small(ir_plan *p) {
    p->buffers[3].bytes -= 4;
}
static void before_start(ir_plan *p) {
    find_stmt(p, IR_TILE_store)->access.at.base = -1;
}
static void not_visible(ir_plan *p) {
    find_stmt(p, IR_TILE_gelu)->operand[0] = 11;
}
static void out_of_body(ir_plan *p) {
    find_stmt(p, IR_TILE_gelu)->operand[0] = 7;
}
static void wrong_tile(ir_plan *p) {
    find_stmt(p, IR_TILE_gelu)->cols = IR_FIXED(3);
}
static void closed_loop(ir_plan *p) {
    ir_kernel *k = &p->kernels[0];
    k->stmts[k->stmt_count - 1].access.at.term[0].loop = 2;
}
static void read_only(ir_plan *p) {
    p->kernels[0].params[3].written = false;
}
static void wrong_tasks(ir_plan *p) {
    p->kernels[0].tasks = 5;
}
static void indivisible(ir_plan *p) {
    p->main[0].tasks = 4;
}
static void wrong_type(ir_plan *p) {
    p->buffers[0].dtype = IR_I32;
}
static void write_input(ir_plan *p) {
    p->main[0].calls[0].arguments[3].buffer = 0;
}
static void init_reads_io(ir_plan *p) {
    p->init = p->main;
    p->init_count = p->main_count;
}
static void same_io(ir_plan *p) {
    p->buffers[1].index = 0;
}

static void bad_name(ir_plan *p) {
    p->kernels[0].name = "a-b";
}

static void test_verify(void **state) {
    (void)state;
    ir_plan *plan = linear_plan(1);
    ir_plan_verify(plan);
    plan->kernels[0].hash++;
    expect_abort(plan, "stale hash");
    ir_plan_free(plan);
    broken(too_small, "parameter h reaches bytes 0..560 of buffer #3 (h), which has 556");
    broken(before_start, "parameter h reaches bytes -4..556");
    broken(not_visible, "operand %11 is not visible");
    broken(out_of_body, "operand %7 is not visible");
    broken(wrong_tile, "does not broadcast");
    broken(closed_loop, "index of loop 2, not open");
    broken(read_only, "store to a read-only parameter");
    broken(wrong_tasks, "tasks 5, loops make 6");
    broken(indivisible, "6 tasks in a region of 4");
    broken(wrong_type, "argument x of f32 is bound to buffer #0 of i32");
    broken(write_input, "buffer #0 may not be written here");
    broken(init_reads_io, "out of reach of init");
    broken(same_io, "are both io 0");
    broken(bad_name, "kernel name 'a-b'");
}

static void test_verify_memory(void **state) {
    (void)state;
    ir_plan *plan = plan_of("memory");
    int32_t a = add_buffer(plan, "a", IR_F32, IR_BUFFER_ARENA, 16);
    int32_t b = add_buffer(plan, "b", IR_F32, IR_BUFFER_ARENA, 16);
    plan->buffers[a].first = 0, plan->buffers[a].last = 2;
    plan->buffers[b].first = 2, plan->buffers[b].last = 3;
    ir_plan_verify(plan);
    plan->buffers[b].offset = 0; /* takes over where a dies */
    ir_plan_verify(plan);
    plan->buffers[b].first = 1;
    expect_abort(plan, "buffers #0 and #1 share memory");
    plan->buffers[b].first = 3;
    plan->buffers[b].offset = 128;
    expect_abort(plan, "buffer #1 ends at 192 of 128 bytes");
    ir_plan_free(plan);
}

/* --- windows --- */

enum { H = 5, W = 6, C = 3, KH = 3, KW = 5, STEP_X = 4 };

static ir_window *window_geometry(ir_plan *plan, int x, int other, int y_loop, int x_loop, int c) {
    ir_window *w = ir_arena_alloc(plan->arena, sizeof *w);
    w->image = kb_access(x, kb_plus(kb_affine(0), c, 1), C, 1);
    w->line_stride = W * C;
    w->weight = kb_access(other, kb_plus(kb_affine(0), c, 1), C, 1); /* w (kh,kw,C) */
    w->tap_line = KW * C;
    w->other = w->image;
    w->other.param = other;
    w->other_line = W * C;
    w->kernel_h = KH, w->kernel_w = KW;
    w->height = H, w->width = W;
    w->loop_y = y_loop, w->loop_x = x_loop;
    return w;
}

static void run_window(bool gradient, bool flip, float *x, float *other, float *y) {
    ir_plan *plan = plan_of("window");
    int out = gradient ? KH * KW * C : H * W * C;
    int32_t io[3] = {
        add_buffer(plan, "x", IR_F32, IR_BUFFER_INPUT, H * W * C),
        add_buffer(plan, "o", IR_F32, IR_BUFFER_INPUT, gradient ? H * W * C : KH * KW * C),
        add_buffer(plan, "y", IR_F32, IR_BUFFER_OUTPUT, out)};
    kb_kernel b = kb_begin(plan->arena, "window", "");
    int px = kb_param(&b, "x", IR_F32, false), po = kb_param(&b, "o", IR_F32, false);
    int py = kb_param(&b, "y", IR_F32, true);
    int c = kb_parallel(&b, "c", C, 2), ly = kb_loop(&b, "y", gradient ? KH : H, 1);
    int lx = gradient ? -1 : kb_loop(&b, "x", W, STEP_X);
    ir_stmt s = {.op = gradient ? IR_TILE_window_dw : IR_TILE_window, .loop = -1};
    s.rows = gradient ? IR_FIXED(KW) : IR_STEP_OF(lx);
    s.cols = IR_STEP_OF(c);
    for (int i = 0; i < 3; i++)
        s.operand[i] = IR_NO_STMT;
    s.access.table = -1;
    ir_window *w = window_geometry(plan, px, po, ly, lx, c);
    w->flip = flip;
    s.window = w;
    int value = kb_stmt(&b, s);
    ir_affine at = kb_plus(kb_plus(kb_affine(0), ly, gradient ? KW * C : W * C), c, 1);
    kb_store(&b, kb_access(py, kb_plus(at, lx, C), C, 1), value);
    while (b.depth)
        kb_end(&b);
    add_call(plan, add_region(plan, false, 2), add_kernel(plan, kb_finish(&b)), io);
    run_plan(plan, (void *[]){x, other, y}, NULL);
    ir_plan_free(plan);
}

static double pixel(const float *x, int y, int xx, int c) {
    return y < 0 || y >= H || xx < 0 || xx >= W ? 0 : x[(y * W + xx) * C + c];
}

static void test_window(void **state) {
    (void)state;
    float *x = numbers(H * W * C, 4), *w = numbers(KH * KW * C, 5);
    float y[2][H * W * C];
    run_window(false, false, x, w, y[0]);
    run_window(false, true, x, w, y[1]);
    for (int flip = 0; flip < 2; flip++)
        for (int i = 0; i < H * W * C; i++) {
            int c = i % C, col = i / C % W, line = i / C / W;
            double sum = 0;
            for (int ky = 0; ky < KH; ky++)
                for (int kx = 0; kx < KW; kx++) {
                    int tap = flip ? (KH - 1 - ky) * KW + KW - 1 - kx : ky * KW + kx;
                    sum += pixel(x, line + ky - KH / 2, col + kx - KW / 2, c) * w[tap * C + c];
                }
            assert_near(y[flip][i], sum, 1e-6);
        }
    free(x);
    free(w);
}

static void test_window_dw(void **state) {
    (void)state;
    float *x = numbers(H * W * C, 6), *dy = numbers(H * W * C, 7), dw[KH * KW * C];
    run_window(true, false, x, dy, dw);
    for (int i = 0; i < KH * KW * C; i++) {
        int c = i % C, kx = i / C % KW, ky = i / C / KW;
        double sum = 0;
        for (int line = 0; line < H; line++)
            for (int col = 0; col < W; col++)
                sum += pixel(dy, line, col, c) * pixel(x, line + ky - KH / 2, col + kx - KW / 2, c);
        assert_near(dw[i], sum, 1e-6);
    }
    free(x);
    free(dy);
}

/* --- guards, tables, numbers, folds --- */

/* y[r] = x[r - 2] where that exists; z[r] = x[3 t[r]]; both element by element. */
static void test_guard_and_table(void **state) {
    (void)state;
    enum { R = 6 };
    ir_plan *plan = plan_of("places");
    int32_t io[4] = {add_buffer(plan, "x", IR_F32, IR_BUFFER_INPUT, 3 * R),
                     add_buffer(plan, "t", IR_I32, IR_BUFFER_INPUT, R),
                     add_buffer(plan, "y", IR_F32, IR_BUFFER_OUTPUT, R),
                     add_buffer(plan, "z", IR_F32, IR_BUFFER_OUTPUT, R)};
    kb_kernel b = kb_begin(plan->arena, "places", "");
    int x = kb_param(&b, "x", IR_F32, false), t = kb_param(&b, "t", IR_I32, false);
    int y = kb_param(&b, "y", IR_F32, true), z = kb_param(&b, "z", IR_F32, true);
    int r = kb_loop(&b, "r", R, 1);
    ir_affine here = kb_plus(kb_affine(0), r, 1), back = kb_plus(kb_affine(-2), r, 1);
    ir_access a = kb_access(x, back, 0, 0);
    kb_guard(&a, back, R);
    kb_store(&b, kb_access(y, here, 0, 0), kb_load(&b, a, IR_FIXED(1), IR_FIXED(1)));
    ir_access indirect = kb_access(x, kb_affine(0), 0, 0);
    indirect.table = t;
    indirect.table_at = here;
    indirect.table_wrap = 4;
    indirect.table_line = 12;
    indirect.table_scale = 3;
    ir_access out = kb_access(z, here, 0, 0);
    kb_guard(&out, kb_plus(kb_affine(0), r, 1), R - 1); /* the last one is not written */
    kb_store(&b, out, kb_load(&b, indirect, IR_FIXED(1), IR_FIXED(1)));
    kb_end(&b);
    add_call(plan, add_region(plan, false, 1), add_kernel(plan, kb_finish(&b)), io);
    float in[3 * R], found[R], picked[R] = {0};
    int32_t table[R] = {5, 0, 3, 1, 4, 2};
    for (int i = 0; i < 3 * R; i++)
        in[i] = (float)i + 1;
    run_plan(plan, (void *[]){in, table, found, picked}, NULL);
    for (int i = 0; i < R; i++) {
        assert_true(found[i] == (i < 2 ? 0 : in[i - 2]));
        assert_true(picked[i] == (i == R - 1 ? 0 : in[3 * table[i]]));
    }
    ir_plan_free(plan);
}

/* One-hot of an i64 label by iota; a Philox number; learning rate and step. */
static void test_numbers(void **state) {
    (void)state;
    enum { CLASSES = 5 };
    ir_plan *plan = plan_of("numbers");
    int32_t io[7] = {add_buffer(plan, "label", IR_I64, IR_BUFFER_INPUT, 2),
                     add_buffer(plan, "scalars", IR_F32, IR_BUFFER_SCALARS, 6),
                     0,
                     add_buffer(plan, "hot", IR_F32, IR_BUFFER_OUTPUT, 2 * CLASSES),
                     add_buffer(plan, "u", IR_F32, IR_BUFFER_OUTPUT, 2 * CLASSES),
                     add_buffer(plan, "rate", IR_F32, IR_BUFFER_OUTPUT, 1),
                     0};
    io[2] = io[6] = io[1];
    kb_kernel b = kb_begin(plan->arena, "numbers", "");
    int label = kb_param(&b, "label", IR_I64, false), lr = kb_param(&b, "lr", IR_F32, false);
    int step = kb_param(&b, "step", IR_I64, false), hot = kb_param(&b, "hot", IR_F32, true);
    int u = kb_param(&b, "u", IR_F32, true), rate = kb_param(&b, "rate", IR_F32, true);
    int all = kb_param(&b, "scalars", IR_I64, false);
    int n = kb_parallel(&b, "n", 2, 1);
    ir_affine row = kb_plus(kb_affine(0), n, CLASSES);
    ir_stmt iota = {.op = IR_TILE_iota, .rows = IR_FIXED(1), .cols = IR_FIXED(CLASSES), .loop = -1};
    for (int i = 0; i < 3; i++)
        iota.operand[i] = IR_NO_STMT;
    iota.access = kb_access(-1, kb_affine(0), 0, 1);
    ir_stmt uniform = iota;
    uniform.op = IR_TILE_uniform;
    uniform.access = kb_access(all, kb_affine(100), 0, 1);
    uniform.sample = kb_plus(kb_affine(0), n, 1);
    uniform.stream = 3;
    int l =
        kb_load(&b, kb_access(label, kb_plus(kb_affine(0), n, 1), 0, 0), IR_FIXED(1), IR_FIXED(1));
    int hit = kb_map2(&b, IR_TILE_equal, l, kb_stmt(&b, iota));
    int one = kb_constant(&b, 0.9), none = kb_constant(&b, 0.025);
    kb_store(&b, kb_access(hot, row, 0, 1), kb_map3(&b, IR_TILE_select, hit, one, none));
    kb_store(&b, kb_access(u, row, 0, 1), kb_stmt(&b, uniform));
    int a = kb_load(&b, kb_access(lr, kb_affine(0), 0, 0), IR_FIXED(1), IR_FIXED(1));
    int s = kb_load(&b, kb_access(step, kb_affine(0), 0, 0), IR_FIXED(1), IR_FIXED(1));
    int c = kb_map2(&b, IR_TILE_one_minus_pow, kb_constant(&b, 0.5), s);
    kb_store(&b, kb_access(rate, kb_affine(0), 0, 0), kb_map2(&b, IR_TILE_mul, a, c));
    kb_end(&b);
    ir_region *region = add_region(plan, false, 2);
    add_call(plan, region, add_kernel(plan, kb_finish(&b)), io);
    region->calls[0].arguments[2].offset = 8;
    int64_t labels[2] = {4, 1};
    float found[2 * CLASSES], draws[2 * CLASSES], rates[1];
    run_plan(plan, (void *[]){labels, found, draws, rates}, NULL);
    for (int i = 0; i < 2 * CLASSES; i++) {
        assert_true(found[i] == (labels[i / CLASSES] == i % CLASSES ? 0.9f : 0.025f));
        uint32_t key[2] = {0x56789abc, 0x1234}, word[4];
        uint32_t counter[4] = {100 + (uint32_t)(i % CLASSES), (uint32_t)(i / CLASSES), 3, 7};
        ir_philox(key, counter, word);
        assert_true(draws[i] == (float)(word[0] >> 8) * 0x1p-24f);
    }
    assert_near(rates[0], 0.25 * (1 - pow(0.5, 7)), 1e-7);
    ir_plan_free(plan);
}

/* Softmax of rows: folds over columns, broadcasting both ways. */
static void test_folds(void **state) {
    (void)state;
    enum { R = 5, COLS = 4 };
    ir_plan *plan = plan_of("softmax");
    int32_t io[3] = {add_buffer(plan, "x", IR_F32, IR_BUFFER_INPUT, R * COLS),
                     add_buffer(plan, "y", IR_F32, IR_BUFFER_OUTPUT, R * COLS),
                     add_buffer(plan, "m", IR_F32, IR_BUFFER_OUTPUT, COLS)};
    kb_kernel b = kb_begin(plan->arena, "softmax", "");
    int x = kb_param(&b, "x", IR_F32, false), y = kb_param(&b, "y", IR_F32, true);
    int m = kb_param(&b, "m", IR_F32, true);
    int low = kb_constant(&b, -1e30), r = kb_loop(&b, "r", R, 2);
    int carry = kb_carry(&b, low, IR_FIXED(1), IR_FIXED(COLS));
    ir_access at = kb_access(x, kb_plus(kb_affine(0), r, COLS), COLS, 1);
    int v = kb_load(&b, at, IR_STEP_OF(r), IR_FIXED(COLS));
    int e = kb_map1(&b, IR_TILE_exp, kb_map2(&b, IR_TILE_sub, v, kb_fold(&b, IR_TILE_max_cols, v)));
    at.param = y;
    kb_store(&b, at, kb_map2(&b, IR_TILE_div, e, kb_fold(&b, IR_TILE_sum_cols, e)));
    kb_yield(&b, carry, kb_map2(&b, IR_TILE_max, carry, kb_fold(&b, IR_TILE_max_rows, v)));
    kb_end(&b);
    kb_store(&b, kb_access(m, kb_affine(0), 0, 1), carry);
    add_call(plan, add_region(plan, false, 1), add_kernel(plan, kb_finish(&b)), io);
    float *in = numbers(R * COLS, 8), out[R * COLS], most[COLS];
    run_plan(plan, (void *[]){in, out, most}, NULL);
    for (int i = 0; i < R; i++) {
        double sum = 0;
        for (int j = 0; j < COLS; j++)
            sum += exp(in[i * COLS + j]);
        for (int j = 0; j < COLS; j++)
            assert_near(out[i * COLS + j], exp(in[i * COLS + j]) / sum, 1e-6);
    }
    for (int j = 0; j < COLS; j++) {
        float best = in[j];
        for (int i = 1; i < R; i++)
            best = in[i * COLS + j] > best ? in[i * COLS + j] : best;
        assert_true(most[j] == best);
    }
    free(in);
    ir_plan_free(plan);
}

/* --- depth first with a private slice, and weights copied by init --- */

static ir_kernel scale_kernel(ir_arena *arena, const char *name, int64_t samples, int64_t size,
                              bool with_weight) {
    kb_kernel b = kb_begin(arena, name, "");
    int x = kb_param(&b, "x", IR_F32, false), y = kb_param(&b, "y", IR_F32, true);
    int w = with_weight ? kb_param(&b, "w", IR_F32, false) : -1;
    int n = kb_parallel(&b, "n", samples, 1), j = kb_parallel(&b, "j", size, 3);
    ir_access at = kb_access(x, kb_plus(kb_plus(kb_affine(0), n, size), j, 1), 0, 1);
    int v = kb_load(&b, at, IR_FIXED(1), IR_STEP_OF(j));
    int factor = with_weight ? kb_load(&b, kb_access(w, kb_plus(kb_affine(0), j, 1), 0, 1),
                                       IR_FIXED(1), IR_STEP_OF(j))
                             : kb_constant(&b, 2);
    at.param = y;
    kb_store(&b, at, kb_map2(&b, IR_TILE_mul, v, factor));
    kb_end(&b);
    kb_end(&b);
    return kb_finish(&b);
}

static void test_private_and_init(void **state) {
    (void)state;
    enum { SAMPLES = 4, SIZE = 8 };
    ir_plan *plan = plan_of("depth");
    plan->workers = 3;
    plan->weights_elements = SIZE;
    int32_t x = add_buffer(plan, "x", IR_F32, IR_BUFFER_INPUT, SAMPLES * SIZE);
    int32_t y = add_buffer(plan, "y", IR_F32, IR_BUFFER_OUTPUT, SAMPLES * SIZE);
    int32_t raw = add_buffer(plan, "w", IR_F32, IR_BUFFER_WEIGHTS, SIZE);
    int32_t kept = add_buffer(plan, "kept", IR_F32, IR_BUFFER_STATE, SIZE);
    int32_t h = add_buffer(plan, "h", IR_F32, IR_BUFFER_PRIVATE, SIZE);
    int32_t copy = add_kernel(plan, scale_kernel(plan->arena, "copy", 1, SIZE, false));
    int32_t first = add_kernel(plan, scale_kernel(plan->arena, "twice", SAMPLES, SIZE, false));
    int32_t second = add_kernel(plan, scale_kernel(plan->arena, "by_w", SAMPLES, SIZE, true));
    add_call(plan, add_region(plan, true, 3), copy, (int32_t[]){raw, kept});
    ir_region *region = add_region(plan, false, SAMPLES);
    add_call(plan, region, first, (int32_t[]){x, h});
    add_call(plan, region, second, (int32_t[]){h, y, kept});
    float *in = numbers(SAMPLES * SIZE, 9), *w = numbers(SIZE, 10), out[SAMPLES * SIZE];
    run_plan(plan, (void *[]){in, out}, w);
    for (int i = 0; i < SAMPLES * SIZE; i++)
        assert_near(out[i], 4.0 * in[i] * w[i % SIZE], 1e-6);
    /* Two samples per task do not fit into a slice of one. */
    region->tasks = 2;
    expect_abort(plan, "of buffer #4 (h), which has 32");
    free(in);
    free(w);
    ir_plan_free(plan);
}

static void test_table(void **state) {
    (void)state;
    for (int op = 0; op < IR_TILE_COUNT; op++) {
        const ir_tile_info *info = ir_tile_get((ir_tile_op)op);
        assert_true(info->name[0] && info->doc[0]);
        assert_in_range(info->operands, info->kind == IR_TILE_MAP ? 1 : 0, 3);
    }
    assert_string_equal(ir_tile_get(IR_TILE_window_dw)->name, "window_dw");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),           cmocka_unit_test(test_linear),
        cmocka_unit_test(test_print),           cmocka_unit_test(test_identity),
        cmocka_unit_test(test_verify),          cmocka_unit_test(test_verify_memory),
        cmocka_unit_test(test_window),          cmocka_unit_test(test_window_dw),
        cmocka_unit_test(test_guard_and_table), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_folds),           cmocka_unit_test(test_private_and_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
