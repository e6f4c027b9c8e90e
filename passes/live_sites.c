/* Computes values only at the sites that are read.
 *
 * Multiplying by a tile mask says that the other tiles do not matter. So x * mask is x gathered at
 * the tiles where the mask is 1, put back among zeros; and a gather moves up through everything
 * that stays within a site, as long as nothing else reads it there:
 *
 *     x * mask                       scatter(gather(x, tiles of mask))     x computed by a product
 *     gather(f(x, y))                f(gather(x), gather(y))               f pointwise
 *     gather(matmul_nt(x, w))        matmul_nt(gather(x), w)               row_normalize likewise
 *     gather(scatter(x, t), t)       x
 *     gather(patches(image))         the image's tiles themselves
 *     sum(scatter(x), .. sites ..)   sum(x, ..)
 *
 * A loss on removed tiles thus prunes the last layers of a decoder at visible tiles, and a mask
 * token prunes the projection at removed ones, without either being named here.
 *
 * requires     primitive ops, no gradients yet
 * establishes  nothing that others rely on
 * breaks       equal tables and gathers appear (cse)
 */
#include "hooks.h"
#include "pass.h"
#include "pass_rewrite.h"

#include <string.h>

enum { ROUNDS = 64, DEPTH = 24 };

typedef struct site_rewriter {
    const ir_graph *from;
    ir_graph *to;
    ir_value *map;    /* old id to new value */
    int32_t *readers; /* per old id */
    int32_t *uses;    /* per new id: readers of the old value it stands for */
    size_t uses_capacity;
    bool fired;
} site_rewriter;

static const ir_node *at(const site_rewriter *r, ir_value value) {
    return ir_at(r->to, value);
}

/* ---- masks and tables ---- */

typedef struct cell_mask {
    ir_value mask; /* random_mask: exactly `kept` zeros in every row */
    int64_t kept, tiles;
    bool removed; /* 1 at removed tiles, else at kept ones */
} cell_mask;

static bool is_one(const ir_node *node) {
    return node->op == IR_OP_constant && node->attrs.value == 1;
}

/* reshape(mask) to (N,gh,gw,1), or 1 minus that. */
static bool match_mask(const site_rewriter *r, ir_value value, cell_mask *out) {
    const ir_node *node = at(r, value);
    out->removed = true;
    if (node->op == IR_OP_sub && is_one(at(r, node->operand[0]))) {
        out->removed = false;
        node = at(r, node->operand[1]);
    }
    if (node->op != IR_OP_reshape || node->type.rank != 4 || node->type.dim[3] != 1) return false;
    const ir_node *mask = at(r, node->operand[0]);
    if (mask->op != IR_OP_random_mask) return false;
    out->mask = node->operand[0];
    out->kept = mask->attrs.kept;
    out->tiles = mask->type.dim[1];
    return out->kept < out->tiles;
}

static ir_value gather(site_rewriter *r, ir_value x, ir_value table, ir_ints grid) {
    ir_attrs attrs = {.tile = 1, .grid = grid, .set = IR_SET(tile) | IR_SET(grid)};
    return ir_build(r->to, IR_OP_gather_tiles, (ir_value[]){x, table}, 2, &attrs, NULL);
}

/* ---- x * mask ---- */

static bool within_site(const ir_node *node) {
    return ir_op_get(node->op)->traits & IR_POINTWISE || node->op == IR_OP_matmul_nt ||
           node->op == IR_OP_row_normalize;
}

static bool sums_columns(const ir_node *node) {
    return node->op == IR_OP_sum && node->attrs.keep && node->attrs.axes.count == 1 &&
           node->attrs.axes.item[0] == 3;
}

/* Whether something stands behind x that is worth computing at fewer sites: a product, a
 * normalization of rows, or the patches of an image. */
static bool has_product(const site_rewriter *r, ir_value x, int depth) {
    const ir_node *node = at(r, x);
    if (depth == 0 || node->type.rank != 4) return false;
    if (node->op == IR_OP_matmul_nt || node->op == IR_OP_row_normalize) return true;
    if (node->op == IR_OP_reshape) return at(r, node->operand[0])->type.rank == 6;
    if (!within_site(node) && !sums_columns(node)) return false;
    for (int o = 0; o < node->operand_count; o++)
        if (has_product(r, node->operand[o], depth - 1)) return true;
    return false;
}

static ir_value masked_product(site_rewriter *r, const ir_node *node) {
    for (int o = 0; o < 2; o++) {
        cell_mask m;
        ir_value x = node->operand[o];
        if (!match_mask(r, node->operand[1 - o], &m)) continue;
        ir_type type = ir_type_of(r->to, x), cells = ir_type_of(r->to, node->operand[1 - o]);
        if (!ir_type_same_shape(type, node->type) || !has_product(r, x, DEPTH)) continue;
        ir_attrs list = {.kept = m.removed ? m.tiles - m.kept : m.kept,
                         .removed = m.removed,
                         .set = IR_SET(kept) | IR_SET(removed)};
        ir_value table = ir_build(r->to, IR_OP_kept_tiles, &m.mask, 1, &list, NULL);
        ir_attrs place = {.grid = IR_INTS(cells.dim[1], cells.dim[2]), .set = IR_SET(grid)};
        ir_value packed = gather(r, x, table, place.grid);
        return ir_build(r->to, IR_OP_scatter_tiles, (ir_value[]){packed, table}, 2, &place, NULL);
    }
    return IR_NO_VALUE;
}

/* ---- gathers move up ---- */

static bool plain_move(const ir_node *node) {
    return node->attrs.spacing == 0 && node->attrs.border == 0 && !node->attrs.channels_first;
}

/* An operand of a pointwise op, at the gathered sites. */
static ir_value gathered_operand(site_rewriter *r, ir_value x, const ir_node *node) {
    ir_type type = ir_type_of(r->to, x);
    if (type.rank < 2) return x;
    if (type.rank == 4 && (type.dim[1] != 1 || type.dim[2] != 1))
        return gather(r, x, node->operand[1], node->attrs.grid);
    ir_type wide = ir_type_make(IR_F32, 5, (int64_t[]){1, 1, 1, 1, type.dim[type.rank - 1]});
    if (type.rank == 4) wide.dim[0] = type.dim[0];
    return ir_reshape(r->to, x, wide);
}

static bool operands_fit(const site_rewriter *r, const ir_node *x, const ir_ints *grid) {
    for (int o = 0; o < x->operand_count; o++) {
        ir_type type = ir_type_of(r->to, x->operand[o]);
        bool sites = type.rank == 4 && type.dim[0] == x->type.dim[0] &&
                     type.dim[1] == grid->item[0] && type.dim[2] == grid->item[1];
        bool channels = type.rank < 2 || (type.rank == 4 && type.dim[1] == 1 && type.dim[2] == 1);
        if (!sites && !channels) return false;
    }
    return true;
}

/* (N,C,H,W) as (N,gh,gw,p p C): reshape, permute, reshape. */
static ir_value patches_of(site_rewriter *r, const ir_node *x, const ir_node *node) {
    static const int64_t order[] = {0, 2, 4, 3, 5, 1};
    const ir_node *permute = at(r, x->operand[0]);
    if (x->op != IR_OP_reshape || permute->op != IR_OP_permute || permute->type.rank != 6 ||
        memcmp(permute->attrs.order.item, order, sizeof order) != 0)
        return IR_NO_VALUE;
    const ir_node *split = at(r, permute->operand[0]);
    ir_type image = ir_type_of(r->to, split->operand_count ? split->operand[0] : (ir_value){0});
    ir_type t = split->type;
    if (split->op != IR_OP_reshape || image.rank != 4 || t.dim[3] != t.dim[5] ||
        image.dim[1] != t.dim[1] || image.dim[2] != t.dim[2] * t.dim[3] ||
        image.dim[3] != t.dim[4] * t.dim[5] || x->type.dim[3] != t.dim[1] * t.dim[3] * t.dim[3])
        return IR_NO_VALUE;
    ir_attrs attrs = {.tile = t.dim[3],
                      .grid = node->attrs.grid,
                      .channels_first = true,
                      .set = IR_SET(tile) | IR_SET(grid) | IR_SET(channels_first)};
    ir_value tiles = ir_build(r->to, IR_OP_gather_tiles,
                              (ir_value[]){split->operand[0], node->operand[1]}, 2, &attrs, NULL);
    return ir_reshape(r->to, tiles, node->type);
}

static ir_value move_up(site_rewriter *r, const ir_node *node) {
    ir_value x = node->operand[0], table = node->operand[1];
    const ir_node *from = at(r, x);
    if (!plain_move(node) || node->attrs.tile != 1) return IR_NO_VALUE;
    if (from->op == IR_OP_scatter_tiles && plain_move(from))
        return ir_same_table(r->to, from->operand[1], table) ? from->operand[0] : IR_NO_VALUE;
    if (r->uses[x.id] > 1 || !has_product(r, x, DEPTH)) return IR_NO_VALUE;
    if (from->op == IR_OP_reshape) return patches_of(r, from, node);
    ir_node f = *from;
    if (ir_op_get(f.op)->traits & IR_POINTWISE) {
        if (!operands_fit(r, &f, &node->attrs.grid)) return IR_NO_VALUE;
        for (int o = 0; o < f.operand_count; o++)
            f.operand[o] = gathered_operand(r, f.operand[o], node);
        if (f.op == IR_OP_broadcast) return ir_broadcast(r->to, f.operand[0], node->type);
    } else if (f.op == IR_OP_matmul_nt || f.op == IR_OP_row_normalize || sums_columns(&f)) {
        f.operand[0] = gather(r, f.operand[0], table, node->attrs.grid);
        if (f.op == IR_OP_sum) f.attrs.axes.item[0] = 4;
    } else {
        return IR_NO_VALUE;
    }
    return ir_build(r->to, f.op, f.operand, f.operand_count, &f.attrs, NULL);
}

/* ---- sums ---- */

static ir_value sum_of_scattered(site_rewriter *r, const ir_node *node) {
    const ir_node *x = at(r, node->operand[0]);
    const ir_ints *axes = &node->attrs.axes;
    if (x->op != IR_OP_scatter_tiles || !plain_move(x) || node->attrs.keep) return IR_NO_VALUE;
    ir_ints packed = {0};
    int sites = 0;
    for (int i = 0; i < axes->count; i++) {
        int64_t axis = axes->item[i];
        sites += axis == 1 || axis == 2;
        packed.item[packed.count++] = axis == 3 ? 4 : axis;
        if (axis == 2) packed.item[packed.count++] = 3;
    }
    return sites == 2 ? ir_sum(r->to, x->operand[0], packed, false) : IR_NO_VALUE;
}

/* ---- rounds ---- */

static ir_value rewrite_node(site_rewriter *r, const ir_node *node) {
    switch ((int)node->op) {
    case IR_OP_mul: return masked_product(r, node);
    case IR_OP_gather_tiles: return move_up(r, node);
    case IR_OP_sum: return sum_of_scattered(r, node);
    }
    return IR_NO_VALUE;
}

static void count_readers(site_rewriter *r, ir_arena *scratch) {
    const ir_graph *g = r->from;
    const bool *needed = pass_needed(g, scratch);
    r->readers = ir_arena_alloc(scratch, (g->count + 1) * sizeof *r->readers);
    for (size_t i = 0; i < g->count; i++)
        for (int o = 0; needed[i] && o < g->nodes[i].operand_count; o++)
            r->readers[g->nodes[i].operand[o].id]++;
    for (size_t i = 0; i < g->output_count; i++)
        r->readers[g->outputs[i].value.id]++;
    for (size_t i = 0; i < g->update_count; i++)
        r->readers[g->updates[i].value.id]++;
}

static void note_uses(site_rewriter *r, ir_arena *scratch, size_t first, ir_value result,
                      size_t old) {
    if (r->to->count > r->uses_capacity) {
        size_t capacity = 2 * r->to->count + 64;
        int32_t *wider = ir_arena_alloc(scratch, capacity * sizeof *wider);
        if (first) memcpy(wider, r->uses, first * sizeof *wider);
        r->uses = wider;
        r->uses_capacity = capacity;
    }
    for (size_t i = first; i < r->to->count; i++)
        r->uses[i] = 1;
    if (result.id >= first)
        r->uses[result.id] = r->readers[old];
    else
        r->uses[result.id] += r->readers[old];
}

static ir_graph *round_of(const ir_graph *from, bool *fired) {
    ir_arena *scratch = ir_arena_new();
    site_rewriter r = {.from = from, .to = ir_graph_new(from->name, from->kind)};
    ir_copy_header(r.to, from);
    r.map = ir_arena_alloc(scratch, (from->count + 1) * sizeof *r.map);
    count_readers(&r, scratch);
    for (size_t i = 0; i < from->count; i++) {
        ir_node node = from->nodes[i];
        if (r.readers[i] == 0 && !pass_is_interface(&node)) continue;
        for (int o = 0; o < node.operand_count; o++)
            node.operand[o] = r.map[node.operand[o].id];
        size_t first = r.to->count;
        r.map[i] = rewrite_node(&r, &node);
        bool changed = ir_some(r.map[i]);
        if (!changed) r.map[i] = ir_append(r.to, &node);
        for (size_t k = first; changed && k < r.to->count; k++)
            r.to->nodes[k].loc = node.loc;
        note_uses(&r, scratch, first, r.map[i], i);
        *fired = *fired || changed;
    }
    ir_copy_results(r.to, from, r.map);
    ir_arena_free(scratch);
    return r.to;
}

/* Equal gathers become one between rounds, so that two readers of one set of sites count as one. */
ir_graph *pass_live_sites(const ir_graph *in, const pass_context *context) {
    bool fired = false;
    ir_graph *graph = round_of(in, &fired);
    for (int i = 0; fired && i < ROUNDS; i++) {
        fired = false;
        ir_graph *merged = pass_cse(graph, context);
        ir_graph_free(graph);
        graph = round_of(merged, &fired);
        ir_graph_free(merged);
    }
    return graph;
}
