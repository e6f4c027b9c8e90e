/* Tile-sparse tensors: masks, tables, moving tiles, and windows over kept tiles.
 *
 * A window needs the neighbours of a tile. They come from a scratch image per sample with a border,
 * zero but for the kept tiles: scattered once, it serves every tile of the sample while it is in
 * L2, and a tap outside meets a zero. So the window kernel is the dense one with a table in front
 * of its image, and no bounds.
 *
 *     parallel n { clear; for k in kept, y: copy lines }                      scatter, gather
 *     parallel n { for k in kept, y, c: acc = window; epilogue; stores }
 *     parallel n, c { for k in kept, y: the same, with column sums carried }
 *     parallel n, c, ky { for k in kept: taps of a line; store into partial[n] }
 */
#include "lowering.h"

enum { MOVE_WORK = 2048 }; /* elements of a task, at least */

typedef struct tiles {
    int64_t n, kept, tile, c;
    int64_t spacing, border, grid_w;
    int64_t height, width; /* of the image, with its border */
    bool channels_first;
} tiles;

static int64_t image_elements(const tiles *t) {
    return t->height * t->width * t->c;
}

static tiles tiles_of(ir_type packed, int64_t grid_h, int64_t grid_w, int64_t spacing,
                      int64_t border) {
    tiles t = {.n = packed.dim[0],
               .kept = packed.dim[1],
               .tile = packed.dim[2],
               .c = packed.dim[4],
               .spacing = spacing ? spacing : packed.dim[2],
               .border = border,
               .grid_w = grid_w};
    t.height = grid_h * t.spacing + 2 * border;
    t.width = grid_w * t.spacing + 2 * border;
    return t;
}

static tiles tiles_of_move(const ir_node *node, ir_type packed) {
    const ir_attrs *a = &node->attrs;
    tiles t = tiles_of(packed, a->grid.item[0], a->grid.item[1], a->spacing, a->border);
    t.channels_first = node->op == IR_OP_gather_tiles && a->channels_first;
    return t;
}

/* Tile k's place in the image of sample n, for an access whose `at` starts at tile (0,0). */
static void place_by_table(ir_access *access, const tiles *t, int table, int n, int k) {
    int64_t pixel = t->channels_first ? 1 : t->c;
    access->table = table;
    access->table_at = kb_plus(kb_plus(kb_affine(0), n, t->kept), k, 1);
    access->table_wrap = t->grid_w;
    access->table_scale = t->spacing * pixel;
    access->table_line = t->spacing * t->width * pixel;
}

/* ---- moving tiles ---- */

typedef struct line_access {
    ir_access image, packed;
    ir_extent cols;
} line_access;

/* Opens the loops over the lines of all tiles, or of those of a part of them (the loop `part`, or
 * -1); inside, `image` meets `packed`. */
static line_access open_lines(low_context *ctx, const tiles *t, int table, int part) {
    kb_kernel *kb = &ctx->k;
    int n = ctx->sample_loop, k = low_loop_part(ctx, "k", part, (low_steps){t->kept, 1});
    int y = kb_loop(kb, "y", t->tile, 1);
    int c = t->channels_first ? kb_loop(kb, "c", t->c, 1) : -1;
    int64_t run = t->channels_first ? t->tile : t->tile * t->c;
    int64_t step = 4LL * ctx->low->machine->lanes, pixel = t->channels_first ? 1 : t->c;
    int j = kb_loop(kb, "j", run, run < step ? run : step);
    int64_t offset = t->border - (t->tile - t->spacing) / 2;
    ir_affine at = kb_affine((offset * t->width + offset) * pixel);
    at = kb_plus(kb_plus(kb_plus(at, n, image_elements(t)), y, t->width * pixel), j, 1);
    at = kb_plus(at, c, t->height * t->width);
    line_access l = {.image = kb_access(-1, at, 0, 1), .cols = IR_STEP_OF(j)};
    place_by_table(&l.image, t, table, n, k);
    l.image.table_at = kb_plus(l.image.table_at, part, 1);
    int64_t line = t->tile * t->c;
    ir_affine own = kb_plus(kb_plus(kb_affine(0), n, t->kept * t->tile * line), k, t->tile * line);
    own = kb_plus(own, part, t->tile * line);
    own = kb_plus(kb_plus(kb_plus(own, y, line), j, t->channels_first ? t->c : 1), c, 1);
    l.packed = kb_access(-1, own, 0, t->channels_first ? t->c : 1);
    return l;
}

static void close_all(low_context *ctx) {
    while (ctx->k.depth)
        kb_end(&ctx->k);
}

/* Clears the image of a sample and adds the tiles to it. */
static void emit_scatter(low_context *ctx, const tiles *t, int packed, int image, int table) {
    kb_kernel *k = &ctx->k;
    int64_t size = image_elements(t), step = 4LL * ctx->low->machine->lanes;
    int z = kb_loop(k, "z", size, step < size ? step : size);
    ir_affine at = kb_plus(kb_plus(kb_affine(0), ctx->sample_loop, size), z, 1);
    low_store_as(ctx, kb_access(image, at, 0, 1), IR_FIXED(1), IR_STEP_OF(z), kb_constant(k, 0));
    kb_end(k);
    line_access l = open_lines(ctx, t, table, -1);
    l.image.param = image;
    l.packed.param = packed;
    int value = kb_load(k, l.packed, IR_FIXED(1), l.cols);
    if (t->tile > t->spacing)
        value = kb_map2(k, IR_TILE_add, value, kb_load(k, l.image, IR_FIXED(1), l.cols));
    kb_store(k, l.image, value);
    close_all(ctx);
}

void pass_tile_gather_tiles(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    tiles t = tiles_of_move(node, node->type);
    low_context ctx = low_begin(low, cluster, "gather_tiles");
    low_set_groups(&ctx, node->type, 2, (int[]){0, 4});
    low_open_samples(&ctx, 0);
    int x = low_param(&ctx, node->operand[0], false, false);
    int table = low_param(&ctx, node->operand[1], false, false);
    int y = low_param(&ctx, (ir_value){(uint32_t)cluster->anchor}, true, false);
    int part = low_open_parts(&ctx, t.kept, 1 + MOVE_WORK / (t.tile * t.tile * t.c), 1);
    line_access l = open_lines(&ctx, &t, table, part);
    l.image.param = x;
    l.packed.param = y;
    kb_store(&ctx.k, l.packed, kb_load(&ctx.k, l.image, IR_FIXED(1), l.cols));
    close_all(&ctx);
    low_finish(&ctx);
}

void pass_tile_scatter_tiles(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    tiles t = tiles_of_move(node, ir_type_of(low->graph, node->operand[0]));
    low_context ctx = low_begin(low, cluster, "scatter_tiles");
    low_set_groups(&ctx, node->type, 2, (int[]){0, 3});
    low_open_samples(&ctx, 0);
    int x = low_param(&ctx, node->operand[0], false, false);
    int table = low_param(&ctx, node->operand[1], false, false);
    int y = low_param(&ctx, (ir_value){(uint32_t)cluster->anchor}, true, false);
    emit_scatter(&ctx, &t, x, y, table);
    low_finish(&ctx);
}

/* ---- masks and tables ---- */

static ir_affine row_of(int n, int64_t width, int j) {
    return kb_plus(kb_plus(kb_affine(0), n, width), j, 1);
}

/* Scratch numbers, (N, width), between two units. */
static int32_t scratch_rows(low_state *low, const char *name, int64_t n, int64_t width) {
    ir_type type = ir_type_make(IR_F32, 2, (int64_t[]){n, width});
    return low_new_buffer(low, name, IR_F32, type, n * width, IR_BUFFER_ARENA);
}

static void emit_noise(low_state *low, const low_cluster *cluster, int32_t noise) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    int64_t width = node->type.dim[1], lanes = low->machine->lanes;
    low_context ctx = low_begin(low, cluster, "noise");
    low_set_groups(&ctx, node->type, 2, (int[]){0, 1});
    low_open_samples(&ctx, 0);
    kb_kernel *k = &ctx.k;
    int j = kb_loop(k, "j", width, width < lanes ? width : lanes);
    int scalars = low_param(&ctx, node->operand[1], false, false);
    ctx.arguments[scalars].offset = 0; /* the whole struct: step at 1, seed at 2 */
    int out = low_buffer_param(&ctx, "noise", noise, true, true);
    kb_draw draw = {scalars, kb_plus(kb_affine(0), j, 1), kb_plus(kb_affine(0), ctx.sample_loop, 1),
                    node->attrs.stream};
    int u = kb_uniform(k, &draw, IR_STEP_OF(j));
    kb_store(k, kb_access(out, row_of(ctx.sample_loop, width, j), 0, 1), u);
    close_all(&ctx);
    low_finish(&ctx);
}

/* mask[n][r] = rank of noise[n][r] >= kept; equal noise ranks by place. */
void pass_tile_random_mask(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    int64_t width = node->type.dim[1], step = 2LL * low->machine->lanes;
    int32_t noise = scratch_rows(low, "noise", node->type.dim[0], width);
    emit_noise(low, cluster, noise);
    low_context ctx = low_begin(low, cluster, "random_mask");
    low_set_groups(&ctx, node->type, 2, (int[]){0, 1});
    low_open_samples(&ctx, 0);
    kb_kernel *k = &ctx.k;
    int n = ctx.sample_loop, zero = kb_constant(k, 0);
    int given = low_param(&ctx, node->operand[0], false, false);
    int in = low_buffer_param(&ctx, "noise", noise, false, true);
    int out = low_param(&ctx, (ir_value){(uint32_t)cluster->anchor}, true, false);
    int r = kb_loop(k, "r", width, 1);
    ir_access here = kb_access(in, row_of(n, width, r), 0, 1);
    int own = kb_load(k, here, IR_FIXED(1), IR_FIXED(1));
    int place = kb_iota(&ctx.k, kb_plus(kb_affine(0), r, 1), IR_FIXED(1));
    int j = kb_loop(k, "j", width, width < step ? width : step);
    int rank = kb_carry(k, zero, IR_FIXED(1), IR_FIXED(1));
    int other = kb_load(k, kb_access(in, row_of(n, width, j), 0, 1), IR_FIXED(1), IR_STEP_OF(j));
    int before = kb_map2(k, IR_TILE_less,
                         kb_iota(&ctx.k, kb_plus(kb_affine(0), j, 1), IR_STEP_OF(j)), place);
    int tie = kb_map2(k, IR_TILE_mul, kb_map2(k, IR_TILE_equal, other, own), before);
    int lower = kb_map2(k, IR_TILE_add, kb_map2(k, IR_TILE_less, other, own), tie);
    kb_yield(k, rank, kb_map2(k, IR_TILE_add, rank, kb_fold(k, IR_TILE_sum_cols, lower)));
    kb_end(k);
    int stays = kb_map2(k, IR_TILE_less, rank, kb_constant(k, (double)node->attrs.kept));
    int drawn = kb_map2(k, IR_TILE_sub, kb_constant(k, 1), stays);
    here.param = given;
    int value = kb_load(k, here, IR_FIXED(1), IR_FIXED(1));
    int ask = kb_map2(k, IR_TILE_less, value, zero);
    here.param = out;
    kb_store(k, here, kb_map3(k, IR_TILE_select, ask, drawn, value));
    close_all(&ctx);
    low_finish(&ctx);
}

/* counts[n][l]: listed tiles up to and including l. */
static void emit_counts(low_state *low, const low_cluster *cluster, int32_t counts) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type mask = ir_type_of(low->graph, node->operand[0]);
    low_context ctx = low_begin(low, cluster, "tile_counts");
    low_set_groups(&ctx, mask, 2, (int[]){0, 1});
    low_open_samples(&ctx, 0);
    kb_kernel *k = &ctx.k;
    int in = low_param(&ctx, node->operand[0], false, false);
    int out = low_buffer_param(&ctx, "counts", counts, true, true);
    int zero = kb_constant(k, 0), one = kb_constant(k, 1);
    int l = kb_loop(k, "l", mask.dim[1], 1);
    int count = kb_carry(k, zero, IR_FIXED(1), IR_FIXED(1));
    ir_access at = kb_access(in, row_of(ctx.sample_loop, mask.dim[1], l), 0, 1);
    int visible = kb_map2(k, IR_TILE_equal, kb_load(k, at, IR_FIXED(1), IR_FIXED(1)), zero);
    int listed = node->attrs.removed ? kb_map2(k, IR_TILE_sub, one, visible) : visible;
    int next = kb_map2(k, IR_TILE_add, count, listed);
    kb_yield(k, count, next);
    at.param = out;
    kb_store(k, at, next);
    close_all(&ctx);
    low_finish(&ctx);
}

void pass_tile_kept_tiles(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    int64_t width = ir_type_of(low->graph, node->operand[0]).dim[1];
    int64_t step = 2LL * low->machine->lanes, kept = node->attrs.kept;
    int32_t counts = scratch_rows(low, "counts", node->type.dim[0], width);
    emit_counts(low, cluster, counts);
    low_context ctx = low_begin(low, cluster, "kept_tiles");
    low_set_groups(&ctx, node->type, 2, (int[]){0, 1});
    low_open_samples(&ctx, 0);
    kb_kernel *k = &ctx.k;
    int n = ctx.sample_loop, zero = kb_constant(k, 0);
    int in = low_buffer_param(&ctx, "counts", counts, false, true);
    int out = low_param(&ctx, (ir_value){(uint32_t)cluster->anchor}, true, false);
    int s = kb_loop(k, "s", kept, 1);
    int slot = kb_iota(&ctx.k, kb_plus(kb_affine(1), s, 1), IR_FIXED(1));
    int j = kb_loop(k, "j", width, width < step ? width : step);
    int place = kb_carry(k, zero, IR_FIXED(1), IR_FIXED(1));
    int count = kb_load(k, kb_access(in, row_of(n, width, j), 0, 1), IR_FIXED(1), IR_STEP_OF(j));
    int before = kb_fold(k, IR_TILE_sum_cols, kb_map2(k, IR_TILE_less, count, slot));
    kb_yield(k, place, kb_map2(k, IR_TILE_add, place, before));
    kb_end(k);
    int last = kb_constant(k, (double)(width - 1));
    kb_store(k, kb_access(out, row_of(n, kept, s), 0, 1), kb_map2(k, IR_TILE_min, place, last));
    close_all(&ctx);
    low_finish(&ctx);
}

/* ---- windows ---- */

typedef struct sparse_shape {
    tiles t;
    int64_t kh, kw;
} sparse_shape;

static sparse_shape shape_of(ir_type packed, int64_t kh, int64_t kw) {
    int64_t border = (kh > kw ? kh : kw) / 2;
    const ir_sparsity *s = &packed.sparsity;
    return (sparse_shape){tiles_of(packed, s->grid_h, s->grid_w, 0, border), kh, kw};
}

/* The scratch image of all samples; returns its buffer. */
static int32_t scatter_unit(low_state *low, const low_cluster *cluster, ir_value x, ir_value table,
                            const tiles *t) {
    ir_type type = ir_type_make(IR_F32, 4, (int64_t[]){t->n, t->height, t->width, t->c});
    int32_t buffer =
        low_new_buffer(low, "tiles", IR_F32, type, t->n * image_elements(t), IR_BUFFER_ARENA);
    low_context ctx = low_begin(low, cluster, "scatter_tiles");
    ctx.section = LOW_MAIN;
    low_set_groups(&ctx, type, 2, (int[]){0, 3});
    low_open_samples(&ctx, 0);
    int packed = low_param(&ctx, x, false, false);
    int numbers = low_param(&ctx, table, false, false);
    int image = low_buffer_param(&ctx, "tiles", buffer, true, true);
    emit_scatter(&ctx, t, packed, image, numbers);
    low_finish(&ctx);
    return buffer;
}

typedef struct window_params {
    int image, taps, table, other, k, y, x;
} window_params;

/* The image's pixel (0,0) of tile k, the taps, and the packed tile. */
static int window_stmt(low_context *ctx, const sparse_shape *s, const window_params *p,
                       ir_tile_op op, bool flip) {
    const tiles *t = &s->t;
    ir_window *w = ir_arena_alloc(ctx->low->plan->arena, sizeof *w);
    ir_affine channel = ctx->index[4];
    ir_affine at = kb_affine((t->border * t->width + t->border) * t->c);
    at = kb_add(kb_plus(at, ctx->sample_loop, image_elements(t)), channel);
    w->image = kb_access(p->image, at, t->c, 1);
    place_by_table(&w->image, t, p->table, ctx->sample_loop, p->k);
    w->line_stride = t->width * t->c;
    w->weight = kb_access(p->taps, channel, t->c, 1);
    w->tap_line = s->kw * t->c;
    int64_t line = t->tile * t->c;
    ir_affine own = kb_plus(channel, ctx->sample_loop, t->kept * t->tile * line);
    w->other = kb_access(p->other, kb_plus(own, p->k, t->tile * line), t->c, 1);
    w->other_line = line;
    w->kernel_h = (int32_t)s->kh;
    w->kernel_w = (int32_t)s->kw;
    w->height = w->width = t->tile;
    w->loop_y = p->y;
    w->loop_x = p->x;
    w->haloed = true;
    w->flip = flip;
    ir_stmt stmt = {.op = op, .rows = ctx->rows, .cols = ctx->cols, .loop = -1, .window = w};
    stmt.access = kb_access(-1, kb_affine(0), 0, 0);
    for (int i = 0; i < 3; i++)
        stmt.operand[i] = IR_NO_STMT;
    return kb_stmt(&ctx->k, stmt);
}

static void open_channels(low_context *ctx, const tiles *t, bool parallel) {
    int64_t lanes = ctx->low->machine->lanes, step = lanes < t->c ? lanes : t->c;
    int c = parallel ? kb_parallel(&ctx->k, "c", t->c, step) : kb_loop(&ctx->k, "c", t->c, step);
    ctx->index[4] = kb_plus(kb_affine(0), c, 1);
    ctx->col_group = 4;
    ctx->cols = IR_STEP_OF(c);
}

static int open_group(low_context *ctx, int group, const char *name, int64_t step) {
    int loop = kb_loop(&ctx->k, name, ctx->group_size[group], step);
    ctx->index[group] = kb_plus(kb_affine(0), loop, 1);
    return loop;
}

static void open_pixels(low_context *ctx, const sparse_shape *s, window_params *p) {
    int64_t most = ctx->low->machine->registers - s->kw - 1;
    p->x = open_group(ctx, 3, "x", kb_divisor(s->t.tile, most > 14 ? 14 : most < 1 ? 1 : most));
    ctx->row_group = 3;
    ctx->rows = IR_STEP_OF(p->x);
}

static void emit_plain(low_context *ctx, const sparse_shape *s, window_params *p, bool flip) {
    p->k = open_group(ctx, 1, "k", 1);
    p->y = open_group(ctx, 2, "y", 1);
    open_channels(ctx, &s->t, false);
    open_pixels(ctx, s, p);
    low_bind(ctx, ctx->cluster->anchor, window_stmt(ctx, s, p, IR_TILE_window, flip));
    low_store_members(ctx);
}

/* Every loop over sites carries the sums on. */
static void emit_with_sums(low_context *ctx, const sparse_shape *s, window_params *p, bool flip) {
    kb_kernel *k = &ctx->k;
    open_channels(ctx, &s->t, true);
    low_sums level[3] = {low_sums_find(ctx)};
    low_sums_start(ctx, &level[0]);
    level[1] = level[2] = level[0];
    for (int l = 0; l < 3; l++) {
        if (l == 0) p->k = open_group(ctx, 1, "k", 1);
        if (l == 1) p->y = open_group(ctx, 2, "y", 1);
        if (l == 2) open_pixels(ctx, s, p);
        for (int i = 0; i < level[l].count; i++)
            level[l].carry[i] =
                kb_carry(k, l ? level[l - 1].carry[i] : level[0].start[i], IR_FIXED(1), ctx->cols);
    }
    low_bind(ctx, ctx->cluster->anchor, window_stmt(ctx, s, p, IR_TILE_window, flip));
    low_store_members(ctx);
    low_sums_add(ctx, &level[2]);
    for (int l = 2; l >= 0; l--) {
        kb_end(k);
        for (int i = 0; l > 0 && i < level[l].count; i++)
            kb_yield(k, level[l - 1].carry[i], level[l].carry[i]);
    }
    low_forget(ctx);
    low_sums_store(ctx, &level[0]);
}

static void emit_window(low_state *low, const low_cluster *cluster, bool flip) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type w = ir_type_of(low->graph, node->operand[1]);
    sparse_shape s = shape_of(node->type, w.dim[2], w.dim[3]);
    int32_t taps = low_packed_taps(low, node->operand[1]);
    int32_t image = scatter_unit(low, cluster, node->operand[0], node->operand[2], &s.t);
    low_context ctx = low_begin(low, cluster, ir_op_get(node->op)->name);
    low_set_groups(&ctx, node->type, 5, (int[]){0, 1, 2, 3, 4});
    low_open_samples(&ctx, 0);
    window_params p = {.other = -1};
    p.image = low_buffer_param(&ctx, "tiles", image, false, true);
    p.taps = low_buffer_param(&ctx, "taps", taps, false, false);
    p.table = low_param(&ctx, node->operand[2], false, false);
    if (low_sums_find(&ctx).count)
        emit_with_sums(&ctx, &s, &p, flip);
    else
        emit_plain(&ctx, &s, &p, flip);
    close_all(&ctx);
    ctx.k.kernel.macs = ir_node_cost(low->graph, (ir_value){(uint32_t)cluster->anchor}).macs;
    low_finish(&ctx);
}

void pass_tile_sparse_window(low_state *low, const low_cluster *cluster) {
    emit_window(low, cluster, false);
}

void pass_tile_sparse_window_dx(low_state *low, const low_cluster *cluster) {
    emit_window(low, cluster, true);
}

void pass_tile_sparse_window_dw(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type packed = ir_type_of(low->graph, node->operand[1]);
    sparse_shape s = shape_of(packed, node->type.dim[2], node->type.dim[3]);
    int64_t taps = s.kh * s.kw, elements = s.t.c * taps;
    int32_t image = scatter_unit(low, cluster, node->operand[1], node->operand[2], &s.t);
    int32_t partial = scratch_rows(low, "partial", s.t.n, elements);
    low_context ctx = low_begin(low, cluster, "sparse_window_dw");
    kb_kernel *k = &ctx.k;
    low_set_groups(&ctx, packed, 5, (int[]){0, 1, 2, 3, 4});
    low_open_samples(&ctx, 0);
    open_channels(&ctx, &s.t, true);
    window_params p = {.taps = -1, .x = -1};
    p.y = kb_parallel(k, "ky", s.kh, 1);
    p.other = low_param(&ctx, node->operand[0], false, false);
    p.image = low_buffer_param(&ctx, "tiles", image, false, true);
    p.table = low_param(&ctx, node->operand[2], false, false);
    int out = low_buffer_param(&ctx, "partial", partial, true, true);
    ctx.rows = IR_FIXED(s.kw);
    int zero = kb_constant(k, 0);
    p.k = kb_loop(k, "k", s.t.kept, 1);
    int carry = kb_carry(k, zero, ctx.rows, ctx.cols);
    int acc = window_stmt(&ctx, &s, &p, IR_TILE_window_dw, false);
    k->kernel.stmts[acc].operand[0] = carry;
    kb_yield(k, carry, acc);
    kb_end(k);
    ir_affine at = kb_plus(kb_plus(kb_affine(0), ctx.sample_loop, elements), p.y, s.kw);
    at = kb_plus(at, ctx.index[4].term[0].loop, taps);
    kb_store(k, kb_access(out, at, 1, taps), carry);
    close_all(&ctx);
    k->kernel.macs = ir_node_cost(low->graph, (ir_value){(uint32_t)cluster->anchor}).macs;
    low_finish(&ctx);
    low_sum_partials(low, partial, cluster->anchor);
}
