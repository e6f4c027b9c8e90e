/* Rewriting: most passes look at one node at a time and say what stands for it in the new graph.
 *
 * A rule sees the old node with its operands already mapped into `to`, so it sees through
 * everything rewritten before. It returns the value that replaces the node (an operand, or nodes it
 * appends), or IR_NO_VALUE: the node is copied. New nodes inherit the node's place in the source,
 * the result its label. Nodes that nothing needs are left behind; inputs, params and states always
 * stay.
 *
 *     static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
 *         return node->op == IR_OP_scale && node->attrs.factor == 1 ? node->operand[0] :
 * IR_NO_VALUE;
 *     }
 *     return pass_rewrite(in, rule, NULL);
 */
#ifndef PASS_REWRITE_H
#define PASS_REWRITE_H

#include "graph.h"

typedef ir_value pass_rule(ir_graph *to, const ir_node *node, void *context);

ir_graph *pass_rewrite(const ir_graph *from, pass_rule *rule, void *context);
/* Rewrites until no rule fires, at most `rounds` times. */
ir_graph *pass_rewrite_stable(const ir_graph *from, pass_rule *rule, void *context, int rounds);
/* needed[id]: an output or update depends on the node, or it belongs to the interface. In arena. */
bool *pass_needed(const ir_graph *graph, ir_arena *arena);
/* A source that callers see: an input, a parameter or a state. */
bool pass_is_interface(const ir_node *node);

#endif
