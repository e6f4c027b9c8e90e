/* The masked-dense form of a tile-sparse graph: every sparse tensor becomes the whole image, and
 * what mixes sites reads it multiplied by the visible mask. Same results, none of the savings: an
 * oracle for the sparse kernels, and what others compute.
 *
 *     gather_tiles(image)     image * visible
 *     scatter_tiles(x)        x * visible
 *     sparse_conv(x, w)       conv(x * visible, w)         patches: conv(x, w)
 *     sum(x, sites)           sum(x * visible, sites)      max likewise
 *
 * What stays within a site (linear, layer norm, pointwise ops) computes on removed sites as well;
 * their values are never read.
 *
 * requires     no gradients yet
 * establishes  no tile-sparse tensors
 * breaks       nothing
 */
#include "hooks.h"
#include "pass.h"
#include "pass_rewrite.h"

typedef struct densifier {
    const ir_graph *from;
    ir_graph *to;
    ir_value *map; /* old id to new value */
    ir_diag *diag;
    bool failed;
} densifier;

/* Composites that work within a site have the same name in both forms; their parts may not. */
static bool within_site(ir_op op) {
    return op == IR_OP_local_response_norm;
}

static ir_value expand_all_but_conv(ir_graph *to, const ir_node *node, void *context) {
    (void)context;
    if (ir_op_get(node->op)->kind != IR_COMPOSITE || node->op == IR_OP_sparse_conv ||
        within_site(node->op))
        return IR_NO_VALUE;
    return ir_expand(to, node);
}

static ir_type scalar_type(void) {
    return ir_type_make(IR_F32, 0, NULL);
}

static bool is_sparse(const densifier *d, ir_value old) {
    return ir_type_of(d->from, old).sparsity.kept != 0;
}

static ir_value fail_at(densifier *d, const ir_node *node, const char *what) {
    d->failed = true;
    ir_error(d->diag, node->loc,
             "--densify: %s of a tile-sparse tensor has no masked-dense form: %s",
             ir_op_get(node->op)->name, what);
    return IR_NO_VALUE;
}

/* 1 at the sites of listed tiles, else 0: (N, gh tile, gw tile, 1). */
static ir_value visible(densifier *d, ir_value old_table, ir_sparsity s, int64_t tile) {
    ir_graph *to = d->to;
    const ir_node *table = ir_at(d->from, old_table);
    if (table->op != IR_OP_kept_tiles) return fail_at(d, table, "its table is not kept_tiles");
    ir_value mask = d->map[table->operand[0].id];
    int64_t n = ir_type_of(to, mask).dim[0], gh = s.grid_h, gw = s.grid_w;
    ir_value m = ir_reshape(to, mask, ir_type_make(IR_F32, 5, (int64_t[]){n, gh, 1, gw, 1}));
    if (!table->attrs.removed) m = ir_binary(to, IR_OP_sub, ir_constant(to, scalar_type(), 1), m);
    ir_attrs wide = {.shape = IR_INTS(n, gh, tile, gw, tile), .set = IR_SET(shape)};
    if (tile > 1) m = ir_build(to, IR_OP_broadcast, &m, 1, &wide, NULL);
    return ir_reshape(to, m, ir_type_make(IR_F32, 4, (int64_t[]){n, gh * tile, gw * tile, 1}));
}

/* The dense form of a sparse value, zero at removed sites. */
static ir_value masked(densifier *d, ir_value old) {
    ir_type type = ir_type_of(d->from, old);
    ir_value table = ir_sparse_table(d->from, old);
    if (!ir_some(table)) return fail_at(d, ir_at(d->from, old), "its table is unknown");
    ir_value m = visible(d, table, type.sparsity, type.dim[2]);
    return ir_some(m) ? ir_binary(d->to, IR_OP_mul, d->map[old.id], m) : m;
}

static ir_value move(densifier *d, const ir_node *node) {
    const ir_attrs *a = &node->attrs;
    bool gather = node->op == IR_OP_gather_tiles;
    ir_value x = d->map[node->operand[0].id];
    int64_t tile = gather ? a->tile : ir_type_of(d->from, node->operand[0]).dim[2];
    if (a->border || (a->spacing && a->spacing != tile))
        return fail_at(d, node, "tiles overlap or have a border");
    ir_attrs order = {.order = IR_INTS(0, 2, 3, 1), .set = IR_SET(order)};
    if (gather && a->channels_first) x = ir_build(d->to, IR_OP_permute, &x, 1, &order, NULL);
    ir_sparsity s = {(int32_t)a->grid.item[0], (int32_t)a->grid.item[1], 1};
    ir_value m = visible(d, node->operand[1], s, tile);
    return ir_some(m) ? ir_binary(d->to, IR_OP_mul, x, m) : m;
}

static ir_value convolution(densifier *d, const ir_node *node) {
    ir_type x = ir_type_of(d->from, node->operand[0]), w = ir_type_of(d->from, node->operand[1]);
    const ir_attrs *a = &node->attrs;
    bool patches = node->type.dim[2] != x.dim[2];
    bool depthwise = !patches && a->groups == x.dim[4] && w.dim[0] == x.dim[4];
    ir_value operands[3] = {patches ? d->map[node->operand[0].id] : masked(d, node->operand[0]),
                            d->map[node->operand[1].id]};
    if (!ir_some(operands[0])) return operands[0];
    if (node->operand_count > 3) operands[2] = d->map[node->operand[3].id];
    ir_attrs attrs = {
        .stride = a->stride, .pad = IR_INTS(0, 0), .set = IR_SET(stride) | IR_SET(pad)};
    if (!patches) attrs.pad = IR_INTS(w.dim[2] / 2, w.dim[3] / 2);
    if (!depthwise) attrs.groups = a->groups;
    return ir_build(d->to, depthwise ? IR_OP_depthwise_conv : IR_OP_conv2d, operands,
                    node->operand_count - 1, &attrs, NULL);
}

/* Axes of (N,kept,tile,tile,C) as axes of (N,H,W,C); sites go together. */
static ir_value reduction(densifier *d, const ir_node *node) {
    ir_ints axes = {0};
    int sites = 0;
    for (int i = 0; i < node->attrs.axes.count; i++) {
        int64_t axis = node->attrs.axes.item[i];
        sites += axis >= 1 && axis <= 3;
        if (axis != 3) axes.item[axes.count++] = axis == 4 ? 3 : axis;
    }
    if (sites != 0 && sites != 3) return fail_at(d, node, "it reduces some of the site axes only");
    if (sites == 0 && !node->attrs.keep) return fail_at(d, node, "it needs keep = true");
    bool mixes = sites && is_sparse(d, node->operand[0]);
    ir_value x = mixes ? masked(d, node->operand[0]) : d->map[node->operand[0].id];
    if (mixes && node->op == IR_OP_max && ir_some(x)) { /* removed sites are never the largest */
        ir_value m = ir_at(d->to, x)->operand[1], one = ir_constant(d->to, scalar_type(), 1);
        ir_value low = ir_scale(d->to, ir_binary(d->to, IR_OP_sub, m, one), 3e38);
        x = ir_binary(d->to, IR_OP_add, x, low);
    }
    ir_attrs attrs = {.axes = axes, .keep = node->attrs.keep, .set = IR_SET(axes) | IR_SET(keep)};
    return ir_some(x) ? ir_build(d->to, node->op, &x, 1, &attrs, NULL) : x;
}

/* (N,1,1,1,C) goes with sparse tensors as (N,1,1,C) goes with images. */
static ir_value without_one(densifier *d, ir_value x) {
    ir_type type = ir_type_of(d->to, x);
    if (type.rank != 5 || type.dim[1] != 1) return x;
    for (int i = 1; i < 4; i++)
        type.dim[i] = type.dim[i + 1];
    type.dim[4] = 0;
    type.rank = 4;
    return ir_reshape(d->to, x, type);
}

static ir_value same_op(densifier *d, const ir_node *node) {
    ir_value operands[IR_MAX_OPERANDS];
    unsigned traits = ir_op_get(node->op)->traits;
    bool local =
        traits & (IR_POINTWISE | IR_ROWS) || node->op == IR_OP_matmul_nt || within_site(node->op);
    if (!local) return fail_at(d, node, "it moves or mixes sites");
    for (int o = 0; o < node->operand_count; o++)
        operands[o] = without_one(d, d->map[node->operand[o].id]);
    return ir_build(d->to, node->op, operands, node->operand_count, &node->attrs, NULL);
}

static ir_value dense_form(densifier *d, ir_value old) {
    const ir_node *node = ir_at(d->from, old);
    bool touches = is_sparse(d, old);
    for (int o = 0; o < node->operand_count; o++) {
        ir_value x = node->operand[o];
        touches = touches || is_sparse(d, x) ||
                  !ir_type_equal(ir_type_of(d->from, x), ir_type_of(d->to, d->map[x.id]));
    }
    if (!touches) return ir_copy_node(d->to, d->from, old, d->map);
    if (node->op == IR_OP_gather_tiles || node->op == IR_OP_scatter_tiles) return move(d, node);
    if (node->op == IR_OP_sparse_conv) return convolution(d, node);
    if (ir_op_get(node->op)->traits & IR_REDUCES) return reduction(d, node);
    return same_op(d, node);
}

ir_graph *pass_densify(const ir_graph *in, const pass_context *context) {
    ir_graph *from = pass_rewrite_stable(in, expand_all_but_conv, NULL, IR_OP_COUNT);
    densifier d = {.from = from, .to = ir_graph_new(from->name, from->kind), .diag = context->diag};
    ir_copy_header(d.to, from);
    d.map = ir_arena_alloc(d.to->arena, (from->count + 1) * sizeof *d.map);
    for (size_t i = 0; i < from->count && !d.failed; i++) {
        size_t first = d.to->count;
        d.map[i] = dense_form(&d, (ir_value){(uint32_t)i});
        for (size_t k = first; k < d.to->count; k++)
            if (!d.to->nodes[k].loc.source) d.to->nodes[k].loc = from->nodes[i].loc;
    }
    for (size_t i = 0; i < from->output_count && !d.failed; i++)
        if (is_sparse(&d, from->outputs[i].value))
            fail_at(&d, ir_at(from, from->outputs[i].value), "it is an output");
    if (!d.failed) ir_copy_results(d.to, from, d.map);
    ir_graph_free(from);
    if (!d.failed) return d.to;
    ir_graph_free(d.to);
    return NULL;
}
