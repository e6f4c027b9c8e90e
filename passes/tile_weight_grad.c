/* Weight gradients: products and windows that sum over the rows of the batch.
 *
 * The order of summation is fixed by shapes alone. Either the kernel makes one partial result per
 * sample, sample by sample while its operands are in cache, and a second kernel adds the partials
 * in order; or, where partials would be large, tasks own blocks of the result and run over all
 * rows.
 *
 *     parallel n, loop c, loop j, loop o { acc = partial or 0; acc += matmul k; store }
 *     parallel b, loop c, loop j, loop o { acc = result or 0;  acc += matmul k; store }
 */
#include "lowering.h"

enum { MAX_CHUNK = 256, RESULT_BLOCKS = 8 };

typedef struct weight_grad {
    const ir_node *node;
    int64_t outputs, inputs; /* of one group: result (outputs, inputs) */
    int64_t groups;
    int64_t samples, sites; /* rows = samples x sites, as x has them */
    int64_t lda, ldb;       /* columns of dy and x */
    bool by_sample;         /* partial results per sample */
    bool mapped;            /* x is computed as it is loaded */
    bool lone;              /* a sample is one row */
} weight_grad;

static weight_grad describe(const low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_type dy = ir_type_of(low->graph, node->operand[0]);
    ir_type x = ir_type_of(low->graph, node->operand[1]);
    weight_grad w = {.node = node, .groups = node->attrs.groups};
    w.lda = dy.dim[dy.rank - 1];
    w.ldb = x.dim[x.rank - 1];
    w.outputs = w.lda / w.groups;
    w.inputs = w.ldb / w.groups;
    w.samples = x.rank >= 3 ? x.dim[0] : 1;
    w.sites = ir_type_elements(x) / w.ldb / w.samples;
    w.mapped = cluster->count > 1;
    w.lone = w.sites == 1;
    /* A partial result per sample must pay: be no larger than the operands that would have to wait
     * for the other samples instead. */
    int64_t partial = w.lda * w.inputs, operands = w.sites * (w.lda + w.ldb);
    w.by_sample = x.rank >= 3 && low_batched(low, node->operand[1]) && w.sites > 1 &&
                  partial <= operands &&
                  partial * (int64_t)sizeof(float) <= low->machine->l2_bytes / 2;
    if (!w.by_sample && !w.mapped) {
        w.sites *= w.samples;
        w.samples = 1;
    }
    return w;
}

static int64_t common_divisor(int64_t a, int64_t b) {
    return b ? common_divisor(b, a % b) : a;
}

/* How many rows of a tensor, `lines` cache lines of each, stay in L1 together. It has 64 sets of
 * lines (the bits of an address within a page choose one), so rows a multiple of many lines apart
 * fall on few of them. */
static int64_t rows_in_l1(const ir_machine *m, int64_t columns, int64_t lines) {
    int64_t stride = columns * (int64_t)sizeof(float), ways = m->l1_bytes / 4096;
    int64_t apart = stride % 64 ? 1 : common_divisor(stride / 64, 64);
    int64_t sets = 64 / apart * (lines < apart ? lines : apart);
    return sets * ways * 3 / 4 / lines;
}

/* Rows taken at once: both operands' rows stay in L2; a panel of x, and what a tile takes of dy, in
 * L1 while all tiles of rows go over them. */
static int64_t chunk_rows(const ir_machine *m, const weight_grad *w, int64_t block) {
    int64_t most = m->l2_bytes / 2 / (int64_t)sizeof(float) / (w->lda + w->ldb);
    int64_t panel = low_choose_tile(m, block, w->inputs, MAX_CHUNK).cols;
    int64_t limits[] = {MAX_CHUNK, m->l1_bytes * 2 / 3 / (int64_t)sizeof(float) / panel,
                        rows_in_l1(m, w->lda, 1), rows_in_l1(m, w->ldb, (panel + 15) / 16)};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (most > limits[i]) most = limits[i];
    if (most < 16) most = 16;
    return kb_chunk(w->sites, most);
}

typedef struct grad_loops {
    int n, g, b, c, j, o;
    int64_t chunk, block;
} grad_loops;

static int emit_product(low_context *ctx, const weight_grad *w, const grad_loops *l, int acc,
                        int dy) {
    kb_kernel *k = &ctx->k;
    ir_extent rows = IR_STEP_OF(l->o), cols = IR_STEP_OF(l->j);
    int m = kb_matmul(k, "k", l->chunk, acc, rows, cols);
    kb_matmul_within(k, l->c);
    ir_affine row = kb_plus(kb_plus(kb_affine(0), m, 1), l->c, 1);
    ir_affine at = kb_plus(kb_plus(kb_affine(0), m, w->lda), l->c, w->lda);
    at = kb_plus(kb_plus(at, l->n, w->sites * w->lda), l->g, w->outputs);
    at = kb_plus(kb_plus(at, l->o, 1), l->b, 1);
    int a = kb_load(k, kb_access(dy, at, 1, 0), rows, IR_FIXED(1));
    if (ctx->groups > 1) ctx->index[ctx->groups - 2] = row;
    if (ctx->groups == 3) ctx->index[0] = kb_plus(kb_affine(0), l->n, 1);
    if (ctx->groups == 3 && l->n < 0) { /* rows run over samples and sites alike */
        ctx->index[0] = w->lone ? row : kb_affine(0);
        if (w->lone) ctx->index[1] = kb_affine(0);
    }
    ctx->index[ctx->groups - 1] = kb_plus(kb_plus(kb_affine(0), l->j, 1), l->g, w->inputs);
    ctx->col_group = ctx->groups - 1;
    ctx->cols = cols;
    low_forget(ctx);
    int b = low_value(ctx, w->node->operand[1]);
    return kb_end_matmul(k, a, b);
}

/* The result so far, or zero before the first chunk. */
static int load_so_far(low_context *ctx, const weight_grad *w, const grad_loops *l,
                       ir_access access) {
    ir_affine before = kb_plus(kb_affine(-1), l->c, 1);
    if (!w->by_sample) before = kb_plus(before, l->n, w->sites);
    kb_guard(&access, before, w->sites * w->samples);
    return kb_load(&ctx->k, access, IR_STEP_OF(l->o), IR_STEP_OF(l->j));
}

void pass_tile_matmul_tn(low_state *low, const low_cluster *cluster) {
    weight_grad w = describe(low, cluster);
    low_context ctx = low_begin(low, cluster, "matmul_tn");
    kb_kernel *k = &ctx.k;
    low_row_groups(&ctx, ir_type_of(low->graph, w.node->operand[1]));
    grad_loops l = {.n = -1, .g = -1, .b = -1, .block = w.outputs};
    l.chunk = chunk_rows(low->machine, &w, w.outputs);
    int64_t elements = w.lda * w.inputs;
    int32_t partial = -1;
    if (w.by_sample) {
        low_loop_samples(&ctx, w.samples);
        l.n = ctx.sample_loop;
        ir_type type = ir_type_make(IR_F32, 2, (int64_t[]){w.samples, elements});
        partial =
            low_new_buffer(low, "partial", IR_F32, type, w.samples * elements, IR_BUFFER_ARENA);
    }
    if (w.groups > 1) l.g = kb_parallel(k, "g", w.groups, 1);
    if (k->kernel.tasks < RESULT_BLOCKS) {
        l.block = kb_part(w.outputs, RESULT_BLOCKS, 1);
        if (l.block < w.outputs) l.b = kb_parallel(k, "b", w.outputs, l.block);
    }
    if (!w.by_sample && w.samples > 1) l.n = kb_loop(k, "n", w.samples, 1);
    low_tile tile = low_choose_tile(low->machine, l.block, w.inputs, l.chunk);
    l.c = kb_loop(k, "c", w.sites, l.chunk);
    l.j = kb_loop(k, "j", w.inputs, tile.cols);
    l.o = l.b >= 0 ? kb_loop_within(k, "o", l.b, tile.rows) : kb_loop(k, "o", l.block, tile.rows);
    int dy = low_param(&ctx, w.node->operand[0], false, false);
    ir_value self = {(uint32_t)cluster->anchor};
    int out = partial >= 0 ? low_buffer_param(&ctx, "partial", partial, true, true)
                           : low_param(&ctx, self, true, false);
    ir_affine at = kb_plus(kb_plus(kb_affine(0), l.o, w.inputs), l.j, 1);
    at = kb_plus(kb_plus(at, l.b, w.inputs), l.g, w.outputs * w.inputs);
    if (partial >= 0) at = kb_plus(at, l.n, elements);
    ir_access result = kb_access(out, at, w.inputs, 1);
    int acc = w.sites * w.samples == l.chunk || (w.by_sample && w.sites == l.chunk)
                  ? IR_NO_STMT
                  : load_so_far(&ctx, &w, &l, result);
    kb_store(k, result, emit_product(&ctx, &w, &l, acc, dy));
    while (k->depth)
        kb_end(k);
    k->kernel.macs = ir_node_cost(low->graph, self).macs;
    low_finish(&ctx);
    if (partial >= 0) low_sum_partials(low, partial, cluster->anchor);
}

void low_sum_partials(low_state *low, int32_t partial, int32_t anchor) {
    ir_type type = low->plan->buffers[partial].type;
    int64_t samples = type.dim[0], elements = type.dim[1];
    low_context ctx = low_begin(low, NULL, "sum_partials");
    ctx.section = LOW_MAIN;
    kb_kernel *k = &ctx.k;
    int64_t wide = 4LL * low->machine->lanes;
    int64_t size = elements >= 8192 ? kb_part(elements, 2 * RESULT_BLOCKS, wide) : elements;
    int p = size < elements ? kb_parallel(k, "p", elements, size) : -1;
    int src = low_buffer_param(&ctx, "partial", partial, false, false);
    int dst = low_param(&ctx, (ir_value){(uint32_t)anchor}, true, false);
    int j =
        p >= 0 ? kb_loop_within(k, "j", p, wide) : kb_loop(k, "j", size, wide < size ? wide : size);
    ir_affine at = kb_plus(kb_plus(kb_affine(0), p, 1), j, 1);
    int zero = kb_constant(k, 0);
    int n = kb_loop(k, "n", samples, 1);
    int carry = kb_carry(k, zero, IR_FIXED(1), IR_STEP_OF(j));
    int value =
        kb_load(k, kb_access(src, kb_plus(at, n, elements), 0, 1), IR_FIXED(1), IR_STEP_OF(j));
    kb_yield(k, carry, kb_map2(k, IR_TILE_add, carry, value));
    kb_end(k);
    kb_store(k, kb_access(dst, at, 0, 1), carry);
    while (k->depth)
        kb_end(k);
    low_finish(&ctx);
}
