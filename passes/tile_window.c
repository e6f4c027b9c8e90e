/* Depthwise windows: forward, data gradient (the same with taps reversed) and weight gradient.
 *
 * Weights are packed tap-major, (kh kw, C), so that the channels of a tap are contiguous. A tile is
 * a run of pixels of one line times a vector of channels; its taps slide over the line's pixels.
 *
 *     parallel n, [parallel] y, loop c, loop x { acc = window; epilogue; stores }
 *     parallel n, parallel c, loop y, loop x   { the same, with column sums carried }
 *     parallel n, parallel c, parallel ky      { taps of a line; store into partial[n] }
 */
#include "lowering.h"

enum { FORM_TAPS = 16, MAX_PIXELS = 14, ENOUGH_WINDOW_TASKS = 8 };

typedef struct window_shape {
    ir_type image; /* (N,H,W,C) */
    int64_t n, h, w, c;
    int64_t kh, kw;
} window_shape;

static window_shape shape_of(ir_type image, int64_t kh, int64_t kw) {
    return (window_shape){.image = image,
                          .n = image.dim[0],
                          .h = image.dim[1],
                          .w = image.dim[2],
                          .c = image.dim[3],
                          .kh = kh,
                          .kw = kw};
}

int32_t low_packed_taps(low_state *low, ir_value w) {
    int32_t root = low_root(low, w);
    ir_type type_of_w = ir_type_of(low->graph, w); /* (C,1,kh,kw) */
    int64_t channels = type_of_w.dim[0];
    int64_t taps = type_of_w.dim[2] * type_of_w.dim[3];
    int32_t *known = low_find_pack(low, (low_pack){.value = root,
                                                   .form = FORM_TAPS,
                                                   .scale = -1,
                                                   .groups = 1,
                                                   .k = taps,
                                                   .cols = channels});
    if (*known >= 0) return *known;
    bool fixed = low->fixed[root], keep = fixed && low->graph->kind == IR_KIND_INFER;
    ir_type type = ir_type_make(IR_F32, 2, (int64_t[]){taps, channels});
    int32_t buffer = low_new_buffer(low, "taps", IR_F32, type, taps * channels,
                                    keep ? IR_BUFFER_STATE : IR_BUFFER_ARENA);
    *known = buffer;
    low_context ctx = low_begin(low, NULL, "pack_taps");
    ctx.section = fixed ? LOW_PROLOGUE : LOW_MAIN;
    kb_kernel *k = &ctx.k;
    int t = kb_loop(k, "t", taps, 1), c = kb_loop(k, "c", channels, channels < 8 ? channels : 8);
    int src = low_param(&ctx, w, false, false);
    int dst = low_buffer_param(&ctx, "taps", buffer, true, false);
    ir_affine from = kb_plus(kb_plus(kb_affine(0), t, 1), c, taps);
    ir_affine to = kb_plus(kb_plus(kb_affine(0), t, channels), c, 1);
    int tile = kb_load(k, kb_access(src, from, 0, taps), IR_FIXED(1), IR_STEP_OF(c));
    kb_store(k, kb_access(dst, to, 0, 1), tile);
    while (k->depth)
        kb_end(k);
    low_finish(&ctx);
    return buffer;
}

/* Pixels of a tile: as many as the registers hold beside one line of taps, dividing the width. */
static int64_t tile_pixels(const ir_machine *m, const window_shape *s) {
    int64_t most = m->registers - s->kw - 1;
    if (most > MAX_PIXELS) most = MAX_PIXELS;
    if (most < 1) most = 1;
    int64_t even = kb_divisor(s->w, most);
    return even * 2 > most || s->w <= most ? even : most;
}

static int window_stmt(low_context *ctx, const window_shape *s, int image, int taps, int y, int x,
                       bool flip) {
    ir_window *win = ir_arena_alloc(ctx->low->plan->arena, sizeof *win);
    ir_affine channel = kb_plus(kb_affine(0), ctx->index[3].term[0].loop, 1);
    ir_affine at = kb_add(kb_plus(kb_affine(0), ctx->sample_loop, s->h * s->w * s->c), channel);
    win->image = kb_access(image, at, s->c, 1);
    win->line_stride = s->w * s->c;
    win->weight = kb_access(taps, channel, s->c, 1);
    win->tap_line = s->kw * s->c;
    win->other = kb_access(-1, kb_affine(0), 0, 0);
    win->kernel_h = (int32_t)s->kh;
    win->kernel_w = (int32_t)s->kw;
    win->height = s->h;
    win->width = s->w;
    win->loop_y = y;
    win->loop_x = x;
    win->flip = flip;
    ir_stmt stmt = {
        .op = IR_TILE_window, .rows = ctx->rows, .cols = ctx->cols, .loop = -1, .window = win};
    stmt.access = win->other;
    for (int i = 0; i < 3; i++)
        stmt.operand[i] = IR_NO_STMT;
    return kb_stmt(&ctx->k, stmt);
}

static int open_pixels(low_context *ctx, const window_shape *s) {
    int x = kb_loop(&ctx->k, "x", s->w, tile_pixels(ctx->low->machine, s));
    ctx->k.kernel.loops[x].halo = s->kw / 2;
    ctx->index[2] = kb_plus(kb_affine(0), x, 1);
    ctx->row_group = 2;
    ctx->rows = IR_STEP_OF(x);
    return x;
}

static void open_channels(low_context *ctx, const window_shape *s, bool parallel) {
    int64_t step = ctx->low->machine->lanes < s->c ? ctx->low->machine->lanes : s->c;
    int c = parallel ? kb_parallel(&ctx->k, "c", s->c, step) : kb_loop(&ctx->k, "c", s->c, step);
    ctx->index[3] = kb_plus(kb_affine(0), c, 1);
    ctx->col_group = 3;
    ctx->cols = IR_STEP_OF(c);
}

static int open_lines(low_context *ctx, const window_shape *s, bool parallel) {
    int y = parallel ? kb_parallel(&ctx->k, "y", s->h, 1) : kb_loop(&ctx->k, "y", s->h, 1);
    ctx->index[1] = kb_plus(kb_affine(0), y, 1);
    return y;
}

static void emit_plain(low_context *ctx, const window_shape *s, int image, int taps, bool flip) {
    int y = open_lines(ctx, s, ctx->k.kernel.tasks < ENOUGH_WINDOW_TASKS);
    open_channels(ctx, s, false);
    int x = open_pixels(ctx, s);
    low_bind(ctx, ctx->cluster->anchor, window_stmt(ctx, s, image, taps, y, x, flip));
    low_store_members(ctx);
}

static void emit_with_sums(low_context *ctx, const window_shape *s, int image, int taps,
                           bool flip) {
    open_channels(ctx, s, true);
    kb_kernel *k = &ctx->k;
    low_sums outer = low_sums_find(ctx), inner = outer;
    low_sums_start(ctx, &outer);
    int y = open_lines(ctx, s, false);
    low_sums_begin(ctx, &outer, ctx->cols);
    int x = open_pixels(ctx, s);
    for (int i = 0; i < inner.count; i++)
        inner.carry[i] = kb_carry(k, outer.carry[i], IR_FIXED(1), ctx->cols);
    low_bind(ctx, ctx->cluster->anchor, window_stmt(ctx, s, image, taps, y, x, flip));
    low_store_members(ctx);
    low_sums_add(ctx, &inner);
    kb_end(k);
    for (int i = 0; i < outer.count; i++)
        kb_yield(k, outer.carry[i], inner.carry[i]);
    kb_end(k);
    low_forget(ctx);
    low_sums_store(ctx, &outer);
}

static void emit_window(low_state *low, const low_cluster *cluster, bool flip) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type w = ir_type_of(low->graph, node->operand[1]);
    window_shape s = shape_of(node->type, w.dim[2], w.dim[3]);
    int32_t taps_buffer = low_packed_taps(low, node->operand[1]);
    low_context ctx = low_begin(low, cluster, ir_op_get(node->op)->name);
    low_set_groups(&ctx, node->type, 4, (int[]){0, 1, 2, 3});
    low_open_samples(&ctx, 0);
    int image = low_param(&ctx, node->operand[0], false, false);
    int taps = low_buffer_param(&ctx, "taps", taps_buffer, false, false);
    if (low_sums_find(&ctx).count)
        emit_with_sums(&ctx, &s, image, taps, flip);
    else
        emit_plain(&ctx, &s, image, taps, flip);
    while (ctx.k.depth)
        kb_end(&ctx.k);
    ctx.k.kernel.macs = ir_node_cost(low->graph, (ir_value){(uint32_t)cluster->anchor}).macs;
    low_finish(&ctx);
}

void pass_tile_window(low_state *low, const low_cluster *cluster) {
    emit_window(low, cluster, false);
}

void pass_tile_window_dx(low_state *low, const low_cluster *cluster) {
    emit_window(low, cluster, true);
}

void pass_tile_window_dw(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type image = ir_type_of(low->graph, node->operand[1]);
    window_shape s = shape_of(image, node->type.dim[2], node->type.dim[3]);
    int64_t taps = s.kh * s.kw, elements = s.c * taps;
    ir_type type = ir_type_make(IR_F32, 2, (int64_t[]){s.n, elements});
    int32_t partial = low_new_buffer(low, "partial", IR_F32, type, s.n * elements, IR_BUFFER_ARENA);
    low_context ctx = low_begin(low, cluster, "window_dw");
    kb_kernel *k = &ctx.k;
    low_set_groups(&ctx, image, 4, (int[]){0, 1, 2, 3});
    low_open_samples(&ctx, 0);
    open_channels(&ctx, &s, true);
    int ky = kb_parallel(k, "ky", s.kh, 1);
    int dy = low_param(&ctx, node->operand[0], false, false);
    int x = low_param(&ctx, node->operand[1], false, false);
    int out = low_buffer_param(&ctx, "partial", partial, true, true);
    ctx.rows = IR_FIXED(s.kw);
    int acc = window_stmt(&ctx, &s, x, -1, ky, -1, false);
    ir_window *win = (ir_window *)k->kernel.stmts[acc].window;
    k->kernel.stmts[acc].op = IR_TILE_window_dw;
    win->other = win->image;
    win->other.param = dy;
    win->other_line = win->line_stride;
    int c = ctx.index[3].term[0].loop;
    ir_affine at = kb_plus(kb_plus(kb_affine(0), ctx.sample_loop, elements), c, taps);
    at = kb_plus(at, ky, s.kw);
    kb_store(k, kb_access(out, at, 1, taps), acc);
    while (k->depth)
        kb_end(k);
    k->kernel.macs = ir_node_cost(low->graph, (ir_value){(uint32_t)cluster->anchor}).macs;
    low_finish(&ctx);
    low_sum_partials(low, partial, cluster->anchor);
}
