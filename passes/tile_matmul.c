/* Matrix products as tile kernels, and the packing of their weights.
 *
 * All forms: result rows x columns, reduction over k, weights packed into panels of `panel`
 * columns, panel-major: element (k, j + c) of panel j stands at j K + k panel + c. A tile of rows x
 * panel accumulators stays in registers while k runs; what is left of a row or column gets a
 * smaller tile.
 *
 *     parallel n, j, [rows p], loop r         { acc = matmul k; epilogue; stores }  weights fit L2
 *     parallel j, [rows p], loop n, loop r    { ... }                    large weights: once
 */
#include "lowering.h"

enum { FORM_NT, FORM_NN, TILE_OVERHEAD = 14 };
/* Rows are cut where there are fewer tasks than enough, into tasks of at least so many
 * multiply-accumulates (2 us): enough for many cores, and few enough to reuse a panel. */
enum { ENOUGH_PRODUCT_TASKS = 16, PRODUCT_TASKS = 64, PRODUCT_WORK = 1 << 18, PACK_WORK = 2048 };

static int64_t vectors_of(int64_t cols, int64_t lanes) {
    int64_t count = 0;
    for (; lanes > 0; lanes /= 2)
        while (cols >= lanes)
            cols -= lanes, count++;
    return count;
}

/* Cycles of one register tile: arithmetic, loads, or the latency of too few accumulators. */
static double tile_cycles(const ir_machine *m, int64_t rows, int64_t vectors, int64_t k) {
    if (rows == 0 || vectors == 0) return 0;
    double arithmetic = (double)(rows * vectors) / m->fma_per_cycle;
    double loads = (double)(rows + vectors) / 2;
    double step = arithmetic > loads ? arithmetic : loads;
    if (step < m->fma_latency) step = m->fma_latency;
    return step * (double)k + TILE_OVERHEAD;
}

static double product_cycles(const ir_machine *m, low_tile t, int64_t rows, int64_t cols,
                             int64_t k) {
    int64_t row_full = rows / t.rows, row_rest = rows % t.rows;
    int64_t col_full = cols / t.cols, col_rest = cols % t.cols;
    int64_t full = vectors_of(t.cols, m->lanes), rest = vectors_of(col_rest, m->lanes);
    return (double)row_full * ((double)col_full * tile_cycles(m, t.rows, full, k) +
                               tile_cycles(m, t.rows, rest, k)) +
           (row_rest ? (double)col_full * tile_cycles(m, row_rest, full, k) +
                           tile_cycles(m, row_rest, rest, k)
                     : 0);
}

/* The register tile with the fewest predicted cycles for this shape. */
low_tile low_choose_tile(const ir_machine *m, int64_t rows, int64_t cols, int64_t k) {
    low_tile best = {1, cols < m->lanes ? cols : m->lanes};
    double best_cycles = 1e300;
    for (int64_t vectors = 1; vectors <= 8; vectors++) {
        int64_t width = vectors * m->lanes;
        if (width > cols) {
            if (vectors > 1 && width - m->lanes >= cols) break;
            width = cols;
        }
        int64_t count = vectors_of(width, m->lanes);
        for (int64_t r = 1; r <= 14 && r <= rows; r++) {
            if (r * count + count + 1 > m->registers) break;
            low_tile t = {r, width};
            double cycles = product_cycles(m, t, rows, cols, k);
            if (cycles < best_cycles) best_cycles = cycles, best = t;
        }
    }
    return best;
}

typedef struct product {
    ir_value x, w; /* left operand (rows, k) and weight */
    int32_t scale; /* root of a per-sample scale of k, or -1 */
    int form;
    int64_t groups;  /* channel groups */
    int64_t k, cols; /* of one group */
    int64_t panel;   /* columns of a packed panel */
    int64_t packed;  /* elements of one group's packed weight */
} product;

/* Loads (k, j) of the weight: rows of the tile run over k. */
static void emit_pack_loops(low_context *ctx, const product *p, int src, int dst) {
    int g = p->groups > 1 ? kb_parallel(&ctx->k, "g", p->groups, 1) : -1;
    int j = kb_parallel(&ctx->k, "j", p->cols, p->panel);
    int part = low_open_parts(ctx, p->k, 1 + PACK_WORK / p->panel, 8);
    int k = low_loop_part(ctx, "k", part, (low_steps){p->k, 8});
    int64_t along_k = p->form == FORM_NT ? 1 : p->cols;
    int64_t along_j = p->form == FORM_NT ? p->k : 1;
    ir_affine from = kb_plus(kb_plus(kb_affine(0), k, along_k), j, along_j);
    ir_affine to = kb_plus(kb_plus(kb_affine(0), k, p->panel), j, p->k);
    from = kb_plus(kb_plus(from, part, along_k), g, p->k * p->cols);
    to = kb_plus(kb_plus(to, part, p->panel), g, p->packed);
    int tile =
        kb_load(&ctx->k, kb_access(src, from, along_k, along_j), IR_STEP_OF(k), IR_STEP_OF(j));
    kb_store(&ctx->k, kb_access(dst, to, p->panel, 1), tile);
    while (ctx->k.depth)
        kb_end(&ctx->k);
}

int32_t *low_find_pack(low_state *low, low_pack key) {
    for (size_t i = 0; i < low->pack_count; i++) {
        low_pack *q = &low->packs[i];
        if (q->value == key.value && q->form == key.form && q->scale == key.scale &&
            q->groups == key.groups && q->k == key.k && q->cols == key.cols &&
            q->panel == key.panel)
            return &q->buffer;
    }
    key.buffer = -1;
    low_pack *q = IR_PUSH(low->scratch, low->packs, low->pack_count, low->pack_capacity);
    *q = key;
    return &q->buffer;
}

static int32_t *find_pack(low_state *low, const product *p, int32_t scale) {
    return low_find_pack(low, (low_pack){.value = low_root(low, p->w),
                                         .form = p->form,
                                         .scale = scale,
                                         .groups = p->groups,
                                         .k = p->k,
                                         .cols = p->cols,
                                         .panel = p->panel});
}

static int32_t packed_weight(low_state *low, const product *p) {
    int32_t *buffer = find_pack(low, p, -1);
    if (*buffer >= 0) return *buffer;
    bool fixed = low->fixed[low_root(low, p->w)];
    bool keep = fixed && low->graph->kind == IR_KIND_INFER;
    ir_type type = ir_type_make(IR_F32, 1, (int64_t[]){p->packed * p->groups});
    *buffer = low_new_buffer(low, "packed", IR_F32, type, p->packed * p->groups,
                             keep ? IR_BUFFER_STATE : IR_BUFFER_ARENA);
    low_context ctx = low_begin(low, NULL, "pack");
    ctx.section = fixed ? LOW_PROLOGUE : LOW_MAIN;
    int src = low_param(&ctx, p->w, false, false);
    emit_pack_loops(&ctx, p, src, low_buffer_param(&ctx, "packed", *buffer, true, false));
    low_finish(&ctx);
    return *find_pack(low, p, -1);
}

/* packed[n][j][k][c] = s[n][k] packed[j][k][c], n over dimension 0 of x */
static int32_t scaled_weight(low_state *low, const product *p) {
    int32_t plain = packed_weight(low, p);
    int32_t *buffer = find_pack(low, p, p->scale);
    if (*buffer >= 0) return *buffer;
    int64_t samples = ir_type_of(low->graph, p->x).dim[0];
    ir_type type = ir_type_make(IR_F32, 2, (int64_t[]){samples, p->packed});
    *buffer = low_new_buffer(low, "scaled", IR_F32, type, samples * p->packed, IR_BUFFER_ARENA);
    int32_t result = *buffer;
    low_context ctx = low_begin(low, NULL, "scale_pack");
    ctx.section = LOW_MAIN;
    low_loop_samples(&ctx, samples);
    int n = ctx.sample_loop;
    int src = low_buffer_param(&ctx, "packed", plain, false, false);
    int s = low_param(&ctx, (ir_value){(uint32_t)p->scale}, false, false);
    int dst = low_buffer_param(&ctx, "scaled", result, true, true);
    int part = low_open_parts(&ctx, p->k, 1 + PACK_WORK / p->cols, 4);
    int j = kb_loop(&ctx.k, "j", p->cols, p->panel);
    int k = low_loop_part(&ctx, "k", part, (low_steps){p->k, 4});
    ir_affine at = kb_plus(kb_plus(kb_plus(kb_affine(0), part, p->panel), k, p->panel), j, p->k);
    int w = kb_load(&ctx.k, kb_access(src, at, p->panel, 1), IR_STEP_OF(k), IR_STEP_OF(j));
    ir_affine s_at = kb_plus(kb_plus(kb_plus(kb_affine(0), n, p->k), part, 1), k, 1);
    int scale = kb_load(&ctx.k, kb_access(s, s_at, 1, 0), IR_STEP_OF(k), IR_FIXED(1));
    int value = kb_map2(&ctx.k, IR_TILE_mul, w, scale);
    kb_store(&ctx.k, kb_access(dst, kb_plus(at, n, p->packed), p->panel, 1), value);
    while (ctx.k.depth)
        kb_end(&ctx.k);
    low_finish(&ctx);
    return result;
}

typedef struct product_place {
    int x, w;     /* parameters */
    int g, j;     /* loops over groups and panels, or -1 */
    int part;     /* loop over parts of the rows, or -1 */
    int64_t rows; /* of a tile */
} product_place;

/* The product at the current tile: rows of x against a panel of the packed weight. */
static int emit_product(low_context *ctx, const product *p, const product_place *at) {
    ir_type type = ir_type_of(ctx->low->graph, p->x);
    int64_t lda = type.dim[type.rank - 1];
    int64_t rows = ctx->row_group >= 0 ? lda : 0;
    ir_affine x_at = kb_affine(0);
    int64_t stride = lda;
    for (int d = ctx->groups - 2; d >= 0; d--) {
        ir_affine index = ctx->index[d];
        for (int t = 0; t < index.count; t++)
            x_at = kb_plus(x_at, index.term[t].loop, index.term[t].factor * stride);
        stride *= ctx->group_size[d];
    }
    x_at = kb_plus(x_at, at->g, p->k);
    ir_affine w_at = kb_plus(kb_plus(kb_affine(0), at->j, p->k), at->g, p->packed);
    if (p->scale >= 0) w_at = kb_plus(w_at, ctx->sample_loop, p->packed);
    int k = kb_matmul(&ctx->k, "k", p->k, IR_NO_STMT, ctx->rows, ctx->cols);
    int a =
        kb_load(&ctx->k, kb_access(at->x, kb_plus(x_at, k, 1), rows, 0), ctx->rows, IR_FIXED(1));
    int b = kb_load(&ctx->k, kb_access(at->w, kb_plus(w_at, k, p->panel), 0, 1), IR_FIXED(1),
                    ctx->cols);
    return kb_end_matmul(&ctx->k, a, b);
}

/* Weights beyond half of L2 are streamed once for all samples instead of once per sample. */
static bool panel_major(const low_context *ctx, const product *p) {
    if (p->scale >= 0 || ctx->low->sample_major) return false;
    int64_t bytes = p->packed * p->groups * (int64_t)sizeof(float);
    return ctx->groups == 2 || bytes > ctx->low->machine->l2_bytes / 2;
}

/* The group that the rows of a tile run over, or -1: one row per sample. */
static int row_group_of(const low_context *ctx) {
    return ctx->groups == 2 && ctx->sample_loop >= 0 ? -1 : ctx->groups - 2;
}

/* Cuts the rows into parallel parts of whole tiles where panels and samples make few tasks. Column
 * sums run along all rows, hence keep them together. */
static int open_row_parts(low_context *ctx, const product *p, int rows, int64_t tile_rows) {
    int64_t tasks = ctx->k.kernel.tasks;
    if (rows < 0 || tasks >= ENOUGH_PRODUCT_TASKS || low_sums_find(ctx).count || low_in_a_row(ctx))
        return -1;
    int64_t size = ctx->group_size[rows], samples = rows == 1 ? ctx->group_size[0] : 1;
    int64_t work = samples * p->groups * size * p->k * p->cols;
    int64_t most =
        (work < (int64_t)PRODUCT_TASKS * PRODUCT_WORK ? work / PRODUCT_WORK : PRODUCT_TASKS) /
        tasks;
    if (most < 2) return -1;
    int64_t tiles = (size + tile_rows - 1) / tile_rows;
    int64_t part = (tiles + most - 1) / most * tile_rows;
    return part < size ? kb_parallel(&ctx->k, "p", size, part) : -1;
}

static void emit_rows(low_context *ctx, const product *p, const product_place *at) {
    int rows = row_group_of(ctx);
    low_sums sums = low_sums_find(ctx);
    low_sums_start(ctx, &sums);
    int r = -1;
    if (rows >= 0) {
        r = low_loop_part(ctx, "r", at->part, (low_steps){ctx->group_size[rows], at->rows});
        ctx->index[rows] = kb_plus(kb_plus(kb_affine(0), at->part, 1), r, 1);
        ctx->row_group = rows;
        ctx->rows = IR_STEP_OF(r);
        low_sums_begin(ctx, &sums, ctx->cols);
    }
    low_bind(ctx, ctx->cluster->anchor, emit_product(ctx, p, at));
    low_store_members(ctx);
    low_sums_add(ctx, &sums);
    if (r >= 0) kb_end(&ctx->k);
    low_forget(ctx);
    low_sums_store(ctx, &sums);
}

static void emit_product_kernel(low_state *low, const low_cluster *cluster, product p) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    low_context ctx = low_begin(low, cluster, ir_op_get(node->op)->name);
    low_row_groups(&ctx, node->type);
    bool alone = low->sample_major && ctx.groups == 2 &&
                 low_batched(low, (ir_value){(uint32_t)cluster->anchor});
    int rows = alone ? -1 : ctx.groups - 2;
    low_tile tile =
        low_choose_tile(low->machine, rows >= 0 ? ctx.group_size[rows] : 1, p.cols, p.k);
    p.panel = tile.cols;
    p.packed = (p.cols + p.panel - 1) / p.panel * p.panel * p.k;
    int32_t weight = p.scale >= 0 ? scaled_weight(low, &p) : packed_weight(low, &p);
    bool by_panel = panel_major(&ctx, &p);
    if (alone || (ctx.groups == 3 && !by_panel)) low_open_samples(&ctx, 0);
    product_place at = {.g = -1, .rows = tile.rows};
    if (p.groups > 1) at.g = kb_parallel(&ctx.k, "g", p.groups, 1);
    at.j = kb_parallel(&ctx.k, "j", p.cols, p.panel);
    at.part = open_row_parts(&ctx, &p, rows, tile.rows);
    if (ctx.groups == 3 && by_panel) {
        int n = kb_loop(&ctx.k, "n", ctx.group_size[0], 1);
        ctx.index[0] = kb_plus(kb_affine(0), n, 1);
    }
    int cols = ctx.groups - 1;
    ctx.index[cols] = kb_plus(kb_plus(kb_affine(0), at.j, 1), at.g, p.cols);
    ctx.col_group = cols;
    ctx.cols = IR_STEP_OF(at.j);
    at.x = low_param(&ctx, p.x, false, false);
    at.w = low_buffer_param(&ctx, "packed", weight, false, p.scale >= 0);
    emit_rows(&ctx, &p, &at);
    while (ctx.k.depth)
        kb_end(&ctx.k);
    ctx.k.kernel.macs = ir_node_cost(low->graph, (ir_value){(uint32_t)cluster->anchor}).macs;
    low_finish(&ctx);
}

static product describe(const low_state *low, const low_cluster *cluster, int form) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type w = ir_type_of(low->graph, node->operand[1]);
    product p = {.x = node->operand[0], .w = node->operand[1], .scale = -1, .form = form};
    p.groups = node->op == IR_OP_matmul_nt_scaled ? 1 : node->attrs.groups;
    int64_t outputs = w.dim[0] / p.groups;
    p.k = form == FORM_NT ? w.dim[1] : outputs;
    p.cols = form == FORM_NT ? outputs : w.dim[1];
    return p;
}

void pass_tile_matmul_nt(low_state *low, const low_cluster *cluster) {
    emit_product_kernel(low, cluster, describe(low, cluster, FORM_NT));
}

void pass_tile_matmul_nn(low_state *low, const low_cluster *cluster) {
    emit_product_kernel(low, cluster, describe(low, cluster, FORM_NN));
}

void pass_tile_matmul_nt_scaled(low_state *low, const low_cluster *cluster) {
    product p = describe(low, cluster, FORM_NT);
    p.scale = low_root(low, low->graph->nodes[cluster->anchor].operand[2]);
    emit_product_kernel(low, cluster, p);
}
