/* Functions on values: range, len, linspace... and `parameter`, which makes a trained tensor. */
#include "fe_elab.h"

#include <math.h>
#include <string.h>

typedef struct function_call {
    fe_elab *e;
    const fe_expr *call;
    const char *label;
    fe_slots slots;
} function_call;
typedef fe_value function(function_call *c);

static fe_value wrong(function_call *c, int slot, const char *expected) {
    return fe_fail(c->e, c->slots.loc[slot], "'%s' of %s is %s, expected %s", c->slots.name[slot],
                   c->call->text, fe_describe(c->e->arena, c->slots.value[slot]), expected);
}

static fe_value function_range(function_call *c) {
    fe_value a = c->slots.value[0], b = c->slots.value[1];
    if (a.kind != FE_VALUE_INT) return wrong(c, 0, "a whole number");
    if (c->slots.given[1] && b.kind != FE_VALUE_INT) return wrong(c, 1, "a whole number");
    int64_t from = c->slots.given[1] ? a.integer : 0,
            to = c->slots.given[1] ? b.integer : a.integer;
    uint64_t count = to > from ? (uint64_t)to - (uint64_t)from : 0;
    fe_list *list = fe_new_list(c->e, c->call->loc, count);
    if (!list) return fe_poison();
    for (uint64_t i = 0; i < count; i++)
        list->items[i] = fe_int(from + (int64_t)i);
    return fe_close_list(c->e, c->call->loc, list);
}

static fe_value function_len(function_call *c) {
    fe_value list = c->slots.value[0];
    if (list.kind != FE_VALUE_LIST) return wrong(c, 0, "a list");
    return fe_int((int64_t)list.list->count);
}

static fe_value function_sum(function_call *c) {
    fe_value list = c->slots.value[0], sum = fe_int(0);
    if (list.kind != FE_VALUE_LIST) return wrong(c, 0, "a list");
    if (!fe_spend(c->e, c->call->loc, (int64_t)list.list->count)) return fe_poison();
    for (size_t i = 0; i < list.list->count && sum.kind != FE_POISON; i++) {
        if (!fe_is_number(list.list->items[i])) return wrong(c, 0, "a list of numbers");
        sum = fe_binary(c->e, c->call->loc, FE_PLUS, sum, list.list->items[i]);
    }
    return sum;
}

/* min(a, b) or min(list). */
static fe_value extreme(function_call *c, fe_token_kind better) {
    fe_value a = c->slots.value[0], pair[2] = {a, c->slots.value[1]};
    bool list = a.kind == FE_VALUE_LIST && !c->slots.given[1];
    const fe_value *items = list ? a.list->items : pair;
    size_t count = list ? a.list->count : 1u + c->slots.given[1];
    if (count == 0) return wrong(c, 0, "a list that is not empty");
    if (!fe_spend(c->e, c->call->loc, (int64_t)count)) return fe_poison();
    fe_value best = items[0];
    for (size_t i = 0; i < count; i++) {
        if (!fe_is_number(items[i])) return wrong(c, list ? 0 : (int)i, "numbers");
        if (fe_binary(c->e, c->call->loc, better, items[i], best).truth) best = items[i];
    }
    return best;
}
static fe_value function_min(function_call *c) {
    return extreme(c, FE_LESS);
}
static fe_value function_max(function_call *c) {
    return extreme(c, FE_MORE);
}

static fe_value function_abs(function_call *c) {
    fe_value x = c->slots.value[0];
    if (!fe_is_number(x)) return wrong(c, 0, "a number");
    return fe_number(x) < 0 ? fe_unary(c->e, c->call->loc, FE_MINUS, x) : x;
}

static fe_value function_sqrt(function_call *c) {
    fe_value x = c->slots.value[0];
    if (!fe_is_number(x) || fe_number(x) < 0) return wrong(c, 0, "a number of at least 0");
    return fe_float(sqrt(fe_number(x)));
}

static fe_value to_int(function_call *c, double x) {
    if (!(x >= -9.2e18 && x <= 9.2e18)) return wrong(c, 0, "a number of at most 9.2e18");
    return fe_int((int64_t)x);
}

static fe_value function_int(function_call *c) {
    fe_value x = c->slots.value[0];
    if (x.kind == FE_VALUE_BOOL) return fe_int(x.truth);
    if (!fe_is_number(x)) return wrong(c, 0, "a number");
    return x.kind == FE_VALUE_INT ? x : to_int(c, trunc(x.number));
}

static fe_value function_float(function_call *c) {
    fe_value x = c->slots.value[0];
    return fe_is_number(x) ? fe_float(fe_number(x)) : wrong(c, 0, "a number");
}

static fe_value function_round(function_call *c) {
    fe_value x = c->slots.value[0];
    if (!fe_is_number(x)) return wrong(c, 0, "a number");
    return x.kind == FE_VALUE_INT ? x : to_int(c, round(x.number));
}

static fe_value function_str(function_call *c) {
    fe_value x = c->slots.value[0];
    if (x.kind == FE_VALUE_TEXT) return x;
    if (x.kind == FE_VALUE_LIST && !fe_spend(c->e, c->call->loc, (int64_t)x.list->total))
        return fe_poison();
    ir_text text = {0};
    fe_print_value(x, &text);
    const char *copy = ir_arena_strndup(c->e->arena, text.data, text.length);
    bool fits =
        text.length <= FE_MAX_STRING && fe_spend(c->e, c->call->loc, (int64_t)text.length / 16);
    ir_text_free(&text);
    return fits ? fe_text(copy) : wrong(c, 0, "something shorter");
}

/* count numbers from first to last, evenly; a single one is first. */
static fe_value function_linspace(function_call *c) {
    fe_value first = c->slots.value[0], last = c->slots.value[1], count = c->slots.value[2];
    if (!fe_is_number(first)) return wrong(c, 0, "a number");
    if (!fe_is_number(last)) return wrong(c, 1, "a number");
    if (count.kind != FE_VALUE_INT || count.integer < 0)
        return wrong(c, 2, "a whole number of at least 0");
    fe_list *list = fe_new_list(c->e, c->call->loc, (size_t)count.integer);
    if (!list) return fe_poison();
    double a = fe_number(first), step = 0;
    if (count.integer > 1) step = (fe_number(last) - a) / (double)(count.integer - 1);
    for (int64_t i = 0; i < count.integer; i++)
        list->items[i] =
            fe_float(i && i == count.integer - 1 ? fe_number(last) : a + step * (double)i);
    return fe_close_list(c->e, c->call->loc, list);
}

/* The dimensions between samples and channels: those a sum over all sites of a sample reduces. */
static fe_value function_sites(function_call *c) {
    fe_value x = c->slots.value[0];
    if (x.kind != FE_VALUE_TENSOR) return wrong(c, 0, "a tensor");
    int rank = ir_type_of(c->e->graph, x.tensor).rank;
    fe_list *list = fe_new_list(c->e, c->call->loc, rank > 2 ? (size_t)rank - 2 : 0);
    for (int d = 1; list && d < rank - 1; d++)
        list->items[d - 1] = fe_int(d);
    return list ? fe_close_list(c->e, c->call->loc, list) : fe_poison();
}

static fe_value function_shape(function_call *c) {
    fe_value x = c->slots.value[0];
    if (x.kind != FE_VALUE_TENSOR) return wrong(c, 0, "a tensor");
    ir_type type = ir_type_of(c->e->graph, x.tensor);
    fe_list *list = fe_new_list(c->e, c->call->loc, (size_t)type.rank);
    for (int d = 0; list && d < type.rank; d++)
        list->items[d] = fe_int(type.dim[d]);
    return list ? fe_close_list(c->e, c->call->loc, list) : fe_poison();
}

static fe_value function_parameter(function_call *c) {
    fe_value shape = c->slots.value[0], init = c->slots.value[1], std = c->slots.value[2];
    ir_ints dims;
    if (!c->e->graph) return fe_fail(c->e, c->call->loc, "'parameter' outside of a model");
    if (!c->label) {
        fe_fail(c->e, c->call->loc, "'parameter' needs a label");
        return fe_poison();
    }
    if (!fe_to_ints(c->e, c->slots.loc[0], "shape", shape, 0, &dims)) return fe_poison();
    if (init.kind != FE_VALUE_TEXT) return wrong(c, 1, "a string");
    if (!fe_is_number(std)) return wrong(c, 2, "a number");
    return fe_parameter(c->e, c->call->loc, c->label, dims, init.text, fe_number(std));
}

static const struct {
    const char *name, *specification;
    function *run;
} functions[] = {
#define FUNCTION(name, parameters) {#name, parameters, function_##name},
#include "fe_builtins.def"
#undef FUNCTION
};

bool fe_find_function(const char *name, int *index) {
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strcmp(functions[i].name, name) == 0) {
            *index = (int)i;
            return true;
        }
    return false;
}

fe_value fe_call_function(fe_elab *e, const fe_expr *call, int index, const fe_value *values,
                          const char *label) {
    function_call c = {.e = e, .call = call, .label = label};
    if (!fe_fill_slots(e, call, values, 0, functions[index].specification, &c.slots))
        return fe_poison();
    if (label && functions[index].run != function_parameter)
        return fe_fail(e, call->loc, "'%s' makes no tensor that a label could name", call->text);
    return functions[index].run(&c);
}
