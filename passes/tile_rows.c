/* Ops over whole rows of the last dimension: a few passes over the row, which stays in L1. */
#include "lowering.h"

#include <math.h>

enum { ROW_VECTORS = 8 };

void low_row_groups(low_context *ctx, ir_type domain) {
    int last = domain.rank - 1;
    if (last <= 0)
        low_set_groups(ctx, domain, 1, (int[]){0});
    else if (last == 1)
        low_set_groups(ctx, domain, 2, (int[]){0, 1});
    else
        low_set_groups(ctx, domain, 3, (int[]){0, last - 1, last});
}

typedef struct row_kernel {
    low_context ctx;
    int64_t width; /* elements of a row */
    int cols;      /* group of the columns */
} row_kernel;

/* Opens the loops down to one row. */
static row_kernel begin_rows(low_state *low, const low_cluster *cluster, ir_type domain) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    row_kernel rk = {.ctx = low_begin(low, cluster, ir_op_get(node->op)->name)};
    low_context *ctx = &rk.ctx;
    low_row_groups(ctx, domain);
    rk.cols = ctx->groups - 1;
    rk.width = ctx->group_size[rk.cols];
    bool batched = low_batched(low, (ir_value){(uint32_t)cluster->anchor});
    bool alone = ctx->groups == 2 && low->sample_major && batched;
    if (alone || (ctx->groups == 3 && batched))
        low_open_samples(ctx, 0);
    else if (ctx->groups == 3)
        ctx->index[0] = kb_plus(kb_affine(0), kb_parallel(&ctx->k, "o", ctx->group_size[0], 1), 1);
    if (ctx->groups == 1 || alone) return rk;
    int rows = ctx->groups - 2;
    int p = low_open_parts(ctx, ctx->group_size[rows], 1, 1);
    ctx->index[rows] = kb_plus(ctx->index[rows], p, 1);
    int r = low_loop_part(ctx, "r", p, (low_steps){ctx->group_size[rows], 1});
    ctx->index[rows] = kb_plus(ctx->index[rows], r, 1);
    return rk;
}

static void end_rows(row_kernel *rk) {
    while (rk->ctx.k.depth)
        kb_end(&rk->ctx.k);
    low_finish(&rk->ctx);
}

/* Opens a pass over the columns of the row. */
static void open_pass(row_kernel *rk) {
    low_context *ctx = &rk->ctx;
    int64_t step = (int64_t)ROW_VECTORS * ctx->low->machine->lanes;
    int j = kb_loop(&ctx->k, "j", rk->width, step < rk->width ? step : rk->width);
    ctx->index[rk->cols] = kb_plus(kb_affine(0), j, 1);
    ctx->col_group = rk->cols;
    ctx->cols = IR_STEP_OF(j);
    low_forget(ctx);
}

static void close_pass(row_kernel *rk) {
    kb_end(&rk->ctx.k);
    low_forget(&rk->ctx);
}

/* Folds `value` into the carry by op (add or max) and closes the pass; returns the (1,1) result. */
static int fold_pass(row_kernel *rk, int carry, ir_tile_op op, int value) {
    kb_kernel *k = &rk->ctx.k;
    ir_tile_op fold = op == IR_TILE_add ? IR_TILE_sum_cols : IR_TILE_max_cols;
    kb_yield(k, carry, kb_map2(k, op, carry, low_fold(&rk->ctx, fold, value)));
    return carry;
}

static int begin_sum(row_kernel *rk, double start) {
    int init = kb_constant(&rk->ctx.k, start);
    open_pass(rk);
    return kb_carry(&rk->ctx.k, init, IR_FIXED(1), IR_FIXED(1));
}

typedef struct row_moments {
    int mean, rstd;
} row_moments;

static row_moments moments(row_kernel *rk, ir_value x, double eps) {
    kb_kernel *k = &rk->ctx.k;
    int sum = begin_sum(rk, 0);
    fold_pass(rk, sum, IR_TILE_add, low_value(&rk->ctx, x));
    close_pass(rk);
    int inverse = kb_constant(k, 1.0 / (double)rk->width);
    int mean = kb_map2(k, IR_TILE_mul, sum, inverse);
    int squares = begin_sum(rk, 0);
    int d = kb_map2(k, IR_TILE_sub, low_value(&rk->ctx, x), mean);
    fold_pass(rk, squares, IR_TILE_add, kb_map2(k, IR_TILE_mul, d, d));
    close_pass(rk);
    int var = kb_map2(k, IR_TILE_mul, squares, inverse);
    int root = kb_map1(k, IR_TILE_sqrt, kb_map2(k, IR_TILE_add, var, kb_constant(k, eps)));
    return (row_moments){mean, kb_map2(k, IR_TILE_div, kb_constant(k, 1), root)};
}

static int normalized(row_kernel *rk, ir_value x, row_moments m) {
    int d = kb_map2(&rk->ctx.k, IR_TILE_sub, low_value(&rk->ctx, x), m.mean);
    return kb_map2(&rk->ctx.k, IR_TILE_mul, d, m.rstd);
}

static void store_pass(row_kernel *rk, const low_cluster *cluster, int value) {
    low_bind(&rk->ctx, cluster->anchor, value);
    low_store_members(&rk->ctx);
    close_pass(rk);
}

void pass_tile_row_normalize(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    row_kernel rk = begin_rows(low, cluster, node->type);
    row_moments m = moments(&rk, node->operand[0], node->attrs.eps);
    open_pass(&rk);
    store_pass(&rk, cluster, normalized(&rk, node->operand[0], m));
    end_rows(&rk);
}

/* dx = rstd (dy - mean(dy) - xhat mean(dy xhat)) */
void pass_tile_row_normalize_grad(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_value dy = node->operand[0], x = node->operand[1];
    row_kernel rk = begin_rows(low, cluster, node->type);
    kb_kernel *k = &rk.ctx.k;
    row_moments m = moments(&rk, x, node->attrs.eps);
    int zero = kb_constant(k, 0);
    open_pass(&rk);
    int sum = kb_carry(k, zero, IR_FIXED(1), IR_FIXED(1));
    int dot = kb_carry(k, zero, IR_FIXED(1), IR_FIXED(1));
    fold_pass(&rk, sum, IR_TILE_add, low_value(&rk.ctx, dy));
    fold_pass(&rk, dot, IR_TILE_add,
              kb_map2(k, IR_TILE_mul, low_value(&rk.ctx, dy), normalized(&rk, x, m)));
    close_pass(&rk);
    int inverse = kb_constant(k, 1.0 / (double)rk.width);
    int mean_dy = kb_map2(k, IR_TILE_mul, sum, inverse);
    int mean_dot = kb_map2(k, IR_TILE_mul, dot, inverse);
    open_pass(&rk);
    int centred = kb_map2(k, IR_TILE_sub, low_value(&rk.ctx, dy), mean_dy);
    int along = kb_map2(k, IR_TILE_mul, normalized(&rk, x, m), mean_dot);
    int dx = kb_map2(k, IR_TILE_mul, m.rstd, kb_map2(k, IR_TILE_sub, centred, along));
    store_pass(&rk, cluster, dx);
    end_rows(&rk);
}

static int mean_of_roots(row_kernel *rk, ir_value ss, double eps) {
    kb_kernel *k = &rk->ctx.k;
    int sum = begin_sum(rk, 0);
    fold_pass(rk, sum, IR_TILE_add, kb_map1(k, IR_TILE_sqrt, low_value(&rk->ctx, ss)));
    close_pass(rk);
    int mean = kb_map2(k, IR_TILE_mul, sum, kb_constant(k, 1.0 / (double)rk->width));
    return kb_map2(k, IR_TILE_add, mean, kb_constant(k, eps));
}

void pass_tile_grn_norm(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    row_kernel rk = begin_rows(low, cluster, node->type);
    int mean = mean_of_roots(&rk, node->operand[0], node->attrs.eps);
    open_pass(&rk);
    int root = kb_map1(&rk.ctx.k, IR_TILE_sqrt, low_value(&rk.ctx, node->operand[0]));
    store_pass(&rk, cluster, kb_map2(&rk.ctx.k, IR_TILE_div, root, mean));
    end_rows(&rk);
}

/* dG = dy / m - sum(dy G) / (C m^2), m = mean G + eps; dss = dG / (2 G), 0 where G is 0 */
void pass_tile_grn_norm_grad(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_value dy = node->operand[0], ss = node->operand[1];
    row_kernel rk = begin_rows(low, cluster, node->type);
    kb_kernel *k = &rk.ctx.k;
    int mean = mean_of_roots(&rk, ss, node->attrs.eps);
    int dot = begin_sum(&rk, 0);
    int g = kb_map1(k, IR_TILE_sqrt, low_value(&rk.ctx, ss));
    fold_pass(&rk, dot, IR_TILE_add, kb_map2(k, IR_TILE_mul, low_value(&rk.ctx, dy), g));
    close_pass(&rk);
    int scaled = kb_map2(k, IR_TILE_mul, dot, kb_constant(k, 1.0 / (double)rk.width));
    int shared = kb_map2(k, IR_TILE_div, scaled, kb_map2(k, IR_TILE_mul, mean, mean));
    open_pass(&rk);
    g = kb_map1(k, IR_TILE_sqrt, low_value(&rk.ctx, ss));
    int dg = kb_map2(k, IR_TILE_sub, kb_map2(k, IR_TILE_div, low_value(&rk.ctx, dy), mean), shared);
    int half = kb_map2(k, IR_TILE_div, dg, kb_map2(k, IR_TILE_mul, g, kb_constant(k, 2)));
    int alive = kb_map2(k, IR_TILE_less, kb_constant(k, 0), g);
    store_pass(&rk, cluster, kb_map3(k, IR_TILE_select, alive, half, kb_constant(k, 0)));
    end_rows(&rk);
}

typedef struct row_softmax {
    int max, sum, weight;
} row_softmax;

/* max x, sum exp(x - max), sum target */
static row_softmax softmax_parts(row_kernel *rk, ir_value x, ir_value target) {
    kb_kernel *k = &rk->ctx.k;
    row_softmax s;
    s.max = begin_sum(rk, -INFINITY);
    fold_pass(rk, s.max, IR_TILE_max, low_value(&rk->ctx, x));
    close_pass(rk);
    int zero = kb_constant(k, 0);
    open_pass(rk);
    s.sum = kb_carry(k, zero, IR_FIXED(1), IR_FIXED(1));
    s.weight = kb_carry(k, zero, IR_FIXED(1), IR_FIXED(1));
    int shifted = kb_map2(k, IR_TILE_sub, low_value(&rk->ctx, x), s.max);
    fold_pass(rk, s.sum, IR_TILE_add, kb_map1(k, IR_TILE_exp, shifted));
    fold_pass(rk, s.weight, IR_TILE_add, low_value(&rk->ctx, target));
    close_pass(rk);
    return s;
}

static ir_type with_last_one(ir_type type) {
    type.dim[type.rank++] = 1;
    return type;
}

/* sum(target) (max + log sum) - sum(target x) */
void pass_tile_softmax_xent(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_value x = node->operand[0], target = node->operand[1];
    row_kernel rk = begin_rows(low, cluster, ir_type_of(low->graph, x));
    kb_kernel *k = &rk.ctx.k;
    row_softmax s = softmax_parts(&rk, x, target);
    int dot = begin_sum(&rk, 0);
    int shifted = kb_map2(k, IR_TILE_sub, low_value(&rk.ctx, x), s.max);
    fold_pass(&rk, dot, IR_TILE_add, kb_map2(k, IR_TILE_mul, low_value(&rk.ctx, target), shifted));
    close_pass(&rk);
    int all = kb_map2(k, IR_TILE_mul, s.weight, kb_map1(k, IR_TILE_log, s.sum));
    int loss = kb_map2(k, IR_TILE_sub, all, dot);
    ir_value self = {(uint32_t)cluster->anchor};
    int out = low_param(&rk.ctx, self, true, false);
    kb_store(k, low_access(&rk.ctx, with_last_one(node->type), out), loss);
    end_rows(&rk);
}

/* dy (softmax(x) sum(target) - target) */
void pass_tile_softmax_xent_grad(low_state *low, const low_cluster *cluster) {
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    ir_value dy = node->operand[0], x = node->operand[1], target = node->operand[2];
    row_kernel rk = begin_rows(low, cluster, node->type);
    kb_kernel *k = &rk.ctx.k;
    row_softmax s = softmax_parts(&rk, x, target);
    int share = kb_map2(k, IR_TILE_div, s.weight, s.sum);
    open_pass(&rk);
    int shifted = kb_map2(k, IR_TILE_sub, low_value(&rk.ctx, x), s.max);
    int expected = kb_map2(k, IR_TILE_mul, kb_map1(k, IR_TILE_exp, shifted), share);
    int off = kb_map2(k, IR_TILE_sub, expected, low_value(&rk.ctx, target));
    int scale = low_value_as(&rk.ctx, dy, with_last_one(ir_type_of(low->graph, dy)));
    store_pass(&rk, cluster, kb_map2(k, IR_TILE_mul, scale, off));
    end_rows(&rk);
}
