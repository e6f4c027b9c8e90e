/* Depthwise windows: a run of pixels of one line (or the taps of one kernel line) times channels.
 *
 * Every image vector is loaded once per line of taps and meets all taps it belongs to while it is
 * in a register. Pixels outside the image are known statically where the loop over x is constant
 * (edge steps are peeled); lines outside it bound the loop over ky.
 */
#include "cg_emit.h"

/* Pointer to pixel (0,0) plus what is constant, and the channel vector. */
typedef struct image {
    int32_t param;
    LLVMValueRef base;
    int64_t constant, pixel, line;
} image;

static image image_of(cg_emit *e, const ir_access *a, int64_t line) {
    int64_t constant = a->at.base;
    for (int i = 0; i < a->at.count; i++)
        constant += a->at.term[i].factor * e->loops[a->at.term[i].loop].add;
    return (image){a->param, cg_pointer(e, a), constant, a->row_stride, line};
}

static LLVMValueRef step_pointer(cg_emit *e, LLVMValueRef base, LLVMValueRef index,
                                 int64_t factor) {
    LLVMValueRef offset = cg_offset(e->m, NULL, index, factor);
    return LLVMBuildGEP2(e->m->builder, e->m->f32, base, &offset, 1, "");
}

static LLVMValueRef larger(cg_emit *e, LLVMValueRef a, LLVMValueRef b, bool want_larger) {
    LLVMIntPredicate test = want_larger ? LLVMIntSGT : LLVMIntSLT;
    LLVMBuilderRef builder = e->m->builder;
    return LLVMBuildSelect(builder, LLVMBuildICmp(builder, test, a, b, ""), a, b, "");
}

static LLVMValueRef loop_value(cg_emit *e, int32_t loop) {
    const cg_loop *l = &e->loops[loop];
    if (!l->dynamic) return cg_int(e->m, l->add);
    return LLVMBuildAdd(e->m->builder, l->dynamic, cg_int(e->m, l->add), "");
}

/* First and last + 1 of the lines t for which 0 <= line + t - pad < height, 0 <= t < count. */
typedef struct bounds {
    LLVMValueRef first, last;
} bounds;
static bounds line_bounds(cg_emit *e, LLVMValueRef line, int64_t pad, int64_t height,
                          int64_t count) {
    LLVMBuilderRef b = e->m->builder;
    LLVMValueRef low = LLVMBuildSub(b, cg_int(e->m, pad), line, "");
    LLVMValueRef high = LLVMBuildSub(b, cg_int(e->m, height + pad), line, "");
    return (bounds){larger(e, low, cg_int(e->m, 0), true),
                    larger(e, high, cg_int(e->m, count), false)};
}

typedef struct window_line {
    const ir_window *w;
    image in;
    LLVMValueRef in_line, tap_line; /* pointers to this line's pixel x = 0 and tap kx = 0 */
    int64_t pixels, first, width;   /* of the tile; first column and width of the vector */
} window_line;

/* Adds one line of taps to the accumulators of the tile's pixels. */
static void add_line(cg_emit *e, const window_line *l, LLVMValueRef *acc) {
    const ir_window *w = l->w;
    LLVMValueRef *tap = ir_arena_alloc(e->arena, (size_t)w->kernel_w * sizeof *tap);
    int64_t pad = w->kernel_w / 2;
    const cg_loop *x = &e->loops[w->loop_x];
    for (int64_t k = 0; k < w->kernel_w; k++) {
        int64_t kx = w->flip ? w->kernel_w - 1 - k : k;
        tap[k] = cg_load_vector(e, w->weight.param, l->tap_line,
                                kx * w->weight.row_stride + l->first, l->width, 1);
    }
    for (int64_t p = -pad; p < l->pixels + pad; p++) {
        bool outside = !x->dynamic && (x->add + p < 0 || x->add + p >= w->width);
        if (outside && !w->haloed) continue;
        LLVMValueRef in = cg_load_vector(e, l->in.param, l->in_line,
                                         (x->add + p) * l->in.pixel + l->first, l->width, 1);
        for (int64_t k = 0; k < w->kernel_w; k++) {
            int64_t at = p - (k - pad);
            if (at >= 0 && at < l->pixels) acc[at] = cg_fma(e->m, in, tap[k], acc[at]);
        }
    }
}

void cg_emit_window(cg_emit *e, int32_t id) {
    const ir_stmt *s = &e->k->stmts[id];
    const ir_window *w = s->window;
    int64_t rows = cg_extent(e, s->rows), cols = cg_extent(e, s->cols);
    int64_t pad_h = w->kernel_h / 2;
    cg_cut cut = cg_cut_columns(e, cols);
    const cg_loop *x = &e->loops[w->loop_x];
    LLVMValueRef y = loop_value(e, w->loop_y);
    bounds ky = {cg_int(e->m, 0), cg_int(e->m, w->kernel_h)};
    if (!w->haloed) ky = line_bounds(e, y, pad_h, w->height, w->kernel_h);
    image in = image_of(e, &w->image, w->line_stride);
    image taps = image_of(e, &w->weight, w->tap_line);
    if (x->dynamic) in.base = step_pointer(e, in.base, x->dynamic, in.pixel);
    for (int v = 0; v < cut.count; v++) {
        LLVMValueRef *acc = ir_arena_alloc(e->arena, (size_t)rows * sizeof *acc);
        for (int64_t r = 0; r < rows; r++)
            acc[r] = s->operand[0] == IR_NO_STMT ? cg_number(e->m, 0, cut.width[v])
                                                 : cg_operand(e, s->operand[0], r, cols, v);
        cg_range range = cg_range_begin(e, ky.first, acc, (int)rows);
        LLVMBuilderRef b = e->m->builder;
        LLVMValueRef line = LLVMBuildAdd(b, y, range.index, "");
        line = LLVMBuildSub(b, line, cg_int(e->m, pad_h), "");
        LLVMValueRef tap = range.index;
        if (w->flip) tap = LLVMBuildSub(b, cg_int(e->m, w->kernel_h - 1), tap, "");
        window_line l = {.w = w, .in = in, .pixels = rows, .width = cut.width[v]};
        l.first = cut.first[v];
        l.in_line = step_pointer(e, in.base, line, in.line);
        l.in_line = cg_element_at(e, in.param, l.in_line, in.constant);
        l.tap_line = step_pointer(e, taps.base, tap, taps.line);
        l.tap_line = cg_element_at(e, taps.param, l.tap_line, taps.constant);
        add_line(e, &l, acc);
        cg_range_end(e, &range, 1, ky.last, acc);
        for (int64_t r = 0; r < rows; r++)
            cg_set(e, id, r, v, acc[r]);
    }
}

/* ---- weight gradient ---- */

enum { BLOCK_PIXELS = 7 };

typedef struct grad_line {
    const ir_window *w;
    image x, dy;
    LLVMValueRef x_line, dy_line; /* pointers to pixel 0 of the lines */
    int64_t first, width;
} grad_line;

/* Pixels [at, at + count) of a line; `dynamic` adds to at, and then all taps are inside. */
static void add_pixels(cg_emit *e, const grad_line *l, LLVMValueRef dynamic, int64_t at,
                       int64_t count, LLVMValueRef *acc) {
    const ir_window *w = l->w;
    int64_t pad = w->kernel_w / 2;
    LLVMValueRef x = l->x_line, dy = l->dy_line;
    LLVMValueRef *in = ir_arena_alloc(e->arena, (size_t)(count + w->kernel_w) * sizeof *in);
    if (dynamic) {
        x = step_pointer(e, x, dynamic, l->x.pixel);
        dy = step_pointer(e, dy, dynamic, l->dy.pixel);
    }
    for (int64_t p = 0; p < count; p++) {
        LLVMValueRef d =
            cg_load_vector(e, l->dy.param, dy, (at + p) * l->dy.pixel + l->first, l->width, 1);
        for (int64_t k = 0; k < w->kernel_w; k++) {
            int64_t pixel = at + p + k - pad;
            if (!dynamic && !w->haloed && (pixel < 0 || pixel >= w->width)) continue;
            LLVMValueRef *v = &in[p + k];
            if (!*v)
                *v = cg_load_vector(e, l->x.param, x, pixel * l->x.pixel + l->first, l->width, 1);
            acc[k] = cg_fma(e->m, d, *v, acc[k]);
        }
    }
}

static void add_gradient_line(cg_emit *e, const grad_line *l, LLVMValueRef *acc) {
    int64_t width = l->w->width, pad = l->w->kernel_w / 2, at = 0;
    int64_t taps = l->w->kernel_w, edge = pad < width ? pad : width;
    if (width <= 2 * pad + 2 * BLOCK_PIXELS) {
        for (; at < width; at += BLOCK_PIXELS)
            add_pixels(e, l, NULL, at, width - at < BLOCK_PIXELS ? width - at : BLOCK_PIXELS, acc);
        return;
    }
    for (; at < edge; at += BLOCK_PIXELS)
        add_pixels(e, l, NULL, at, edge - at < BLOCK_PIXELS ? edge - at : BLOCK_PIXELS, acc);
    int64_t blocks = (width - 2 * edge) / BLOCK_PIXELS, last = edge + blocks * BLOCK_PIXELS;
    cg_range range = cg_range_begin(e, cg_int(e->m, edge), acc, (int)taps);
    add_pixels(e, l, range.index, 0, BLOCK_PIXELS, acc);
    cg_range_end(e, &range, BLOCK_PIXELS, cg_int(e->m, last), acc);
    for (at = last; at < width; at += BLOCK_PIXELS)
        add_pixels(e, l, NULL, at, width - at < BLOCK_PIXELS ? width - at : BLOCK_PIXELS, acc);
}

void cg_emit_window_dw(cg_emit *e, int32_t id) {
    const ir_stmt *s = &e->k->stmts[id];
    const ir_window *w = s->window;
    int64_t cols = cg_extent(e, s->cols), taps = w->kernel_w, pad_h = w->kernel_h / 2;
    cg_cut cut = cg_cut_columns(e, cols);
    LLVMBuilderRef b = e->m->builder;
    LLVMValueRef ky = loop_value(e, w->loop_y);
    LLVMValueRef shift = LLVMBuildSub(b, ky, cg_int(e->m, pad_h), "");
    image x = image_of(e, &w->image, w->line_stride), dy = image_of(e, &w->other, w->other_line);
    LLVMValueRef zero = cg_int(e->m, 0), height = cg_int(e->m, w->height);
    LLVMValueRef first = zero, last = height;
    if (!w->haloed) {
        first = larger(e, LLVMBuildSub(b, zero, shift, ""), zero, true);
        last = larger(e, LLVMBuildSub(b, height, shift, ""), height, false);
    }
    LLVMBasicBlockRef from = LLVMGetInsertBlock(b);
    LLVMBasicBlockRef some = LLVMAppendBasicBlockInContext(e->m->context, e->function, "");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->m->context, e->function, "");
    LLVMValueRef *start = ir_arena_alloc(e->arena, (size_t)(taps * cut.count) * sizeof *start);
    LLVMValueRef *sum = ir_arena_alloc(e->arena, (size_t)(taps * cut.count) * sizeof *sum);
    for (int i = 0; i < (int)taps * cut.count; i++)
        sum[i] = start[i] = s->operand[0] == IR_NO_STMT
                                ? cg_number(e->m, 0, cut.width[i / taps])
                                : cg_operand(e, s->operand[0], i % taps, cols, (int)(i / taps));
    from = LLVMGetInsertBlock(b);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, first, last, ""), some, after);
    LLVMPositionBuilderAtEnd(b, some);
    for (int v = 0; v < cut.count; v++) {
        LLVMValueRef *acc = sum + v * taps;
        cg_range lines = cg_range_begin(e, first, acc, (int)taps);
        LLVMValueRef line = LLVMBuildAdd(b, lines.index, shift, "");
        grad_line l = {.w = w, .x = x, .dy = dy, .width = cut.width[v]};
        l.first = cut.first[v];
        l.x_line = step_pointer(e, x.base, line, x.line);
        l.x_line = cg_element_at(e, x.param, l.x_line, x.constant);
        l.dy_line = step_pointer(e, dy.base, lines.index, dy.line);
        l.dy_line = cg_element_at(e, dy.param, l.dy_line, dy.constant);
        add_gradient_line(e, &l, acc);
        cg_range_end(e, &lines, 1, last, acc);
    }
    LLVMBasicBlockRef done = LLVMGetInsertBlock(b);
    LLVMBuildBr(b, after);
    LLVMPositionBuilderAtEnd(b, after);
    for (int i = 0; i < (int)taps * cut.count; i++) {
        LLVMValueRef phi = LLVMBuildPhi(b, LLVMTypeOf(sum[i]), "");
        LLVMAddIncoming(phi, (LLVMValueRef[]){start[i], sum[i]}, (LLVMBasicBlockRef[]){from, done},
                        2);
        cg_set(e, id, i % taps, (int)(i / taps), phi);
    }
}
