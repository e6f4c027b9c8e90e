/* Pointwise ops: operands broadcast as in numpy, one result element per element. */
#include "op_util.h"

#include <math.h>

#define POINTWISE(name, formula)                                                                   \
    OP_SHAPE(name) {                                                                               \
        return op_pointwise_shape(args, out);                                                      \
    }                                                                                              \
    static double scalar_##name(const ir_eval_args *args, const double *x) {                       \
        (void)args;                                                                                \
        return formula;                                                                            \
    }                                                                                              \
    OP_EVAL(name) {                                                                                \
        op_pointwise_eval(args, scalar_##name);                                                    \
    }
#define ATTRS (args->node->attrs)
#define OPERAND(i) (ir_at(graph, y)->operand[i])
#define TYPE(i) ir_type_of(graph, OPERAND(i))

static ir_value mul(ir_graph *graph, ir_value a, ir_value b) {
    return ir_binary(graph, IR_OP_mul, a, b);
}
static ir_value scalar(ir_graph *graph, double value) {
    return ir_constant(graph, ir_type_make(IR_F32, 0, NULL), value);
}

POINTWISE(add, x[0] + x[1])
OP_GRAD(add) {
    ir_type a = TYPE(0), b = TYPE(1);
    dx[0] = ir_sum_to(graph, dy, a);
    dx[1] = ir_sum_to(graph, dy, b);
}

POINTWISE(sub, x[0] - x[1])
OP_GRAD(sub) {
    ir_type a = TYPE(0), b = TYPE(1);
    dx[0] = ir_sum_to(graph, dy, a);
    dx[1] = ir_sum_to(graph, ir_scale(graph, dy, -1), b);
}

POINTWISE(mul, x[0] * x[1])
OP_GRAD(mul) {
    ir_value a = OPERAND(0), b = OPERAND(1);
    ir_type ta = TYPE(0), tb = TYPE(1);
    dx[0] = ir_sum_to(graph, mul(graph, dy, b), ta);
    dx[1] = ir_sum_to(graph, mul(graph, dy, a), tb);
}

POINTWISE(div, x[0] / x[1])
OP_GRAD(div) {
    ir_value b = OPERAND(1);
    ir_type ta = TYPE(0), tb = TYPE(1);
    ir_value da = ir_binary(graph, IR_OP_div, dy, b);
    dx[0] = ir_sum_to(graph, da, ta);
    dx[1] = ir_sum_to(graph, ir_scale(graph, mul(graph, da, y), -1), tb);
}

POINTWISE(scale, x[0] * ATTRS.factor)
OP_GRAD(scale) {
    dx[0] = ir_scale(graph, dy, ir_at(graph, y)->attrs.factor);
}

POINTWISE(square, x[0] * x[0])
OP_GRAD(square) { /* the small factor first: dy is often broadcast */
    ir_value x = OPERAND(0);
    dx[0] = mul(graph, x, ir_scale(graph, dy, 2));
}

/* The gradient at 0 is 0, as for torch.norm. */
POINTWISE(sqrt, sqrt(x[0]))
OP_GRAD(sqrt) {
    ir_value alive = ir_unary(graph, IR_OP_step_gt0, y);
    ir_value one_if_dead = ir_binary(graph, IR_OP_sub, scalar(graph, 1), alive);
    ir_value safe = ir_binary(graph, IR_OP_add, y, one_if_dead);
    ir_value half = ir_scale(graph, mul(graph, dy, alive), 0.5);
    dx[0] = ir_binary(graph, IR_OP_div, half, safe);
}

POINTWISE(exp, exp(x[0]))
OP_GRAD(exp) {
    dx[0] = mul(graph, dy, y);
}

POINTWISE(log, log(x[0]))
OP_GRAD(log) {
    ir_value x = OPERAND(0);
    dx[0] = ir_binary(graph, IR_OP_div, dy, x);
}

POINTWISE(sigmoid, 1 / (1 + exp(-x[0])))
OP_GRAD(sigmoid) {
    ir_value rest = ir_binary(graph, IR_OP_sub, scalar(graph, 1), y);
    dx[0] = mul(graph, dy, mul(graph, y, rest));
}

POINTWISE(sign, x[0] > 0 ? 1 : x[0] < 0 ? -1 : 0)
OP_NO_GRAD(sign)
POINTWISE(abs, fabs(x[0]))
OP_GRAD(abs) {
    ir_value x = OPERAND(0);
    dx[0] = mul(graph, dy, ir_unary(graph, IR_OP_sign, x));
}

POINTWISE(power, pow(x[0], ATTRS.exponent))
OP_GRAD(power) {
    double p = ir_at(graph, y)->attrs.exponent;
    ir_attrs attrs = {.exponent = p - 1, .set = IR_SET(exponent)};
    ir_value x = OPERAND(0), below = ir_build(graph, IR_OP_power, &x, 1, &attrs, NULL);
    dx[0] = mul(graph, dy, ir_scale(graph, below, p));
}

POINTWISE(equal, x[0] == x[1] ? 1 : 0)
OP_NO_GRAD(equal)

/* a and b in neighbouring columns */
OP_SHAPE(pair) {
    ir_type a = args->type[0], b = args->type[1];
    if (a.rank < 1 || a.dim[a.rank - 1] != 1 || !ir_type_same_shape(a, b))
        return ir_shape_error(args, "operands are %s and %s, expected (..,1) twice",
                              op_shape(a).text, op_shape(b).text);
    *out = a;
    out->dim[a.rank - 1] = 2;
    return true;
}
OP_EVAL(pair) {
    for (int64_t i = 0, n = ir_type_elements(args->node->type); i < n; i++)
        args->out[i] = args->in[i % 2][i / 2];
}
OP_GRAD(pair) {
    ir_type a = TYPE(0), one = ir_type_make(IR_F32, 1, (int64_t[]){1});
    for (int o = 0; o < 2; o++) {
        ir_value mine[2] = {ir_constant(graph, one, 1 - o), ir_constant(graph, one, o)};
        ir_value pick = ir_build(graph, IR_OP_pair, mine, 2, NULL, NULL);
        dx[o] = ir_sum_to(graph, mul(graph, dy, pick), a);
    }
}

POINTWISE(relu, x[0] > 0 ? x[0] : x[0] == x[0] ? 0 : x[0])
OP_GRAD(relu) {
    ir_value x = OPERAND(0);
    dx[0] = mul(graph, dy, ir_unary(graph, IR_OP_step_gt0, x));
}

POINTWISE(step_gt0, x[0] > 0 ? 1 : 0)
OP_NO_GRAD(step_gt0)

static double gelu(double x, bool tanh_form) {
    if (!tanh_form) return 0.5 * x * erfc(-x * M_SQRT1_2);
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/* Hendrycks and Gimpel 2016; x Phi(x) or its tanh form. */
static double gelu_slope(double x, bool tanh_form) {
    if (!tanh_form) return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
    double c = sqrt(2 / M_PI), t = tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

POINTWISE(gelu, gelu(x[0], ATTRS.tanh))
OP_GRAD(gelu) {
    ir_value x = OPERAND(0);
    ir_attrs attrs = {.tanh = ir_at(graph, y)->attrs.tanh, .set = IR_SET(tanh)};
    dx[0] = ir_build(graph, IR_OP_gelu_grad, (ir_value[]){dy, x}, 2, &attrs, NULL);
}

POINTWISE(gelu_grad, x[0] * gelu_slope(x[1], ATTRS.tanh))
OP_NO_GRAD(gelu_grad)

/* label i64 (N) -> (N,classes) */
OP_SHAPE(one_hot) {
    if (args->type[0].dtype != IR_I64 || args->type[0].rank != 1)
        return ir_shape_error(args, "labels are %s%s, expected i64 (N)",
                              ir_dtype_name(args->type[0].dtype), op_shape(args->type[0]).text);
    *out = ir_type_make(IR_F32, 2, (int64_t[]){args->type[0].dim[0], args->attrs->classes});
    return true;
}
OP_EVAL(one_hot) {
    int64_t n = args->node->type.dim[0], k = args->node->type.dim[1];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < k; c++)
            args->out[i * k + c] = (int64_t)args->in[0][i] == c ? ATTRS.on : ATTRS.off;
}
OP_NO_GRAD(one_hot)

OP_SHAPE(broadcast) {
    ir_type to = ir_type_make(IR_F32, args->attrs->shape.count, args->attrs->shape.item), wide;
    if (!op_broadcast(args->type[0], to, &wide) || !ir_type_same_shape(wide, to))
        return ir_shape_error(args, "%s does not broadcast to %s", op_shape(args->type[0]).text,
                              op_shape(to).text);
    *out = to;
    return op_take_sparsity(args, out);
}
static double scalar_broadcast(const ir_eval_args *args, const double *x) {
    (void)args;
    return x[0];
}
OP_EVAL(broadcast) {
    op_pointwise_eval(args, scalar_broadcast);
}
OP_GRAD(broadcast) {
    ir_type x = TYPE(0);
    dx[0] = ir_sum_to(graph, dy, x);
}

/* AdamW (Loshchilov and Hutter 2019), in PyTorch's order of operations. */
POINTWISE(adam_m, ATTRS.beta *x[0] + (1 - ATTRS.beta) * x[1])
OP_NO_GRAD(adam_m)
POINTWISE(adam_v, ATTRS.beta *x[0] + (1 - ATTRS.beta) * x[1] * x[1])
OP_NO_GRAD(adam_v)
POINTWISE(ema, ATTRS.beta *x[0] + (1 - ATTRS.beta) * x[1])
OP_NO_GRAD(ema)

static double adamw(const ir_attrs *a, const double *x) {
    double lr = x[3] * a->lr_scale, m = x[1] / (1 - pow(a->beta1, x[4]));
    double v = x[2] / (1 - pow(a->beta2, x[4]));
    return x[0] * (1 - lr * a->decay) - lr * m / (sqrt(v) + a->eps);
}
POINTWISE(adamw, adamw(&ATTRS, x))
OP_NO_GRAD(adamw)

POINTWISE(clip_factor, fmin(1, ATTRS.max_norm / (sqrt(x[0]) + 1e-6)))
OP_NO_GRAD(clip_factor)
