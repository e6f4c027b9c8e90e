/* Splits sums over the batch: within each sample first, then over the samples.
 *
 *     sum(x (N,H,W,C), axes [0,1,2]) = sum(sum(x, [1,2], keep) (N,1,1,C), [0])
 *
 * The first sum can join the kernel that computes x for one sample, and no task adds to what
 * another one holds: the order of additions, hence every bit, is the same for any number of
 * threads.
 *
 * requires     primitive ops
 * establishes  a sum over dimension 0 of a tensor of rank 3 or more reduces no other dimension
 *              larger than 1
 * breaks       nothing
 */
#include "pass.h"
#include "pass_rewrite.h"

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    (void)context;
    if (node->op != IR_OP_sum) return IR_NO_VALUE;
    const ir_ints *axes = &node->attrs.axes;
    ir_type x = ir_type_of(to, node->operand[0]);
    if (x.rank < 3 || axes->count < 2 || axes->item[0] != 0 || x.dim[0] == 1) return IR_NO_VALUE;
    ir_ints rest = {0};
    for (int i = 1; i < axes->count; i++)
        if (x.dim[axes->item[i]] > 1) rest.item[rest.count++] = axes->item[i];
    if (rest.count == 0) return IR_NO_VALUE;
    ir_value per_sample = ir_sum(to, node->operand[0], rest, true);
    return ir_reshape(to, ir_sum(to, per_sample, IR_INTS(0), true), node->type);
}

ir_graph *pass_split_reduce(const ir_graph *in, const pass_context *context) {
    (void)context;
    return pass_rewrite(in, rule, NULL);
}
