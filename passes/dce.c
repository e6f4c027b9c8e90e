/* Drops what no output and no update needs.
 *
 * requires     nothing
 * establishes  every node is needed, or an input, a parameter or a state: those stay, because the
 *              caller of the program knows them
 * breaks       nothing
 */
#include "pass.h"
#include "pass_rewrite.h"

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    (void)to;
    (void)node;
    (void)context;
    return IR_NO_VALUE;
}

ir_graph *pass_dce(const ir_graph *in, const pass_context *context) {
    (void)context;
    return pass_rewrite(in, rule, NULL); /* copies only what is needed */
}
