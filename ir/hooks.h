/* The hooks of every op, declared from the table: what an op_*.c must define. Called through the
 * dispatchers in ops.c only.
 *
 *   shape   result type from operand types and attributes; an error says found and expected
 *   eval    reference: plain loops, every tensor as float64; the definition of the op
 *   grad    (primitive) appends the gradient nodes of each operand; IR_NO_VALUE: not differentiable
 *   expand  (composite) appends the primitive form and returns its value
 */
#ifndef IR_HOOKS_H
#define IR_HOOKS_H

#include "eval.h"
#include "graph.h"

/* What a shape hook sees; report with ir_shape_error. */
typedef struct ir_shape_args {
    ir_diag *diag; /* NULL: errors are compiler bugs */
    ir_loc loc;
    ir_op op;
    int count; /* operands given */
    ir_type type[IR_MAX_OPERANDS];
    const ir_attrs *attrs; /* defaults filled in */
} ir_shape_args;
bool ir_shape_error(const ir_shape_args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What an eval hook sees; tensors are contiguous, row-major. */
typedef struct ir_eval_args {
    const ir_node *node;
    int count;
    ir_type type[IR_MAX_OPERANDS]; /* of the operands */
    const double *in[IR_MAX_OPERANDS];
    double *out; /* node->type elements, zeroed */
    const ir_eval_scalars *scalars;
} ir_eval_args;

#define IR_HOOKS_SOURCE(name) bool ir_shape_##name(const ir_shape_args *args, ir_type *out);
#define IR_HOOKS_COMPOSITE(name)                                                                   \
    bool ir_shape_##name(const ir_shape_args *args, ir_type *out);                                 \
    void ir_eval_##name(const ir_eval_args *args);                                                 \
    ir_value ir_expand_##name(ir_graph *graph, const ir_node *node);
#define IR_HOOKS_PRIMITIVE(name)                                                                   \
    bool ir_shape_##name(const ir_shape_args *args, ir_type *out);                                 \
    void ir_eval_##name(const ir_eval_args *args);                                                 \
    void ir_grad_##name(ir_graph *graph, ir_value y, ir_value dy, ir_value *dx);
#define OP(name, kind, operands, attributes, traits, doc) IR_HOOKS_##kind(name)
#include "ops.def"
#undef OP

/* Dispatchers. ir_expand: `node` may live in another graph; its operands must be valid in `graph`.
 */
bool ir_infer(const ir_shape_args *args, ir_type *out);
void ir_eval(const ir_eval_args *args);
ir_value ir_expand(ir_graph *graph, const ir_node *node);
/* dx has IR_MAX_OPERANDS slots, preset to IR_NO_VALUE. y and its operands live in `graph`. */
void ir_grad(ir_graph *graph, ir_value y, ir_value dy, ir_value *dx);
/* Part of ir_verify, for nodes whose types are right (sparse_table.c). */
bool ir_check_tables(const ir_graph *graph, ir_diag *diag);
/* Sums `value` down to `type` (the adjoint of broadcasting). */
ir_value ir_sum_to(ir_graph *graph, ir_value value, ir_type type);

#endif
