/* Moves: permute, unfold and fold; and random numbers. */
#include "lowering.h"

enum { MOVE_COLS = 16, MOVE_ROWS = 4, MOVE_WORK = 2048 }; /* elements of a task, at least */

static void one_group_per_dim(low_context *ctx, ir_type domain) {
    int ends[IR_MAX_RANK];
    for (int d = 0; d < domain.rank; d++)
        ends[d] = d;
    low_set_groups(ctx, domain, domain.rank, ends);
}

static void strides_of(ir_type type, int64_t *stride) {
    int64_t next = 1;
    for (int d = type.rank - 1; d >= 0; d--) {
        stride[d] = next;
        next *= type.dim[d];
    }
}

void pass_tile_permute(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_value self = {(uint32_t)cluster->anchor};
    ir_type from = ir_type_of(low->graph, node->operand[0]), to = node->type;
    int64_t in[IR_MAX_RANK], out[IR_MAX_RANK];
    strides_of(from, in);
    strides_of(to, out);
    low_context ctx = low_begin(low, cluster, "permute");
    one_group_per_dim(&ctx, to);
    int last = to.rank - 1, rows = to.rank - 2;
    bool samples = low_batched(low, node->operand[0]) && node->attrs.order.item[0] == 0 && rows > 0;
    ir_affine src = kb_affine(0), dst = kb_affine(0);
    int cut = rows > 0 ? 1 : 0; /* the dimension that is cut where there are few tasks */
    while (cut > 0 && cut < rows && to.dim[cut] == 1)
        cut++;
    for (int d = 0; d < to.rank; d++) {
        low_steps over = {to.dim[d], d == last ? MOVE_COLS : d == rows ? MOVE_ROWS : 1};
        int loop = -1, part = -1;
        if (d == 0 && samples) {
            low_open_samples(&ctx, 0);
            loop = ctx.sample_loop;
        } else if (d < cut) {
            loop = kb_parallel(&ctx.k, "d", over.size, 1);
        } else {
            if (d == cut) part = low_open_parts(&ctx, over.size, 1 + MOVE_WORK / out[d], over.step);
            loop = low_loop_part(&ctx, "d", part, over);
        }
        int64_t from_stride = in[node->attrs.order.item[d]];
        src = kb_plus(kb_plus(src, part, from_stride), loop, from_stride);
        dst = kb_plus(kb_plus(dst, part, out[d]), loop, out[d]);
        if (d == rows) ctx.rows = IR_STEP_OF(loop);
        if (d == last) ctx.cols = IR_STEP_OF(loop);
    }
    int x = low_param(&ctx, node->operand[0], false, false);
    int y = low_param(&ctx, self, true, false);
    int64_t in_row = rows >= 0 ? in[node->attrs.order.item[rows]] : 0;
    int tile = kb_load(&ctx.k, kb_access(x, src, in_row, in[node->attrs.order.item[last]]),
                       ctx.rows, ctx.cols);
    kb_store(&ctx.k, kb_access(y, dst, rows >= 0 ? out[rows] : 0, 1), tile);
    while (ctx.k.depth)
        kb_end(&ctx.k);
    low_finish(&ctx);
}

/* One place of unfold and fold: which image element meets which window element. */
typedef struct unfold_place {
    ir_access image, window;
    ir_extent cols;
} unfold_place;

typedef struct unfold_shape {
    int64_t n, h, w, c, oh, ow, kh, kw, groups;
    int64_t stride_h, stride_w, pad_h, pad_w;
    bool runs; /* a window line is contiguous in the image: (kx, c) is one run */
} unfold_shape;

static unfold_shape unfold_of(const ir_node *node, ir_type image, ir_type windows) {
    const ir_attrs *a = &node->attrs;
    unfold_shape s = {.n = image.dim[0],
                      .h = image.dim[1],
                      .w = image.dim[2],
                      .c = image.dim[3],
                      .oh = windows.dim[1],
                      .ow = windows.dim[2],
                      .kh = a->kernel.item[0],
                      .kw = a->kernel.item[1],
                      .groups = a->groups,
                      .stride_h = a->stride.item[0],
                      .stride_w = a->stride.item[1],
                      .pad_h = a->pad.item[0],
                      .pad_w = a->pad.item[1]};
    s.runs = s.pad_w == 0 && s.groups == 1;
    return s;
}

/* Opens the loops over windows and their elements; inside, `image` meets `window`. Lines of windows
 * may go to several tasks where none writes what another does (`apart`). */
static unfold_place open_windows(low_context *ctx, const unfold_shape *s, bool apart) {
    kb_kernel *k = &ctx->k;
    int64_t cg = s->c / s->groups, row = s->kh * s->kw * s->c;
    int part = apart ? low_open_parts(ctx, s->oh, 1 + MOVE_WORK / (s->ow * row), 1) : -1;
    int oy = low_loop_part(ctx, "oy", part, (low_steps){s->oh, 1});
    int ox = kb_loop(k, "ox", s->ow, 1);
    int g = s->groups > 1 ? kb_loop(k, "g", s->groups, 1) : -1;
    int ky = kb_loop(k, "ky", s->kh, 1);
    int kx = s->runs ? -1 : kb_loop(k, "kx", s->kw, 1);
    int64_t run = s->runs ? s->kw * s->c : cg;
    int64_t step = 4LL * ctx->low->machine->lanes;
    int c = kb_loop(k, "c", run, run < step ? run : step);
    int n = ctx->sample_loop;
    unfold_place p = {.cols = IR_STEP_OF(c)};
    ir_affine y = kb_plus(kb_plus(kb_affine(-s->pad_h), part, s->stride_h), oy, s->stride_h);
    y = kb_plus(y, ky, 1);
    ir_affine x = kb_plus(kb_plus(kb_affine(-s->pad_w), ox, s->stride_w), kx, 1);
    ir_affine at = kb_affine(0);
    at.base = y.base * s->w * s->c + x.base * s->c;
    at = kb_plus(at, part, s->stride_h * s->w * s->c);
    at = kb_plus(kb_plus(at, oy, s->stride_h * s->w * s->c), ky, s->w * s->c);
    at = kb_plus(kb_plus(at, ox, s->stride_w * s->c), kx, s->c);
    at = kb_plus(kb_plus(kb_plus(at, g, cg), c, 1), n, s->h * s->w * s->c);
    p.image = kb_access(-1, at, 0, 1);
    if (s->pad_h) kb_guard(&p.image, y, s->h);
    if (s->pad_w) kb_guard(&p.image, x, s->w);
    ir_affine to = kb_plus(kb_plus(kb_affine(0), part, s->ow * row), oy, s->ow * row);
    to = kb_plus(to, ox, row);
    to = kb_plus(kb_plus(to, g, s->kh * s->kw * cg), ky, s->kw * cg);
    to = kb_plus(kb_plus(kb_plus(to, kx, cg), c, 1), n, s->oh * s->ow * row);
    p.window = kb_access(-1, to, 0, 1);
    return p;
}

void pass_tile_unfold(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type image = ir_type_of(low->graph, node->operand[0]);
    unfold_shape s = unfold_of(node, image, node->type);
    low_context ctx = low_begin(low, cluster, "unfold");
    low_set_groups(&ctx, image, 2, (int[]){0, 3});
    low_open_samples(&ctx, 0);
    int x = low_param(&ctx, node->operand[0], false, false);
    int y = low_param(&ctx, (ir_value){(uint32_t)cluster->anchor}, true, false);
    unfold_place p = open_windows(&ctx, &s, true);
    p.image.param = x;
    p.window.param = y;
    kb_store(&ctx.k, p.window, kb_load(&ctx.k, p.image, IR_FIXED(1), p.cols));
    while (ctx.k.depth)
        kb_end(&ctx.k);
    low_finish(&ctx);
}

/* Clears the image, then adds every window where it came from. */
void pass_tile_fold(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type windows = ir_type_of(low->graph, node->operand[0]);
    unfold_shape s = unfold_of(node, node->type, windows);
    low_context ctx = low_begin(low, cluster, "fold");
    kb_kernel *k = &ctx.k;
    low_set_groups(&ctx, node->type, 2, (int[]){0, 3});
    low_open_samples(&ctx, 0);
    int dy = low_param(&ctx, node->operand[0], false, false);
    int dx = low_param(&ctx, (ir_value){(uint32_t)cluster->anchor}, true, false);
    int64_t size = s.h * s.w * s.c, step = 4LL * low->machine->lanes;
    bool apart = s.stride_h >= s.kh && s.stride_w >= s.kw; /* windows do not overlap */
    bool covers = apart && s.stride_h == s.kh && s.stride_w == s.kw && s.pad_h == 0 &&
                  s.pad_w == 0 && s.h == s.oh * s.kh && s.w == s.ow * s.kw;
    if (!covers) {
        int t = kb_loop(k, "t", size, step < size ? step : size);
        ir_affine at = kb_plus(kb_plus(kb_affine(0), ctx.sample_loop, size), t, 1);
        low_store_as(&ctx, kb_access(dx, at, 0, 1), IR_FIXED(1), IR_STEP_OF(t), kb_constant(k, 0));
        kb_end(k);
    }
    unfold_place p = open_windows(&ctx, &s, covers);
    p.image.param = dx;
    p.window.param = dy;
    int value = kb_load(k, p.window, IR_FIXED(1), p.cols);
    if (!apart) value = kb_map2(k, IR_TILE_add, value, kb_load(k, p.image, IR_FIXED(1), p.cols));
    kb_store(k, p.image, value);
    while (k->depth)
        kb_end(k);
    low_finish(&ctx);
}

void pass_tile_random_keep(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    int64_t samples = node->type.rank ? node->type.dim[0] : 1;
    int64_t rest = ir_type_elements(node->type) / samples;
    low_context ctx = low_begin(low, cluster, "random_keep");
    kb_kernel *k = &ctx.k;
    low_loop_samples(&ctx, samples);
    int n = ctx.sample_loop,
        j = kb_loop(k, "j", rest, rest < low->machine->lanes ? rest : low->machine->lanes);
    ctx.cols = IR_STEP_OF(j);
    int scalars = low_param(&ctx, node->operand[0], false, false);
    ctx.arguments[scalars].offset = 0; /* the whole struct: step at 1, seed at 2 */
    int out = low_param(&ctx, (ir_value){(uint32_t)cluster->anchor}, true, false);
    kb_draw draw = {scalars, kb_plus(kb_affine(0), j, 1), kb_plus(kb_affine(0), n, 1),
                    node->attrs.stream};
    int u = kb_uniform(k, &draw, ctx.cols);
    double rate = node->attrs.rate;
    int drop = kb_map2(k, IR_TILE_less, u, kb_constant(k, rate));
    int value = kb_map3(k, IR_TILE_select, drop, kb_constant(k, 0), kb_constant(k, 1 / (1 - rate)));
    kb_store(k, kb_access(out, kb_plus(kb_plus(kb_affine(0), n, rest), j, 1), 0, 1), value);
    while (k->depth)
        kb_end(k);
    low_finish(&ctx);
}
