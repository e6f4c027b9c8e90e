/* Emission contexts: domains, accesses, and the tile of a value at the current place. */
#include "lowering.h"

#include <math.h>
#include <string.h>

/* A memo for one context: kernels are nested when one needs a buffer that another one fills. */
static low_memo *take_memo(low_state *low) {
    low_memo *memo = low->memos;
    size_t nodes = low->graph->count + 1;
    if (memo) {
        low->memos = memo->next;
        return memo;
    }
    memo = ir_arena_alloc(low->scratch, sizeof *memo);
    memo->stmt = ir_arena_alloc(low->scratch, nodes * sizeof *memo->stmt);
    memo->made = ir_arena_alloc(low->scratch, nodes * sizeof *memo->made);
    return memo;
}

low_context low_begin(low_state *low, const low_cluster *cluster, const char *name) {
    low_context ctx = {.low = low, .cluster = cluster, .row_group = -1, .col_group = -1};
    ctx.rows = ctx.cols = IR_FIXED(1);
    ctx.sample_loop = ctx.section = -1;
    ctx.k = kb_begin(low->plan->arena, name, "");
    ctx.memo = take_memo(low);
    low_forget(&ctx);
    return ctx;
}

void low_forget(low_context *ctx) {
    ctx->memo->current++;
}

void low_bind(low_context *ctx, int32_t node, int stmt) {
    ctx->memo->stmt[node] = stmt;
    ctx->memo->made[node] = ctx->memo->current;
}

/* A unit belongs to the prologue when it reads parameters only, to the updates when it writes
 * state. */
static low_section section_of(const low_context *ctx) {
    const low_state *low = ctx->low;
    if (ctx->section >= 0) return (low_section)ctx->section;
    bool fixed = true;
    for (size_t i = 0; i < ctx->cluster->count; i++) {
        int32_t node = ctx->cluster->member[i];
        fixed = fixed && low->fixed[node];
        if (low->late[node]) return LOW_UPDATE;
    }
    return fixed ? LOW_PROLOGUE : LOW_MAIN;
}

low_unit *low_finish(low_context *ctx) {
    low_state *low = ctx->low;
    /* A sum may read an element after it was stored: no operand is overwritten in place then. */
    if (ctx->cluster && low_sums_find(ctx).count)
        for (size_t i = 0; i < ctx->argument_count; i++)
            ctx->arguments[i].elementwise = false;
    low_unit *unit = IR_PUSH(low->scratch, low->units, low->unit_count, low->unit_capacity);
    unit->kernel = kb_finish(&ctx->k);
    unit->arguments = ctx->arguments;
    unit->argument_count = ctx->argument_count;
    unit->section = section_of(ctx);
    unit->sample_local = ctx->sample_local;
    ctx->memo->next = low->memos;
    low->memos = ctx->memo;
    ctx->memo = NULL;
    return unit;
}

void low_set_groups(low_context *ctx, ir_type domain, int count, const int *ends) {
    ctx->domain = domain;
    ctx->groups = count;
    int first = 0;
    for (int g = 0; g < count; g++) {
        ctx->group_first[g] = first;
        ctx->group_last[g] = ends[g];
        ctx->group_size[g] = 1;
        for (int d = first; d <= ends[g]; d++)
            ctx->group_size[g] *= domain.dim[d];
        ctx->index[g] = kb_affine(0);
        first = ends[g] + 1;
    }
}

static int64_t aligned_dim(ir_type domain, ir_type type, int d) {
    int own = d - (domain.rank - type.rank);
    return own < 0 ? 1 : type.dim[own];
}

/* Whether every tensor has both dimensions whole or both absent. */
static bool can_merge(ir_type domain, const ir_type *types, size_t count, int a, int b) {
    if (domain.dim[a] == 1 || domain.dim[b] == 1) return true;
    for (size_t t = 0; t < count; t++) {
        bool has_a = aligned_dim(domain, types[t], a) != 1;
        bool has_b = aligned_dim(domain, types[t], b) != 1;
        if (has_a != has_b) return false;
    }
    return true;
}

void low_collapse(low_context *ctx, ir_type domain, const ir_type *types, size_t count,
                  const bool *split) {
    int ends[IR_MAX_RANK], groups = 0, solid = -1;
    if (domain.rank == 0) {
        domain.rank = 1;
        domain.dim[0] = 1;
    }
    for (int d = 0; d < domain.rank; d++) {
        bool join = groups > 0 && !split[d - 1];
        if (join && domain.dim[d] != 1 && solid >= 0)
            join = can_merge(domain, types, count, solid, d);
        if (join) {
            ends[groups - 1] = d;
            if (domain.dim[d] != 1) solid = d;
        } else {
            ends[groups++] = d;
            solid = domain.dim[d] != 1 ? d : -1;
        }
    }
    low_set_groups(ctx, domain, groups, ends);
}

int64_t low_stride(const low_context *ctx, ir_type type, int group) {
    int last = -1;
    for (int d = ctx->group_first[group]; d <= ctx->group_last[group]; d++)
        if (ctx->domain.dim[d] != 1) last = d;
    if (last < 0 || aligned_dim(ctx->domain, type, last) == 1) return 0;
    int64_t stride = 1;
    for (int d = last + 1; d < ctx->domain.rank; d++)
        stride *= aligned_dim(ctx->domain, type, d);
    return stride;
}

static ir_affine scaled(ir_affine a, int64_t factor) {
    a.base *= factor;
    for (int i = 0; i < a.count; i++)
        a.term[i].factor *= factor;
    return a;
}

ir_access low_access(const low_context *ctx, ir_type type, int param) {
    ir_affine at = kb_affine(0);
    for (int g = 0; g < ctx->groups; g++) {
        int64_t stride = low_stride(ctx, type, g);
        if (stride) at = kb_add(at, scaled(ctx->index[g], stride));
    }
    int64_t row = ctx->row_group >= 0 ? low_stride(ctx, type, ctx->row_group) : 0;
    int64_t col = ctx->col_group >= 0 ? low_stride(ctx, type, ctx->col_group) : 0;
    return kb_access(param, at, row, col);
}

int low_buffer_param(low_context *ctx, const char *name, int32_t buffer, bool written,
                     bool sliced) {
    for (size_t i = 0; i < ctx->argument_count; i++)
        if (ctx->arguments[i].buffer == buffer && ctx->arguments[i].written == written) {
            ctx->arguments[i].elementwise = false;
            return (int)i;
        }
    ir_dtype dtype = ctx->low->plan->buffers[buffer].dtype;
    low_argument *a =
        IR_PUSH(ctx->low->scratch, ctx->arguments, ctx->argument_count, ctx->argument_capacity);
    *a = (low_argument){
        .buffer = buffer, .root = -1, .written = written, .sliced = sliced && ctx->sample_local};
    return kb_param(&ctx->k, name, dtype, written);
}

bool low_batched(const low_state *low, ir_value value) {
    const ir_node *node = ir_at(low->graph, value);
    return !low->fixed[value.id] && node->type.rank > 0 && node->type.dim[0] == low->batch;
}

void low_loop_samples(low_context *ctx, int64_t count) {
    ctx->sample_loop = kb_parallel(&ctx->k, "n", count, 1);
    ctx->sample_local = count == ctx->low->batch;
}

void low_open_samples(low_context *ctx, int group) {
    low_loop_samples(ctx, ctx->group_size[group]);
    ctx->index[group] = kb_plus(kb_affine(0), ctx->sample_loop, 1);
}

bool low_in_a_row(const low_context *ctx) {
    return ctx->sample_local && low_by_sample(ctx->low) && section_of(ctx) == LOW_MAIN;
}

int low_open_parts(low_context *ctx, int64_t size, int64_t least, int64_t unit) {
    int64_t most = size / least < LOW_PARTS ? size / least : LOW_PARTS;
    if (ctx->k.kernel.tasks >= LOW_ENOUGH_TASKS || most < 2 || low_in_a_row(ctx)) return -1;
    int64_t part = kb_part(size, most, unit);
    return part < size ? kb_parallel(&ctx->k, "p", size, part) : -1;
}

int low_loop_part(low_context *ctx, const char *name, int part, low_steps over) {
    return part >= 0
               ? kb_loop_within(&ctx->k, name, part, over.step)
               : kb_loop(&ctx->k, name, over.size, over.step < over.size ? over.step : over.size);
}

static const char *param_name(low_context *ctx, bool written) {
    return ir_arena_printf(ctx->low->plan->arena, "%s%zu", written ? "out" : "in",
                           ctx->argument_count);
}

int low_param(low_context *ctx, ir_value value, bool written, bool elementwise) {
    low_state *low = ctx->low;
    int32_t root = low_root(low, value);
    const ir_node *node = &low->graph->nodes[root];
    low_section section = section_of(ctx);
    int32_t buffer = low_buffer(low, root, section);
    size_t before = ctx->argument_count;
    bool had_elementwise = true;
    for (size_t i = 0; i < before; i++)
        if (ctx->arguments[i].buffer == buffer && ctx->arguments[i].written == written)
            had_elementwise = ctx->arguments[i].elementwise;
    bool sliced = low_batched(low, (ir_value){(uint32_t)root});
    int param = low_buffer_param(ctx, param_name(ctx, written), buffer, written, sliced);
    ctx->arguments[param].elementwise = had_elementwise && elementwise;
    ctx->arguments[param].root = root;
    if (node->op == IR_OP_step) ctx->arguments[param].offset = 8;
    return param;
}

static bool inside(const low_context *ctx, int32_t node) {
    if (!low_is(ctx->low, node, IR_POINTWISE)) return false;
    return ctx->cluster && ctx->low->cluster_of[node] >= 0 &&
           &ctx->low->clusters[ctx->low->cluster_of[node]] == ctx->cluster;
}

/* The operand's shape as it lines up with the domain: a label has one row per row of the result. */
static ir_type operand_type(const low_state *low, const ir_node *user, ir_value operand) {
    ir_type type = ir_type_of(low->graph, operand);
    if (user && user->op == IR_OP_one_hot) type.dim[type.rank++] = 1;
    return type;
}

static int load_value(low_context *ctx, ir_value value, ir_type type) {
    const ir_node *node = ir_at(ctx->low->graph, value);
    bool whole = ir_type_same_shape(type, ctx->domain);
    int param = low_param(ctx, value, false, whole);
    /* Read as a whole for every sample: no slice, even if its first dimension is as long. */
    if (ctx->sample_loop >= 0 && !low_stride(ctx, type, 0)) ctx->arguments[param].sliced = false;
    if (node->op == IR_OP_lr || node->op == IR_OP_step)
        return kb_load(&ctx->k, kb_access(param, kb_affine(0), 0, 0), IR_FIXED(1), IR_FIXED(1));
    return kb_load(&ctx->k, low_access(ctx, type, param), ctx->rows, ctx->cols);
}

static int compute_value(low_context *ctx, ir_value value, ir_type type) {
    const ir_node *node = ir_at(ctx->low->graph, value);
    if (node->op == IR_OP_reshape && /* another sparsity, the same element */
        ir_type_same_shape(node->type, ir_type_of(ctx->low->graph, node->operand[0])))
        return low_value_as(ctx, node->operand[0], type);
    if (node->op == IR_OP_constant) return kb_constant(&ctx->k, node->attrs.value);
    if (!inside(ctx, (int32_t)value.id)) return load_value(ctx, value, type);
    int operand[IR_MAX_OPERANDS];
    for (int i = 0; i < node->operand_count; i++)
        operand[i] =
            low_value_as(ctx, node->operand[i], operand_type(ctx->low, node, node->operand[i]));
    return low_scalar_rule(ctx, node, operand);
}

int low_value_as(low_context *ctx, ir_value value, ir_type type) {
    if (ctx->memo->made[value.id] == ctx->memo->current) return ctx->memo->stmt[value.id];
    int stmt = compute_value(ctx, value, type);
    low_bind(ctx, (int32_t)value.id, stmt);
    return stmt;
}

int low_value(low_context *ctx, ir_value value) {
    return low_value_as(ctx, value, ir_type_of(ctx->low->graph, value));
}

static bool is_one(ir_extent e) {
    return e.loop < 0 && e.fixed == 1;
}

int low_fold(low_context *ctx, ir_tile_op fold, int value) {
    bool rows = fold == IR_TILE_sum_rows;
    const ir_stmt *s = &ctx->k.kernel.stmts[value];
    ir_extent have = rows ? s->rows : s->cols, want = rows ? ctx->rows : ctx->cols;
    if ((rows || fold == IR_TILE_sum_cols) && is_one(have) && !is_one(want)) {
        ir_stmt zeros = {.op = IR_TILE_iota, .rows = IR_FIXED(1), .cols = IR_FIXED(1), .loop = -1};
        for (int i = 0; i < 3; i++)
            zeros.operand[i] = IR_NO_STMT;
        *(rows ? &zeros.rows : &zeros.cols) = want;
        zeros.access = kb_access(-1, kb_affine(0), 0, 0);
        value = kb_map2(&ctx->k, IR_TILE_add, value, kb_stmt(&ctx->k, zeros));
    }
    return kb_fold(&ctx->k, fold, value);
}

void low_store_as(low_context *ctx, ir_access access, ir_extent rows, ir_extent cols, int value) {
    ir_stmt store = {.op = IR_TILE_store, .rows = rows, .cols = cols, .loop = -1};
    store.operand[0] = value;
    store.operand[1] = store.operand[2] = IR_NO_STMT;
    store.access = access;
    kb_stmt(&ctx->k, store);
}

/* Stored element by element, not as a sum. */
static bool is_kept(const low_state *low, int32_t node) {
    return !low_is(low, node, IR_REDUCES) && low_stored(low, node);
}

void low_store_members(low_context *ctx) {
    const low_state *low = ctx->low;
    const low_cluster *c = ctx->cluster;
    for (size_t i = 0; i < c->count; i++) /* all values before the first store */
        if (is_kept(low, c->member[i])) low_value(ctx, (ir_value){(uint32_t)c->member[i]});
    for (size_t i = 0; i < c->count; i++) {
        ir_value value = {(uint32_t)c->member[i]};
        if (!is_kept(low, c->member[i])) continue;
        int param = low_param(ctx, value, true, true);
        low_store_as(ctx, low_access(ctx, ir_type_of(low->graph, value), param), ctx->rows,
                     ctx->cols, low_value(ctx, value));
    }
}

low_sums low_sums_find(const low_context *ctx) {
    low_sums sums = {0};
    for (size_t i = 0; i < ctx->cluster->count; i++)
        if (low_is(ctx->low, ctx->cluster->member[i], IR_REDUCES)) {
            IR_ASSERT(sums.count < 8);
            sums.node[sums.count++] = ctx->cluster->member[i];
        }
    return sums;
}

static bool is_max(const low_context *ctx, int32_t node) {
    return ctx->low->graph->nodes[node].op == IR_OP_max;
}

void low_sums_start(low_context *ctx, low_sums *sums) {
    for (int i = 0; i < sums->count; i++)
        sums->start[i] = kb_constant(&ctx->k, is_max(ctx, sums->node[i]) ? -INFINITY : 0);
}

void low_sums_begin(low_context *ctx, low_sums *sums, ir_extent cols) {
    for (int i = 0; i < sums->count; i++)
        sums->carry[i] = kb_carry(&ctx->k, sums->start[i], IR_FIXED(1), cols);
}

void low_sums_add(low_context *ctx, const low_sums *sums) {
    for (int i = 0; i < sums->count; i++) {
        const ir_node *node = &ctx->low->graph->nodes[sums->node[i]];
        int value = low_value(ctx, node->operand[0]);
        bool whole_rows = ctx->k.kernel.stmts[sums->carry[i]].cols.loop >= 0 ||
                          ctx->k.kernel.stmts[sums->carry[i]].cols.fixed != 1;
        bool max = is_max(ctx, sums->node[i]);
        ir_tile_op fold = whole_rows ? max ? IR_TILE_max_rows : IR_TILE_sum_rows
                          : max      ? IR_TILE_max_cols
                                     : IR_TILE_sum_cols;
        int part = low_fold(ctx, fold, value);
        kb_yield(&ctx->k, sums->carry[i],
                 kb_map2(&ctx->k, max ? IR_TILE_max : IR_TILE_add, sums->carry[i], part));
    }
}

void low_sums_store(low_context *ctx, const low_sums *sums) {
    for (int i = 0; i < sums->count; i++) {
        ir_value value = {(uint32_t)sums->node[i]};
        const ir_node *node = ir_at(ctx->low->graph, value);
        int param = low_param(ctx, value, true, false);
        /* The result's shape with the summed dimensions kept as 1. */
        ir_type type = ir_type_of(ctx->low->graph, node->operand[0]);
        for (int a = 0; a < node->attrs.axes.count; a++)
            type.dim[node->attrs.axes.item[a]] = 1;
        ir_access access = low_access(ctx, type, param);
        access.row_stride = 0;
        kb_store(&ctx->k, access, sums->carry[i]);
    }
}
