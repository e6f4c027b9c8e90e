/* Pointwise graph ops as tile operations, one rule per op with the POINTWISE trait. */
#include "lowering.h"

typedef int scalar_rule(low_context *ctx, const ir_node *node, const int *x);

static int map1(low_context *ctx, ir_tile_op op, int a) {
    return kb_map1(&ctx->k, op, a);
}
static int map2(low_context *ctx, ir_tile_op op, int a, int b) {
    return kb_map2(&ctx->k, op, a, b);
}
static int map3(low_context *ctx, ir_tile_op op, int a, int b, int c) {
    return kb_map3(&ctx->k, op, a, b, c);
}
static int number(low_context *ctx, double value) {
    return kb_constant(&ctx->k, value);
}

#define RULE(name) static int rule_##name(low_context *ctx, const ir_node *node, const int *x)
#define UNUSED_NODE (void)node

RULE(add) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_add, x[0], x[1]);
}
RULE(sub) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_sub, x[0], x[1]);
}
RULE(mul) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_mul, x[0], x[1]);
}
RULE(div) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_div, x[0], x[1]);
}
RULE(scale) {
    return map2(ctx, IR_TILE_mul, x[0], number(ctx, node->attrs.factor));
}
RULE(square) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_mul, x[0], x[0]);
}
RULE(sqrt) {
    UNUSED_NODE;
    return map1(ctx, IR_TILE_sqrt, x[0]);
}
RULE(exp) {
    UNUSED_NODE;
    return map1(ctx, IR_TILE_exp, x[0]);
}
RULE(log) {
    UNUSED_NODE;
    return map1(ctx, IR_TILE_log, x[0]);
}
RULE(sigmoid) {
    UNUSED_NODE;
    return map1(ctx, IR_TILE_sigmoid, x[0]);
}
RULE(sign) {
    UNUSED_NODE;
    int zero = number(ctx, 0);
    return map2(ctx, IR_TILE_sub, map2(ctx, IR_TILE_less, zero, x[0]),
                map2(ctx, IR_TILE_less, x[0], zero));
}
RULE(abs) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_max, x[0], map2(ctx, IR_TILE_sub, number(ctx, 0), x[0]));
}
RULE(power) {
    int log = map1(ctx, IR_TILE_log, x[0]);
    return map1(ctx, IR_TILE_exp, map2(ctx, IR_TILE_mul, log, number(ctx, node->attrs.exponent)));
}
RULE(equal) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_equal, x[0], x[1]);
}
RULE(relu) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_max, x[0], number(ctx, 0));
}
RULE(step_gt0) {
    UNUSED_NODE;
    return map2(ctx, IR_TILE_less, number(ctx, 0), x[0]);
}
RULE(gelu) {
    return map1(ctx, node->attrs.tanh ? IR_TILE_gelu_tanh : IR_TILE_gelu, x[0]);
}
RULE(gelu_grad) {
    ir_tile_op slope = node->attrs.tanh ? IR_TILE_gelu_tanh_slope : IR_TILE_gelu_slope;
    return map2(ctx, IR_TILE_mul, x[0], map1(ctx, slope, x[1]));
}
RULE(broadcast) {
    UNUSED_NODE;
    (void)ctx;
    return x[0];
}

static int column_number(low_context *ctx) {
    return kb_iota(&ctx->k, ctx->index[ctx->col_group], ctx->cols);
}

RULE(pair) {
    UNUSED_NODE;
    return map3(ctx, IR_TILE_select, column_number(ctx), x[1], x[0]);
}

/* label along the rows against the column number */
RULE(one_hot) {
    int hit = map2(ctx, IR_TILE_equal, x[0], column_number(ctx));
    return map3(ctx, IR_TILE_select, hit, number(ctx, node->attrs.on),
                number(ctx, node->attrs.off));
}

/* beta a + (1 - beta) b */
static int blend(low_context *ctx, double beta, int a, int b) {
    return map3(ctx, IR_TILE_fma, number(ctx, beta), a,
                map2(ctx, IR_TILE_mul, number(ctx, 1 - beta), b));
}
RULE(adam_m) {
    return blend(ctx, node->attrs.beta, x[0], x[1]);
}
RULE(ema) {
    return blend(ctx, node->attrs.beta, x[0], x[1]);
}
RULE(adam_v) {
    return blend(ctx, node->attrs.beta, x[0], map2(ctx, IR_TILE_mul, x[1], x[1]));
}

static void correct_bias(low_context *ctx, const ir_node *adamw, int step, int correction[2]) {
    double beta[2] = {adamw->attrs.beta1, adamw->attrs.beta2};
    for (int c = 0; c < 2; c++)
        correction[c] = map2(ctx, IR_TILE_one_minus_pow, number(ctx, 1 - beta[c]), step);
}

/* w m v lr step: w (1 - lr decay) - lr (m / c1) / (sqrt(v / c2) + eps), ci = 1 - beta_i^step */
RULE(adamw) {
    const ir_attrs *a = &node->attrs;
    int lr = map2(ctx, IR_TILE_mul, x[3], number(ctx, a->lr_scale));
    int correction[2] = {ctx->correction[0], ctx->correction[1]};
    if (!correction[0])
        correct_bias(ctx, node, x[4], correction); /* no prelude: where it is used */
    int rate = map2(ctx, IR_TILE_div, lr, correction[0]);
    int keep =
        map2(ctx, IR_TILE_sub, number(ctx, 1), map2(ctx, IR_TILE_mul, lr, number(ctx, a->decay)));
    int root = map1(ctx, IR_TILE_sqrt, map2(ctx, IR_TILE_div, x[2], correction[1]));
    int move = map2(ctx, IR_TILE_div, map2(ctx, IR_TILE_mul, rate, x[1]),
                    map2(ctx, IR_TILE_add, root, number(ctx, a->eps)));
    return map2(ctx, IR_TILE_sub, map2(ctx, IR_TILE_mul, x[0], keep), move);
}

RULE(clip_factor) {
    int norm = map2(ctx, IR_TILE_add, map1(ctx, IR_TILE_sqrt, x[0]), number(ctx, 1e-6));
    return map2(ctx, IR_TILE_min, number(ctx, 1),
                map2(ctx, IR_TILE_div, number(ctx, node->attrs.max_norm), norm));
}

static bool same_correction(const ir_node *a, const ir_node *b) {
    return a->attrs.beta1 == b->attrs.beta1 && a->attrs.beta2 == b->attrs.beta2 &&
           a->operand[4].id == b->operand[4].id;
}

void low_prelude(low_context *ctx) {
    const ir_node *first = NULL;
    for (size_t i = 0; i < ctx->cluster->count; i++) {
        const ir_node *node = &ctx->low->graph->nodes[ctx->cluster->member[i]];
        if (node->op != IR_OP_adamw) continue;
        if (!first) first = node;
        if (!same_correction(first, node)) return; /* each where it is used */
    }
    if (first) correct_bias(ctx, first, low_value(ctx, first->operand[4]), ctx->correction);
}

#define LOW_RULE_NONE(name)
#define LOW_RULE_POINTWISE(name) [IR_OP_##name] = rule_##name,
#define LOW_RULE_REDUCES(name)
#define LOW_RULE_PRODUCT(name)
#define LOW_RULE_WEIGHT_PRODUCT(name)
#define LOW_RULE_ROWS(name)
#define LOW_RULE_MOVES(name)
#define LOW_RULE_RANDOM(name)

int low_scalar_rule(low_context *ctx, const ir_node *node, const int *operand) {
    static scalar_rule *const rules[IR_OP_COUNT] = {
#define OP(name, kind, operands, attributes, traits, doc) LOW_RULE_##traits(name)
#include "ops.def"
#undef OP
    };
    IR_ASSERT(rules[node->op]);
    return rules[node->op](ctx, node, operand);
}
