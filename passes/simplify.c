/* Makes large tensors few: moves cancel, broadcasts vanish into their readers, factors go to the
 * smaller operand, and sums come before the products they commute with.
 *
 *     reshape(reshape(x)) = reshape(x)         permute(permute(x)) = permute(x) or x
 *     f(broadcast(x), y)  = f(x, y)            f(broadcast(x)) = broadcast(f(x))     f pointwise
 *     scale(x s)          = x scale(s)         (x s) t = x (s t), (x + s) + t = x + (s + t)
 *     sum(broadcast(x))   = scale(sum(x))      sum(x s) = sum(x) s, sum((x s) y) = sum(x y) s
 *
 * where s and t are smaller than x, and in sums do not change along what is summed.
 *
 * Gradients of sums are broadcasts, and gradients of means scale them: after this pass a GRN's
 * gradient is one sum, one product and one sum of two products per element of its input.
 *
 * requires     primitive ops
 * establishes  no pointwise op or sum reads a broadcast; no reshape reads a reshape, no permute a
 *              permute; none of them is the identity
 * breaks       factors become neighbours (fold); equal subexpressions appear (cse)
 */
#include "op_util.h"
#include "pass.h"
#include "pass_rewrite.h"

static const ir_node *operand(const ir_graph *to, const ir_node *node, int o) {
    return ir_at(to, node->operand[o]);
}

/* The shape of x with ones in front, so that it has this rank. */
static ir_type aligned(ir_type x, int rank) {
    ir_type type = x;
    type.rank = rank;
    for (int d = 0; d < rank; d++) {
        int own = d - (rank - x.rank);
        type.dim[d] = own < 0 ? 1 : x.dim[own];
    }
    return type;
}

/* ---- moves ---- */

static ir_value simplify_reshape(ir_graph *to, const ir_node *node) {
    const ir_node *x = operand(to, node, 0);
    if (ir_type_equal(x->type, node->type)) return node->operand[0];
    if (x->op != IR_OP_reshape) return IR_NO_VALUE;
    ir_value inner = x->operand[0];
    if (ir_type_equal(ir_type_of(to, inner), node->type)) return inner;
    return ir_build(to, IR_OP_reshape, &inner, 1, &node->attrs, NULL);
}

/* A permutation that leaves the dimensions larger than 1 in their order moves nothing. */
static bool moves_nothing(ir_type from, const ir_ints *order) {
    int64_t last = -1;
    for (int d = 0; d < order->count; d++) {
        if (from.dim[order->item[d]] == 1) continue;
        if (order->item[d] < last) return false;
        last = order->item[d];
    }
    return true;
}

static ir_value simplify_permute(ir_graph *to, const ir_node *node) {
    const ir_node *x = operand(to, node, 0);
    if (moves_nothing(x->type, &node->attrs.order))
        return ir_reshape(to, node->operand[0], node->type);
    if (x->op != IR_OP_permute) return IR_NO_VALUE;
    ir_attrs attrs = {.order = node->attrs.order, .set = IR_SET(order)};
    for (int d = 0; d < attrs.order.count; d++)
        attrs.order.item[d] = x->attrs.order.item[node->attrs.order.item[d]];
    ir_value inner = x->operand[0];
    return ir_build(to, IR_OP_permute, &inner, 1, &attrs, NULL);
}

/* ---- broadcasts ---- */

static ir_value simplify_broadcast(ir_graph *to, const ir_node *node) {
    const ir_node *x = operand(to, node, 0);
    if (ir_type_equal(x->type, node->type)) return node->operand[0];
    if (x->op != IR_OP_broadcast) return IR_NO_VALUE;
    return ir_broadcast(to, x->operand[0], node->type);
}

/* The one pointwise op whose operands do not broadcast. */
static bool pairs(const ir_graph *to, const ir_value *x) {
    ir_type a = ir_type_of(to, x[0]), b = ir_type_of(to, x[1]);
    return a.rank > 0 && a.dim[a.rank - 1] == 1 && ir_type_same_shape(a, b);
}

/* A pointwise op computes on what its operands were before they were repeated; what is still to be
 * repeated is its result. */
static ir_value through_pointwise(ir_graph *to, const ir_node *node) {
    ir_value x[IR_MAX_OPERANDS];
    bool found = false;
    for (int o = 0; o < node->operand_count; o++) {
        const ir_node *from = operand(to, node, o);
        bool repeats = from->op == IR_OP_broadcast;
        x[o] = repeats ? from->operand[0] : node->operand[o];
        found = found || repeats;
    }
    if (!found || (node->op == IR_OP_pair && !pairs(to, x))) return IR_NO_VALUE;
    ir_value y = ir_build(to, node->op, x, node->operand_count, &node->attrs, NULL);
    return ir_broadcast(to, y, node->type);
}

/* ---- factors and terms ---- */

static bool smaller(ir_type a, ir_type b) {
    return ir_type_elements(a) < ir_type_elements(b);
}

/* Splits a binary node into a tensor of the result's shape and a smaller one. */
static bool split(const ir_graph *to, ir_value value, ir_op op, ir_value *large, ir_value *small) {
    const ir_node *node = ir_at(to, value);
    if (node->op != op) return false;
    for (int o = 0; o < 2; o++) {
        *large = node->operand[o];
        *small = node->operand[1 - o];
        if (smaller(ir_type_of(to, *small), node->type) &&
            ir_type_same_shape(ir_type_of(to, *large), node->type))
            return true;
    }
    return false;
}

static ir_value simplify_scale(ir_graph *to, const ir_node *node) {
    ir_value large, small;
    if (!split(to, node->operand[0], IR_OP_mul, &large, &small)) return IR_NO_VALUE;
    return ir_binary(to, IR_OP_mul, large, ir_scale(to, small, node->attrs.factor));
}

/* (x s) t and (x + s) + t: s joins t if that stays small. */
static ir_value join_small(ir_graph *to, const ir_node *node) {
    for (int o = 0; o < 2; o++) {
        ir_value x = node->operand[o], t = node->operand[1 - o], large, small;
        ir_type type = ir_type_of(to, t), joined;
        if (!smaller(type, node->type) || !split(to, x, node->op, &large, &small)) continue;
        if (!op_broadcast(ir_type_of(to, small), type, &joined) || !smaller(joined, node->type))
            continue;
        return ir_binary(to, node->op, large, ir_binary(to, node->op, small, t));
    }
    return IR_NO_VALUE;
}

static ir_value simplify_mul(ir_graph *to, const ir_node *node) {
    for (int o = 0; o < 2; o++) {
        const ir_node *x = operand(to, node, o);
        ir_value t = node->operand[1 - o], inner = x->operand[0];
        if (x->op != IR_OP_scale || !smaller(ir_type_of(to, t), node->type)) continue;
        return ir_binary(to, IR_OP_mul, inner, ir_scale(to, t, x->attrs.factor));
    }
    return join_small(to, node);
}

/* ---- sums ---- */

static ir_value sum_kept(ir_graph *to, ir_value x, ir_ints axes) {
    return axes.count ? ir_sum(to, x, axes, true) : x;
}

/* The axes of a sum, apart: those along which a tensor of this (aligned) shape changes, and others.
 */
static void part_axes(const ir_node *sum, ir_type own, ir_ints *changes, ir_ints *stays) {
    *changes = *stays = (ir_ints){0};
    for (int i = 0; i < sum->attrs.axes.count; i++) {
        int64_t d = sum->attrs.axes.item[i];
        ir_ints *axes = own.dim[d] == 1 ? stays : changes;
        axes->item[axes->count++] = d;
    }
}

static double span_of(ir_type type, const ir_ints *axes) {
    double n = 1;
    for (int i = 0; i < axes->count; i++)
        n *= (double)type.dim[axes->item[i]];
    return n;
}

/* Repeated elements are counted, the others summed. */
static ir_value sum_of_broadcast(ir_graph *to, const ir_node *node, ir_value x) {
    ir_type whole = operand(to, node, 0)->type, own = aligned(ir_type_of(to, x), whole.rank);
    ir_type kept = whole;
    kept.sparsity = (ir_sparsity){0};
    ir_ints changes, stays;
    part_axes(node, own, &changes, &stays);
    for (int i = 0; i < node->attrs.axes.count; i++)
        kept.dim[node->attrs.axes.item[i]] = 1;
    double times = span_of(whole, &stays);
    ir_value y = sum_kept(to, ir_reshape(to, x, own), changes);
    if (times != 1) y = ir_scale(to, y, times);
    return ir_reshape(to, ir_broadcast(to, y, kept), node->type);
}

/* sum(x s) and sum(x + s): the axes along which s does not change are summed first. */
static ir_value sum_before_small(ir_graph *to, const ir_node *node, ir_op op, ir_value large,
                                 ir_value small) {
    ir_type whole = ir_type_of(to, large), own = aligned(ir_type_of(to, small), whole.rank);
    ir_ints changes, stays;
    part_axes(node, own, &changes, &stays);
    if (stays.count == 0) return IR_NO_VALUE;
    ir_value s = ir_reshape(to, small, own);
    if (op == IR_OP_add) s = ir_scale(to, s, span_of(whole, &stays));
    ir_value y = ir_binary(to, op, ir_sum(to, large, stays, true), s);
    return ir_reshape(to, sum_kept(to, y, changes), node->type);
}

/* sum((x s) y) = sum((x y) s), so that the small factor can leave the sum. */
static ir_value sum_of_product(ir_graph *to, const ir_node *node) {
    const ir_node *product = operand(to, node, 0);
    ir_value pair[2] = {product->operand[0], product->operand[1]}, large, small;
    for (int o = 0; o < 2; o++) {
        if (!split(to, pair[o], IR_OP_mul, &large, &small)) continue;
        if (!ir_type_same_shape(ir_type_of(to, pair[o]), product->type)) continue;
        ir_type own = aligned(ir_type_of(to, small), product->type.rank);
        ir_ints changes, stays;
        part_axes(node, own, &changes, &stays);
        if (stays.count == 0) continue;
        ir_value y = ir_binary(to, IR_OP_mul, large, pair[1 - o]);
        return sum_before_small(to, node, IR_OP_mul, y, small);
    }
    return IR_NO_VALUE;
}

/* Dimensions of size 1 are no sums. */
static ir_value sum_without_ones(ir_graph *to, const ir_node *node) {
    ir_type x = operand(to, node, 0)->type;
    ir_ints changes, stays;
    part_axes(node, x, &changes, &stays);
    if (stays.count == 0) return IR_NO_VALUE;
    return ir_reshape(to, sum_kept(to, node->operand[0], changes), node->type);
}

static ir_value simplify_sum(ir_graph *to, const ir_node *node) {
    const ir_node *x = operand(to, node, 0);
    ir_value inner = x->operand[0], large, small, y = sum_without_ones(to, node);
    if (ir_some(y)) return y;
    if (x->op == IR_OP_broadcast) return sum_of_broadcast(to, node, inner);
    if (x->op == IR_OP_scale) {
        double factor = x->attrs.factor;
        return ir_scale(to, ir_sum(to, inner, node->attrs.axes, node->attrs.keep), factor);
    }
    for (int i = 0; i < 2; i++) {
        ir_op op = i ? IR_OP_add : IR_OP_mul;
        if (!split(to, node->operand[0], op, &large, &small)) continue;
        y = sum_before_small(to, node, op, large, small);
        if (ir_some(y)) return y;
    }
    return x->op == IR_OP_mul ? sum_of_product(to, node) : IR_NO_VALUE;
}

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    (void)context;
    ir_value y = IR_NO_VALUE;
    switch ((int)node->op) {
    case IR_OP_reshape: return simplify_reshape(to, node);
    case IR_OP_permute: return simplify_permute(to, node);
    case IR_OP_broadcast: return simplify_broadcast(to, node);
    case IR_OP_sum: return simplify_sum(to, node);
    default: break; /* pointwise ops below, others stay */
    }
    if (ir_op_get(node->op)->traits & IR_POINTWISE) y = through_pointwise(to, node);
    if (ir_some(y)) return y;
    if (node->op == IR_OP_scale) return simplify_scale(to, node);
    if (node->op == IR_OP_add) return join_small(to, node);
    return node->op == IR_OP_mul ? simplify_mul(to, node) : IR_NO_VALUE;
}

ir_graph *pass_simplify(const ir_graph *in, const pass_context *context) {
    (void)context;
    return pass_rewrite_stable(in, rule, NULL, 16);
}
