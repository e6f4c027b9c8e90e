/* Expressions to values. */
#include "fe_elab.h"

#include <string.h>

fe_value fe_get_local(const fe_frame *frame, const char *name, bool *found) {
    for (size_t i = 0; frame && i < frame->count; i++)
        if (strcmp(frame->locals[i].name, name) == 0) {
            *found = true;
            return frame->locals[i].value;
        }
    *found = false;
    return fe_poison();
}

void fe_set_local(fe_elab *e, const char *name, fe_value value) {
    fe_frame *f = e->frame;
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->locals[i].name, name) == 0) {
            f->locals[i].value = value;
            return;
        }
    *IR_PUSH(e->arena, f->locals, f->count, f->capacity) = (fe_local){name, value};
}

static bool builtin_value(fe_elab *e, const char *name, fe_value *value) {
    if (!e->builtins) return false;
    if (strcmp(name, "batch") == 0)
        *value = fe_int(e->batch);
    else if (strcmp(name, "training") == 0)
        *value = fe_bool(e->options->kind != IR_KIND_INFER);
    else if (strcmp(name, "label_smoothing") == 0)
        *value = fe_float(e->label_smoothing), e->smooths = true;
    else
        return false;
    return true;
}

static fe_value eval_name(fe_elab *e, const fe_expr *expr) {
    bool found;
    fe_value value = fe_get_local(e->frame, expr->text, &found);
    if (found || builtin_value(e, expr->text, &value)) return value;
    fe_global *global = fe_find_global(e, expr->text);
    if (global) return fe_global_value(e, global);
    size_t errors = e->diag->errors;
    fe_fail(e, expr->loc, "'%s' has no value here", expr->text);
    if (e->diag->errors > errors) fe_suggest_value(e, expr->text);
    return fe_poison();
}

static fe_value eval_list(fe_elab *e, const fe_expr *expr) {
    fe_list *list = fe_new_list(e, expr->loc, expr->count);
    if (!list) return fe_poison();
    for (size_t i = 0; i < expr->count; i++)
        list->items[i] = fe_eval(e, expr->args[i].value);
    return fe_close_list(e, expr->loc, list);
}

static fe_value eval_each(fe_elab *e, const fe_expr *expr) {
    fe_value from = fe_eval(e, expr->b);
    if (from.kind == FE_POISON) return from;
    if (from.kind != FE_VALUE_LIST)
        return fe_fail(e, expr->b->loc, "'for' goes over %s, expected a list",
                       fe_describe(e->arena, from));
    fe_list *list = fe_new_list(e, expr->loc, from.list->count);
    for (size_t i = 0; list && i < from.list->count; i++) {
        fe_set_local(e, expr->text, from.list->items[i]);
        list->items[i] = fe_eval(e, expr->a);
    }
    return list ? fe_close_list(e, expr->loc, list) : fe_poison();
}

static fe_value eval_index(fe_elab *e, const fe_expr *expr) {
    fe_value list = fe_eval(e, expr->a), index = fe_eval(e, expr->b);
    if (list.kind == FE_POISON || index.kind == FE_POISON) return fe_poison();
    if (list.kind != FE_VALUE_LIST)
        return fe_fail(e, expr->loc, "index into %s, expected a list", fe_describe(e->arena, list));
    if (index.kind != FE_VALUE_INT)
        return fe_fail(e, expr->b->loc, "index is %s, expected a whole number",
                       fe_describe(e->arena, index));
    if (index.integer < 0 || (uint64_t)index.integer >= list.list->count)
        return fe_fail(e, expr->b->loc, "index is %lld, the list has %zu elements, from 0",
                       (long long)index.integer, list.list->count);
    return list.list->items[index.integer];
}

/* The truth of a condition; -1 after an error. */
static int truth(fe_elab *e, const fe_expr *expr, const char *what) {
    fe_value value = fe_eval(e, expr);
    if (value.kind == FE_VALUE_BOOL) return value.truth;
    if (value.kind != FE_POISON)
        fe_fail(e, expr->loc, "%s is %s, expected true or false", what,
                fe_describe(e->arena, value));
    return -1;
}

/* and, or: the right side is evaluated only if it matters. */
static fe_value eval_logic(fe_elab *e, const fe_expr *expr) {
    const char *what = expr->op == FE_AND ? "operand of 'and'" : "operand of 'or'";
    int left = truth(e, expr->a, what);
    if (left < 0) return fe_poison();
    if (left == (expr->op == FE_OR)) return fe_bool(left);
    int right = truth(e, expr->b, what);
    return right < 0 ? fe_poison() : fe_bool(right);
}

static fe_value eval_binary(fe_elab *e, const fe_expr *expr) {
    if (expr->op == FE_AND || expr->op == FE_OR) return eval_logic(e, expr);
    fe_value a = fe_eval(e, expr->a), b = fe_eval(e, expr->b);
    if (a.kind == FE_POISON || b.kind == FE_POISON) return fe_poison();
    return fe_binary(e, expr->loc, expr->op, a, b);
}

static fe_value eval_choice(fe_elab *e, const fe_expr *expr) {
    int taken = truth(e, expr->b, "condition");
    return taken < 0 ? fe_poison() : fe_eval(e, taken ? expr->a : expr->c);
}

static fe_value eval_unary(fe_elab *e, const fe_expr *expr) {
    fe_value value = fe_eval(e, expr->a);
    return value.kind == FE_POISON ? value : fe_unary(e, expr->loc, expr->op, value);
}

static fe_value eval_inner(fe_elab *e, const fe_expr *expr) {
    switch (expr->kind) {
    case FE_EXPR_INT: return fe_int(expr->integer);
    case FE_EXPR_FLOAT: return fe_float(expr->number);
    case FE_EXPR_BOOL: return fe_bool(expr->integer);
    case FE_EXPR_STRING: return fe_text(expr->text);
    case FE_EXPR_NAME: return eval_name(e, expr);
    case FE_EXPR_LIST: return eval_list(e, expr);
    case FE_EXPR_EACH: return eval_each(e, expr);
    case FE_EXPR_UNARY: return eval_unary(e, expr);
    case FE_EXPR_BINARY: return eval_binary(e, expr);
    case FE_EXPR_CHOICE: return eval_choice(e, expr);
    case FE_EXPR_INDEX: return eval_index(e, expr);
    case FE_EXPR_CALL: return fe_call(e, expr, NULL);
    }
    IR_BUG("expression kind %d", (int)expr->kind);
}

fe_value fe_eval(fe_elab *e, const fe_expr *expr) {
    if (!fe_spend(e, expr->loc, 1)) return fe_poison();
    if (e->stack >= FE_MAX_STACK) {
        fe_fail(e, expr->loc, "blocks and expressions are nested deeper than %d levels",
                FE_MAX_STACK);
        e->stopped = true;
        return fe_poison();
    }
    e->stack++;
    fe_value value = eval_inner(e, expr);
    e->stack--;
    return value;
}
