/* Computes now what is known now: ops on constants, neutral operands, consecutive factors.
 *
 *     scale(scale(x, a), b)  = scale(x, ab)       mul(x, constant c) = scale(x, c)
 *     add(x, constant 0)     = x                  add(x, scale(y, -1)) = sub(x, y)
 *     sum(x, no axes)        = x
 *
 * A constant is a tensor filled with one value, so folding a pointwise op costs one scalar whatever
 * its shape. Nothing here hides a NaN or an infinity: 0 x stays a product.
 *
 * requires     nothing
 * establishes  no pointwise op, sum, reshape or permute has constants only; no factor is 1; no
 *              scale reads a scale; no sum has no axes
 * breaks       nothing
 */
#include "hooks.h"
#include "pass.h"
#include "pass_rewrite.h"

static const ir_node *operand(const ir_graph *to, const ir_node *node, int o) {
    return ir_at(to, node->operand[o]);
}

static bool is_constant(const ir_graph *to, const ir_node *node, int o, double *value) {
    const ir_node *x = operand(to, node, o);
    *value = x->attrs.value;
    return x->op == IR_OP_constant;
}

/* The node's value if every operand is filled with one number and so is the result. */
static bool one_value(const ir_graph *to, const ir_node *node, double *value) {
    double x[IR_MAX_OPERANDS];
    ir_node scalar = *node;
    ir_eval_scalars none = {.step = 1};
    ir_eval_args args = {
        .node = &scalar, .count = node->operand_count, .out = value, .scalars = &none};
    for (int o = 0; o < node->operand_count; o++) {
        if (!is_constant(to, node, o, &x[o])) return false;
        args.type[o] = ir_type_make(IR_F32, 0, NULL);
        args.in[o] = &x[o];
    }
    if (node->operand_count == 0 || node->type.sparsity.kept) return false;
    if (node->op == IR_OP_reshape || node->op == IR_OP_permute) {
        *value = x[0];
        return true;
    }
    if (node->op == IR_OP_sum) {
        int64_t before = ir_type_elements(operand(to, node, 0)->type);
        *value = x[0] * (double)(before / ir_type_elements(node->type));
        return true;
    }
    if (!(ir_op_get(node->op)->traits & IR_POINTWISE)) return false;
    /* These look at the column, too. */
    if (node->op == IR_OP_pair || node->op == IR_OP_one_hot) return false;
    scalar.type = ir_type_make(IR_F32, 0, NULL);
    *value = 0;
    ir_eval(&args);
    return true;
}

/* Whether operand o has the type of the result, so that it can stand for it. */
static bool stands_for(const ir_graph *to, const ir_node *node, int o) {
    return ir_type_equal(operand(to, node, o)->type, node->type);
}

static ir_value fold_scale(ir_graph *to, const ir_node *node) {
    const ir_node *x = operand(to, node, 0);
    if (node->attrs.factor == 1) return node->operand[0];
    if (x->op != IR_OP_scale) return IR_NO_VALUE;
    return ir_scale(to, x->operand[0], node->attrs.factor * x->attrs.factor);
}

static ir_value fold_mul(ir_graph *to, const ir_node *node) {
    double c;
    for (int o = 0; o < 2; o++)
        if (is_constant(to, node, o, &c) && stands_for(to, node, 1 - o))
            return c == 1 ? node->operand[1 - o] : ir_scale(to, node->operand[1 - o], c);
    return IR_NO_VALUE;
}

static ir_value fold_div(ir_graph *to, const ir_node *node) {
    double c;
    if (!is_constant(to, node, 1, &c) || c == 0 || !stands_for(to, node, 0)) return IR_NO_VALUE;
    return c == 1 ? node->operand[0] : ir_scale(to, node->operand[0], 1 / c);
}

static bool is_negated(const ir_graph *to, const ir_node *node, int o) {
    const ir_node *x = operand(to, node, o);
    return x->op == IR_OP_scale && x->attrs.factor == -1;
}

static ir_value fold_add(ir_graph *to, const ir_node *node) {
    double c;
    for (int o = 0; o < 2; o++) {
        ir_value other = node->operand[1 - o];
        if (is_constant(to, node, o, &c) && c == 0 && stands_for(to, node, 1 - o)) return other;
        if (is_negated(to, node, o))
            return ir_binary(to, IR_OP_sub, other, operand(to, node, o)->operand[0]);
    }
    return IR_NO_VALUE;
}

static ir_value fold_sub(ir_graph *to, const ir_node *node) {
    double c;
    if (is_constant(to, node, 1, &c) && c == 0 && stands_for(to, node, 0)) return node->operand[0];
    if (is_constant(to, node, 0, &c) && c == 0 && stands_for(to, node, 1))
        return ir_scale(to, node->operand[1], -1);
    if (!is_negated(to, node, 1)) return IR_NO_VALUE;
    return ir_binary(to, IR_OP_add, node->operand[0], operand(to, node, 1)->operand[0]);
}

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    (void)context;
    double value;
    if (node->type.dtype == IR_F32 && one_value(to, node, &value))
        return ir_constant(to, node->type, value);
    if (ir_op_get(node->op)->traits & IR_REDUCES && node->attrs.axes.count == 0)
        return node->operand[0];
    switch ((int)node->op) {
    case IR_OP_scale: return fold_scale(to, node);
    case IR_OP_mul: return fold_mul(to, node);
    case IR_OP_div: return fold_div(to, node);
    case IR_OP_add: return fold_add(to, node);
    case IR_OP_sub: return fold_sub(to, node);
    default: return IR_NO_VALUE; /* this pass is about these ops */
    }
}

ir_graph *pass_fold(const ir_graph *in, const pass_context *context) {
    (void)context;
    return pass_rewrite_stable(in, rule, NULL, 16);
}
