/* Kernels without an anchor: pointwise chains, with sums over rows or over everything that follows.
 *
 *     no sums
 *         parallel n, parallel blocks, loop r, loop j { values; stores }
 *     sums that keep the columns
 *         parallel n, parallel j, loop r { carry += sum of rows } store
 *     sums that take the columns
 *         parallel n, loop r, loop j { carry += sum of columns } store
 */
#include "lowering.h"

enum { ENOUGH_WORK = 2048, VECTORS = 4 }; /* elements of a task */

typedef struct map_shape {
    low_sums sums;
    bool takes_columns; /* the sums include the last dimension */
    bool batched;
    int first_summed, last_summed; /* groups the sums run over, or -1 */
} map_shape;

static size_t gather_types(low_context *ctx, ir_type *types, size_t room) {
    const low_state *low = ctx->low;
    size_t count = 0;
    for (size_t i = 0; i < ctx->cluster->count; i++) {
        int32_t id = ctx->cluster->member[i];
        const ir_node *node = &low->graph->nodes[id];
        IR_ASSERT(count + IR_MAX_OPERANDS + 1 < room);
        if (!low_is(low, id, IR_REDUCES)) types[count++] = node->type;
        for (int o = 0; o < node->operand_count; o++) {
            ir_type type = ir_type_of(low->graph, node->operand[o]);
            if (node->op == IR_OP_one_hot) type.dim[type.rank++] = 1;
            types[count++] = type;
        }
    }
    return count;
}

static bool counts_columns(ir_op op) {
    return op == IR_OP_one_hot || op == IR_OP_pair;
}

static map_shape find_shape(low_context *ctx) {
    low_state *low = ctx->low;
    map_shape shape = {.sums = low_sums_find(ctx), .first_summed = -1, .last_summed = -1};
    ir_type domain = low_domain(low, ctx->cluster);
    bool split[IR_MAX_RANK + 1] = {false};
    int first_axis = -1, last_axis = -1;
    int32_t probe = ctx->cluster->member[0];
    if (shape.sums.count) {
        const ir_node *sum = &low->graph->nodes[shape.sums.node[0]];
        const ir_ints *axes = &sum->attrs.axes;
        first_axis = (int)axes->item[0];
        last_axis = (int)axes->item[axes->count - 1];
        if (first_axis > 0) split[first_axis - 1] = true;
        split[last_axis] = true;
        shape.takes_columns = last_axis == domain.rank - 1;
        probe = (int32_t)sum->operand[0].id;
    }
    for (size_t i = 0; i < ctx->cluster->count; i++) /* these ask for the number of the column */
        if (domain.rank >= 2 && counts_columns(low->graph->nodes[ctx->cluster->member[i]].op))
            split[domain.rank - 2] = true;
    bool by_sample =
        domain.rank >= 2 && low_batched(low, (ir_value){(uint32_t)probe}) && first_axis != 0;
    if (by_sample) split[0] = true;
    shape.batched = by_sample;
    size_t room = ctx->cluster->count * (IR_MAX_OPERANDS + 1) + IR_MAX_OPERANDS + 2;
    ir_type *types = ir_arena_alloc(low->scratch, room * sizeof *types);
    low_collapse(ctx, domain, types, gather_types(ctx, types, room), split);
    for (int g = 0; g < ctx->groups && first_axis >= 0; g++) {
        if (ctx->group_last[g] < first_axis || ctx->group_first[g] > last_axis) continue;
        if (shape.first_summed < 0) shape.first_summed = g;
        shape.last_summed = g;
    }
    return shape;
}

/* Loops over groups that are neither rows nor columns. */
static void open_outer(low_context *ctx, const map_shape *shape, int rows, int cols) {
    for (int g = 0; g < ctx->groups; g++) {
        if (g == rows || g == cols) continue;
        if (g >= shape->first_summed && g <= shape->last_summed) continue;
        if (g == 0 && shape->batched) {
            low_open_samples(ctx, 0);
        } else {
            int loop = kb_parallel(&ctx->k, "o", ctx->group_size[g], 1);
            ctx->index[g] = kb_plus(kb_affine(0), loop, 1);
        }
    }
}

/* A loop over a group, or over the current part of it. */
static int loop_over(low_context *ctx, const char *name, int group, int part, int64_t step) {
    int loop = low_loop_part(ctx, name, part, (low_steps){ctx->group_size[group], step});
    ctx->index[group] = kb_plus(kb_plus(kb_affine(0), part, 1), loop, 1);
    return loop;
}

static void open_cols(low_context *ctx, int group, int part, int64_t step) {
    int loop = loop_over(ctx, "j", group, part, step);
    ctx->col_group = group;
    ctx->cols = IR_STEP_OF(loop);
}

static void open_rows(low_context *ctx, int group, int part, int64_t step) {
    int loop = loop_over(ctx, "r", group, part, step);
    ctx->row_group = group;
    ctx->rows = IR_STEP_OF(loop);
}

static void close_all(low_context *ctx) {
    while (ctx->k.depth > 0)
        kb_end(&ctx->k);
}

static void emit_plain(low_context *ctx, const map_shape *shape) {
    int cols = ctx->groups - 1;
    int rows = ctx->groups - 2;
    if (rows == 0 && shape->batched) rows = -1;
    if (shape->batched && cols == 0) cols = -1; /* rank 1 never is */
    IR_ASSERT(cols >= 0);
    int64_t wide = (int64_t)VECTORS * ctx->low->machine->lanes;
    open_outer(ctx, shape, rows, cols);
    if (rows >= 0) {
        int64_t width = ctx->group_size[cols] < wide ? ctx->group_size[cols] : wide;
        int64_t step = width * 2 <= wide ? wide / width : 1;
        int64_t least = 1 + ENOUGH_WORK / ctx->group_size[cols];
        int part = low_open_parts(ctx, ctx->group_size[rows], least, step);
        low_prelude(ctx);
        open_rows(ctx, rows, part, step);
        open_cols(ctx, cols, -1, width);
    } else {
        int part = low_open_parts(ctx, ctx->group_size[cols], ENOUGH_WORK, wide);
        low_prelude(ctx);
        open_cols(ctx, cols, part, wide);
    }
    low_store_members(ctx);
    close_all(ctx);
}

/* Opens the loops over groups [first, last] that are summed, each carrying the sums on. */
typedef struct sum_levels {
    int count;
    low_sums level[IR_MAX_RANK];
} sum_levels;

static void open_summed(low_context *ctx, sum_levels *s, const low_sums *sums, int first, int last,
                        ir_extent cols) {
    low_sums started = *sums;
    low_sums_start(ctx, &started);
    s->count = 0;
    for (int g = first; g <= last; g++) {
        low_sums *level = &s->level[s->count];
        *level = started;
        open_rows(ctx, g, -1, 1);
        for (int i = 0; i < sums->count; i++)
            level->carry[i] =
                kb_carry(&ctx->k, s->count ? s->level[s->count - 1].carry[i] : started.start[i],
                         IR_FIXED(1), cols);
        s->count++;
    }
}

static void close_summed(low_context *ctx, const sum_levels *s) {
    for (int l = s->count - 1; l >= 0; l--) {
        kb_end(&ctx->k);
        for (int i = 0; l > 0 && i < s->level[l].count; i++)
            kb_yield(&ctx->k, s->level[l - 1].carry[i], s->level[l].carry[i]);
    }
    low_forget(ctx);
}

static void emit_keeping_columns(low_context *ctx, map_shape *shape) {
    int cols = ctx->groups - 1;
    open_outer(ctx, shape, -1, cols);
    int64_t wide = (int64_t)VECTORS * ctx->low->machine->lanes;
    int64_t size = ctx->group_size[cols];
    int j = kb_parallel(&ctx->k, "j", size, wide < size ? wide : size);
    ctx->index[cols] = kb_plus(ctx->index[cols], j, 1);
    ctx->col_group = cols;
    ctx->cols = IR_STEP_OF(j);
    sum_levels levels;
    open_summed(ctx, &levels, &shape->sums, shape->first_summed, shape->last_summed, ctx->cols);
    low_store_members(ctx);
    low_sums_add(ctx, &levels.level[levels.count - 1]);
    close_summed(ctx, &levels);
    low_sums_store(ctx, &levels.level[0]);
    close_all(ctx);
}

static void emit_taking_columns(low_context *ctx, map_shape *shape) {
    int cols = ctx->groups - 1;
    open_outer(ctx, shape, -1, cols);
    sum_levels levels;
    open_summed(ctx, &levels, &shape->sums, shape->first_summed, cols - 1, IR_FIXED(1));
    low_sums inner = shape->sums;
    if (!levels.count) low_sums_start(ctx, &inner);
    int64_t wide = 2LL * VECTORS * ctx->low->machine->lanes;
    open_cols(ctx, cols, -1, wide);
    ctx->row_group = -1;
    ctx->rows = IR_FIXED(1);
    for (int i = 0; i < inner.count; i++)
        inner.carry[i] = kb_carry(
            &ctx->k, levels.count ? levels.level[levels.count - 1].carry[i] : inner.start[i],
            IR_FIXED(1), IR_FIXED(1));
    low_store_members(ctx);
    low_sums_add(ctx, &inner);
    kb_end(&ctx->k);
    for (int i = 0; levels.count && i < inner.count; i++)
        kb_yield(&ctx->k, levels.level[levels.count - 1].carry[i], inner.carry[i]);
    close_summed(ctx, &levels);
    ctx->cols = IR_FIXED(1);
    low_sums_store(ctx, levels.count ? &levels.level[0] : &inner);
    close_all(ctx);
}

void low_tile_map(low_state *low, const low_cluster *cluster) {
    low_context ctx = low_begin(low, cluster, "map");
    map_shape shape = find_shape(&ctx);
    if (!shape.sums.count)
        emit_plain(&ctx, &shape);
    else if (shape.takes_columns)
        emit_taking_columns(&ctx, &shape);
    else
        emit_keeping_columns(&ctx, &shape);
    low_finish(&ctx);
}
