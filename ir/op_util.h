/* Small helpers shared by the op files: shapes and loops every op needs. */
#ifndef IR_OP_UTIL_H
#define IR_OP_UTIL_H

#include "hooks.h"

/* Broadcast of two shapes as in numpy; false if they do not fit. */
bool op_broadcast(ir_type a, ir_type b, ir_type *out);
/* Shape rule of a pointwise op: operands broadcast together, the result is f32. */
bool op_pointwise_shape(const ir_shape_args *args, ir_type *out);
/* Shape rule of norms over the last dimension C with a weight and a bias of (C). */
bool op_affine_shape(const ir_shape_args *args, ir_type *out);
/* Makes a result of rank 5 tile-sparse if the attributes `grid` and `kept` say so. */
bool op_take_sparsity(const ir_shape_args *args, ir_type *out);
/* Kernels of windows hold a line of taps at once: wider ones are products of unfolded windows. */
enum { OP_WIDEST_WINDOW = 127 };
/* The weight of a depthwise window over `channels`: (C,1,kh,kw), odd. */
bool op_check_taps(const ir_shape_args *args, int64_t channels, ir_type w);
/* The kernel attribute of a depthwise window's weight gradient. */
bool op_check_kernel(const ir_shape_args *args);
/* Row-major strides of `type` lined up with `out`: 0 where it is broadcast. */
void op_strides(ir_type type, ir_type out, int64_t *stride);
/* Calls `at(context, i, offset of each operand)` for every element i of the result. */
typedef double op_scalar(const ir_eval_args *args, const double *x);
void op_pointwise_eval(const ir_eval_args *args, op_scalar *scalar);
/* Text of a shape for messages, in a rotating buffer of the caller. */
typedef struct op_shape_text {
    char text[128];
} op_shape_text;
op_shape_text op_shape(ir_type type);
/* Elements of dimensions [from, to). */
int64_t op_span(ir_type type, int from, int to);

#define OP_SHAPE(name) bool ir_shape_##name(const ir_shape_args *args, ir_type *out)
#define OP_EVAL(name) void ir_eval_##name(const ir_eval_args *args)
#define OP_GRAD(name) void ir_grad_##name(ir_graph *graph, ir_value y, ir_value dy, ir_value *dx)
#define OP_EXPAND(name) ir_value ir_expand_##name(ir_graph *graph, const ir_node *node)
#define OP_NO_GRAD(name)                                                                           \
    OP_GRAD(name) {                                                                                \
        (void)graph;                                                                               \
        (void)y;                                                                                   \
        (void)dy;                                                                                  \
        (void)dx;                                                                                  \
    }

#endif
