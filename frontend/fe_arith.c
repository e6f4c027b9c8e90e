/* Operators: whole numbers with overflow checked, numbers, texts, lists, and tensors. */
#include "fe_elab.h"

#include <math.h>
#include <string.h>

static fe_value no_operator(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a, fe_value b) {
    return fe_fail(e, loc, "'%s' between %s and %s", fe_token_text(op), fe_describe(e->arena, a),
                   fe_describe(e->arena, b));
}

static fe_value overflow(fe_elab *e, ir_loc loc, fe_token_kind op, int64_t a, int64_t b) {
    return fe_fail(e, loc, "%lld %s %lld is too large for a whole number", (long long)a,
                   fe_token_text(op), (long long)b);
}

static bool int_power(int64_t base, int64_t exponent, int64_t *out) {
    *out = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(*out, base, out)) return false;
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return false;
    }
    return true;
}

/* Rounds towards minus infinity, as the remainder's sign follows the divisor. */
static int64_t floor_divide(int64_t a, int64_t b) {
    int64_t quotient = a / b;
    return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

static fe_value floats(fe_elab *e, ir_loc loc, fe_token_kind op, double a, double b) {
    double out = 0;
    bool divides = op == FE_SLASH || op == FE_FLOOR_SLASH || op == FE_PERCENT;
    if (divides && b == 0) return fe_fail(e, loc, "division by zero");
    switch ((int)op) {
    case FE_PLUS: out = a + b; break;
    case FE_MINUS: out = a - b; break;
    case FE_STAR: out = a * b; break;
    case FE_SLASH: out = a / b; break;
    case FE_FLOOR_SLASH: out = floor(a / b); break;
    case FE_PERCENT: out = a - floor(a / b) * b; break;
    case FE_POWER: out = pow(a, b); break;
    case FE_LESS: return fe_bool(a < b);
    case FE_AT_MOST: return fe_bool(a <= b);
    case FE_MORE: return fe_bool(a > b);
    default: return fe_bool(a >= b);
    }
    return isfinite(out) ? fe_float(out) : fe_fail(e, loc, "result is not a finite number");
}

static fe_value ints(fe_elab *e, ir_loc loc, fe_token_kind op, int64_t a, int64_t b) {
    int64_t out = 0;
    bool divides = op == FE_SLASH || op == FE_FLOOR_SLASH || op == FE_PERCENT;
    if (divides && b == 0) return fe_fail(e, loc, "division by zero");
    switch ((int)op) {
    case FE_PLUS:
        return __builtin_add_overflow(a, b, &out) ? overflow(e, loc, op, a, b) : fe_int(out);
    case FE_MINUS:
        return __builtin_sub_overflow(a, b, &out) ? overflow(e, loc, op, a, b) : fe_int(out);
    case FE_STAR:
        return __builtin_mul_overflow(a, b, &out) ? overflow(e, loc, op, a, b) : fe_int(out);
    case FE_SLASH: return fe_float((double)a / (double)b);
    case FE_FLOOR_SLASH:
    case FE_PERCENT:
        if (b == -1) /* the one quotient that can overflow */
            return op == FE_PERCENT ? fe_int(0) : ints(e, loc, FE_MINUS, 0, a);
        return fe_int(op == FE_PERCENT ? a - floor_divide(a, b) * b : floor_divide(a, b));
    case FE_POWER:
        if (b < 0) return floats(e, loc, op, (double)a, (double)b);
        return int_power(a, b, &out) ? fe_int(out) : overflow(e, loc, op, a, b);
    case FE_LESS: return fe_bool(a < b);
    case FE_AT_MOST: return fe_bool(a <= b);
    case FE_MORE: return fe_bool(a > b);
    default: return fe_bool(a >= b);
    }
}

static fe_value texts(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a, fe_value b) {
    if (op != FE_PLUS) return no_operator(e, loc, op, a, b);
    size_t length = strlen(a.text) + strlen(b.text);
    if (length > FE_MAX_STRING)
        return fe_fail(e, loc, "string has %zu bytes, at most %d", length, FE_MAX_STRING);
    if (!fe_spend(e, loc, 1 + (int64_t)length / 16)) return fe_poison();
    return fe_text(ir_arena_printf(e->arena, "%s%s", a.text, b.text));
}

static fe_value lists(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a, fe_value b) {
    if (op != FE_PLUS) return no_operator(e, loc, op, a, b);
    fe_list *list = fe_new_list(e, loc, a.list->count + b.list->count);
    if (!list) return fe_poison();
    memcpy(list->items, a.list->items, a.list->count * sizeof list->items[0]);
    memcpy(list->items + a.list->count, b.list->items, b.list->count * sizeof list->items[0]);
    return fe_close_list(e, loc, list);
}

/* A number as a tensor without dimensions. */
static ir_value scalar(fe_elab *e, ir_loc loc, fe_value v) {
    ir_attrs attrs = {.value = fe_number(v), .set = IR_SET(value) | IR_SET(shape)};
    fe_value node = fe_node(e, loc, IR_OP_constant, NULL, 0, &attrs, NULL);
    return node.kind == FE_VALUE_TENSOR ? node.tensor : IR_NO_VALUE;
}

static fe_value scale(fe_elab *e, ir_loc loc, ir_value x, double factor) {
    ir_attrs attrs = {.factor = factor, .set = IR_SET(factor)};
    return fe_node(e, loc, IR_OP_scale, &x, 1, &attrs, NULL);
}

/* + - * / with a tensor on at least one side. */
static fe_value tensors(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a, fe_value b) {
    bool left = a.kind == FE_VALUE_TENSOR, right = b.kind == FE_VALUE_TENSOR;
    ir_op node = op == FE_PLUS    ? IR_OP_add
                 : op == FE_MINUS ? IR_OP_sub
                 : op == FE_STAR  ? IR_OP_mul
                                  : IR_OP_div;
    bool known = op == FE_PLUS || op == FE_MINUS || op == FE_STAR || op == FE_SLASH;
    if (!known || !(left || fe_is_number(a)) || !(right || fe_is_number(b)))
        return no_operator(e, loc, op, a, b);
    if (op == FE_STAR && !(left && right))
        return scale(e, loc, left ? a.tensor : b.tensor, fe_number(left ? b : a));
    if (op == FE_SLASH && !right) {
        if (fe_number(b) == 0) return fe_fail(e, loc, "division by zero");
        return scale(e, loc, a.tensor, 1 / fe_number(b));
    }
    ir_value operands[2] = {left ? a.tensor : scalar(e, loc, a),
                            right ? b.tensor : scalar(e, loc, b)};
    if (!ir_some(operands[0]) || !ir_some(operands[1])) return fe_poison();
    return fe_node(e, loc, node, operands, 2, NULL, NULL);
}

static fe_value contains(fe_elab *e, ir_loc loc, fe_value a, fe_value b) {
    if (b.kind != FE_VALUE_LIST) return no_operator(e, loc, FE_IN, a, b);
    if (!fe_spend(e, loc, (int64_t)b.list->total)) return fe_poison();
    for (size_t i = 0; i < b.list->count; i++)
        if (fe_equal(a, b.list->items[i])) return fe_bool(true);
    return fe_bool(false);
}

static fe_value equal(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a, fe_value b) {
    bool comparable = a.kind == b.kind || (fe_is_number(a) && fe_is_number(b));
    if (!comparable || a.kind == FE_VALUE_TENSOR) return no_operator(e, loc, op, a, b);
    if (a.kind == FE_VALUE_LIST && !fe_spend(e, loc, (int64_t)a.list->total)) return fe_poison();
    return fe_bool(fe_equal(a, b) == (op == FE_EQUAL));
}

fe_value fe_binary(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a, fe_value b) {
    if (op == FE_IN) return contains(e, loc, a, b);
    if (op == FE_EQUAL || op == FE_UNEQUAL) return equal(e, loc, op, a, b);
    if (a.kind == FE_VALUE_TENSOR || b.kind == FE_VALUE_TENSOR) return tensors(e, loc, op, a, b);
    if (a.kind == FE_VALUE_INT && b.kind == FE_VALUE_INT)
        return ints(e, loc, op, a.integer, b.integer);
    if (fe_is_number(a) && fe_is_number(b)) return floats(e, loc, op, fe_number(a), fe_number(b));
    if (a.kind == FE_VALUE_TEXT && b.kind == FE_VALUE_TEXT) return texts(e, loc, op, a, b);
    if (a.kind == FE_VALUE_LIST && b.kind == FE_VALUE_LIST) return lists(e, loc, op, a, b);
    return no_operator(e, loc, op, a, b);
}

fe_value fe_unary(fe_elab *e, ir_loc loc, fe_token_kind op, fe_value a) {
    if (op == FE_NOT && a.kind == FE_VALUE_BOOL) return fe_bool(!a.truth);
    if (op == FE_MINUS && a.kind == FE_VALUE_INT) return ints(e, loc, FE_MINUS, 0, a.integer);
    if (op == FE_MINUS && a.kind == FE_VALUE_FLOAT) return fe_float(-a.number);
    if (op == FE_MINUS && a.kind == FE_VALUE_TENSOR) return scale(e, loc, a.tensor, -1);
    return fe_fail(e, loc, "'%s' of %s", fe_token_text(op), fe_describe(e->arena, a));
}
