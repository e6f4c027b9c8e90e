/* Replaces composite ops by the primitive ops they stand for.
 *
 * requires     nothing
 * establishes  primitive and source ops only
 * breaks       nothing
 */
#include "hooks.h"
#include "pass.h"
#include "pass_rewrite.h"

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    (void)context;
    if (ir_op_get(node->op)->kind != IR_COMPOSITE) return IR_NO_VALUE;
    return ir_expand(to, node);
}

ir_graph *pass_expand(const ir_graph *in, const pass_context *context) {
    (void)context;
    return pass_rewrite_stable(in, rule, NULL, IR_OP_COUNT); /* composites may stand for others */
}
