/* Moves what is the same for many rows past matrix products, so that they run over few rows and no
 * tensor is rewritten only to be multiplied.
 *
 *     matmul(broadcast(x), w)            = broadcast(matmul(x, w))          matmul_nt, matmul_nn
 *     matmul(mul(x, t), w)               = mul(matmul(x, w), t)             t one number per row
 *     matmul_tn(broadcast(x), y)         = matmul_tn(x, sum(y))
 *     matmul_tn(mul(x, t), mul(y, s))    = matmul_tn(x, mul(y, mul(s, t)))  s, t smaller
 *
 * With global pooling the gradient of the last block is the same for all pixels of a sample, so two
 * of its four large backward products nearly vanish; and the gradient behind a drop path is never
 * written out: its factor joins the scale of the GRN.
 *
 * requires     primitive ops
 * establishes  no ungrouped matrix product reads a tensor that is repeated from row to row
 * breaks       broadcasts and factors stand behind products (simplify)
 */
#include "op_util.h"
#include "pass.h"
#include "pass_rewrite.h"

static const ir_node *operand(const ir_graph *to, const ir_node *node, int o) {
    return ir_at(to, node->operand[o]);
}

static ir_value product(ir_graph *to, ir_op op, ir_value a, ir_value b) {
    return ir_build(to, op, (ir_value[]){a, b}, 2, NULL, NULL);
}

/* x of broadcast(x), with as many dimensions as the broadcast; IR_NO_VALUE if the rows themselves
 * are made by it. */
static ir_value repeated_rows(ir_graph *to, const ir_node *node) {
    if (node->op != IR_OP_broadcast) return IR_NO_VALUE;
    ir_value x = node->operand[0];
    ir_type own = ir_type_of(to, x), type = node->type;
    type.sparsity = own.sparsity;
    for (int d = 0; d < type.rank; d++) {
        int from = d - (type.rank - own.rank);
        type.dim[d] = from < 0 ? 1 : own.dim[from];
    }
    int last = type.rank - 1;
    if (type.dim[last] != node->type.dim[last]) return IR_NO_VALUE;
    return ir_reshape(to, x, type);
}

/* Splits x t with t one number per row, or per several rows. */
static bool split_row_factor(const ir_graph *to, const ir_node *node, ir_value *x, ir_value *t) {
    if (node->op != IR_OP_mul) return false;
    for (int o = 0; o < 2; o++) {
        *x = node->operand[o];
        *t = node->operand[1 - o];
        ir_type own = ir_type_of(to, *t);
        bool row = own.rank == 0 || own.dim[own.rank - 1] == 1;
        if (row && ir_type_same_shape(ir_type_of(to, *x), node->type) &&
            ir_type_elements(own) < ir_type_elements(node->type))
            return true;
    }
    return false;
}

static ir_value through_matmul(ir_graph *to, const ir_node *node) {
    ir_value w = node->operand[1], x, t, few = repeated_rows(to, operand(to, node, 0));
    if (ir_some(few)) {
        return ir_broadcast(to, product(to, node->op, few, w), node->type);
    }
    if (!split_row_factor(to, operand(to, node, 0), &x, &t)) return IR_NO_VALUE;
    return ir_binary(to, IR_OP_mul, product(to, node->op, x, w), t);
}

/* Sums x over the dimensions along which the other operand is repeated. */
static ir_value sum_repeated(ir_graph *to, ir_value x, ir_type few) {
    ir_type type = ir_type_of(to, x);
    ir_ints axes = {0};
    for (int d = 0; d < type.rank - 1; d++)
        if (few.dim[d] != type.dim[d]) axes.item[axes.count++] = d;
    return ir_sum(to, x, axes, true);
}

/* A factor smaller than y that is more than a number per row: t may join it. */
static bool has_scale(const ir_graph *to, const ir_node *y, ir_value t, ir_value *x, ir_value *s) {
    ir_type joined;
    if (y->op != IR_OP_mul) return false;
    for (int o = 0; o < 2; o++) {
        *x = y->operand[o];
        *s = y->operand[1 - o];
        if (ir_type_same_shape(ir_type_of(to, *x), y->type) &&
            op_broadcast(ir_type_of(to, *s), ir_type_of(to, t), &joined) &&
            ir_type_elements(joined) < ir_type_elements(y->type))
            return true;
    }
    return false;
}

static ir_value through_weight_gradient(ir_graph *to, const ir_node *node) {
    for (int o = 0; o < 2; o++) {
        ir_value pair[2] = {node->operand[0], node->operand[1]}, x, s, t;
        ir_value few = repeated_rows(to, operand(to, node, o));
        if (ir_some(few)) {
            pair[o] = few;
            pair[1 - o] = sum_repeated(to, pair[1 - o], ir_type_of(to, few));
            return product(to, node->op, pair[0], pair[1]);
        }
        if (!split_row_factor(to, operand(to, node, o), &pair[o], &t)) continue;
        if (!has_scale(to, operand(to, node, 1 - o), t, &x, &s)) continue;
        pair[1 - o] = ir_binary(to, IR_OP_mul, x, ir_binary(to, IR_OP_mul, s, t));
        return product(to, node->op, pair[0], pair[1]);
    }
    return IR_NO_VALUE;
}

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    (void)context;
    bool forward = node->op == IR_OP_matmul_nt || node->op == IR_OP_matmul_nn;
    if (!(forward || node->op == IR_OP_matmul_tn) || node->attrs.groups != 1) return IR_NO_VALUE;
    return forward ? through_matmul(to, node) : through_weight_gradient(to, node);
}

ir_graph *pass_products(const ir_graph *in, const pass_context *context) {
    (void)context;
    return pass_rewrite_stable(in, rule, NULL, 16);
}
