/* Ops by name: whatever stands in ir/ops.def can be called, without a line here. */
#include "fe_elab.h"

#include <math.h>
#include <string.h>

enum { MAX_WHOLE = 1 << 30 };

bool fe_to_ints(fe_elab *e, ir_loc loc, const char *what, fe_value value, int count, ir_ints *out) {
    *out = (ir_ints){0};
    bool list = value.kind == FE_VALUE_LIST;
    size_t given = list ? value.list->count : 1;
    bool fits = count ? (!list || given == (size_t)count) : given <= IR_MAX_RANK;
    fits = fits && (list || value.kind == FE_VALUE_INT);
    for (size_t i = 0; fits && list && i < given; i++)
        fits = value.list->items[i].kind == FE_VALUE_INT;
    if (!fits) {
        if (count)
            fe_fail(e, loc, "'%s' is %s, expected a whole number or a list of %d", what,
                    fe_describe(e->arena, value), count);
        else
            fe_fail(e, loc, "'%s' is %s, expected a list of at most %d whole numbers", what,
                    fe_describe(e->arena, value), IR_MAX_RANK);
        return false;
    }
    out->count = count ? count : (int32_t)given;
    for (int i = 0; i < out->count; i++) {
        out->item[i] = list ? value.list->items[i].integer : value.integer;
        if (out->item[i] >= -MAX_WHOLE && out->item[i] <= MAX_WHOLE) continue;
        fe_fail(e, loc, "'%s' is %lld, expected at most %d", what, (long long)out->item[i],
                MAX_WHOLE);
        return false;
    }
    return true;
}

fe_value fe_node(fe_elab *e, ir_loc loc, ir_op op, const ir_value *operands, int count,
                 const ir_attrs *attrs, const char *label) {
    for (size_t i = 0; i < e->reported_count; i++) /* one message per place */
        if (e->reported[i].source == loc.source && e->reported[i].offset == loc.offset)
            return fe_poison();
    if (!e->graph) return fe_fail(e, loc, "tensors outside of a model");
    if (e->graph->count >= FE_MAX_NODES) {
        fe_fail(e, loc, "graph of more than %d nodes", FE_MAX_NODES);
        e->stopped = true;
    }
    if (!fe_spend(e, loc, 1)) return fe_poison();
    size_t errors = e->diag->errors;
    ir_value value = ir_build_at(e->graph, e->diag, loc, op, operands, count, attrs, label);
    if (e->diag->errors > errors) {
        fe_hint_caller(e);
        if (e->reported_count < IR_DIAG_LIMIT) e->reported[e->reported_count++] = loc;
    }
    return fe_tensor(value);
}

typedef struct op_call {
    fe_elab *e;
    const fe_expr *call;
    ir_op op;
    ir_value operands[IR_MAX_OPERANDS];
    bool has[IR_MAX_OPERANDS];
    ir_attrs attrs;
} op_call;

/* The operand's number, or -1. */
static int find_operand(ir_op op, const char *name) {
    int index = 0;
    for (const char *p = ir_op_get(op)->operands; *p; index++) {
        size_t length = strcspn(p, " "), own = strcspn(p, " ?");
        if (own == strlen(name) && strncmp(p, name, own) == 0) return index;
        p += length;
        while (*p == ' ')
            p++;
    }
    return -1;
}

/* The `index`th attribute as the op's row lists them; false if there are fewer. */
static bool nth_attribute(ir_op op, int index, ir_attr *attr) {
    for (const char *p = ir_op_get(op)->attributes; *p;) {
        size_t length = strcspn(p, " "), own = strcspn(p, " =");
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)own, p);
        if (index-- == 0) return ir_attr_find(name, attr);
        p += length;
        while (*p == ' ')
            p++;
    }
    return false;
}

static bool set_attribute(op_call *c, ir_attr attr, fe_value value, ir_loc loc) {
    fe_elab *e = c->e;
    const char *name = ir_attr_name(attr);
    ir_attr_kind kind = ir_attr_kind_of(attr);
    ir_ints ints = {0};
    int64_t whole = 0;
    double number = 0;
    bool truth = false,
         window = attr == IR_ATTR_kernel || attr == IR_ATTR_stride || attr == IR_ATTR_pad;
    const char *text = NULL, *expected = NULL;
    switch (kind) {
    case IR_ATTR_INT:
        if (value.kind == FE_VALUE_INT)
            whole = value.integer;
        else
            expected = "a whole number";
        if (!expected && (whole < -MAX_WHOLE || whole > MAX_WHOLE)) expected = "at most 1073741824";
        break;
    case IR_ATTR_FLOAT:
        if (fe_is_number(value))
            number = fe_number(value);
        else
            expected = "a number";
        break;
    case IR_ATTR_BOOL:
        if (value.kind == FE_VALUE_BOOL)
            truth = value.truth;
        else
            expected = "true or false";
        break;
    case IR_ATTR_TEXT:
        if (value.kind == FE_VALUE_TEXT)
            text = ir_arena_strndup(e->graph->arena, value.text, strlen(value.text));
        else
            expected = "a string";
        break;
    case IR_ATTR_INTS:
        if (!fe_to_ints(e, loc, name, value, window ? 2 : 0, &ints)) return false;
        break;
    }
    if (expected) {
        fe_fail(e, loc, "'%s' of %s is %s, expected %s", name, c->call->text,
                fe_describe(e->arena, value), expected);
        return false;
    }
    switch (attr) {
#define PUT_INT(name) c->attrs.name = whole
#define PUT_FLOAT(name) c->attrs.name = number
#define PUT_BOOL(name) c->attrs.name = truth
#define PUT_TEXT(name) c->attrs.name = text
#define PUT_INTS(name) c->attrs.name = ints
#define ATTR(name, kind)                                                                           \
    case IR_ATTR_##name: PUT_##kind(name); break;
#include "attrs.def"
#undef ATTR
    case IR_ATTR_COUNT: break;
    }
    c->attrs.set |= (uint64_t)1 << attr;
    return true;
}

static bool set_operand(op_call *c, int index, fe_value value, ir_loc loc) {
    if (value.kind != FE_VALUE_TENSOR) {
        fe_fail(c->e, loc, "operand %d of %s is %s, expected a tensor", index + 1, c->call->text,
                fe_describe(c->e->arena, value));
        return false;
    }
    c->has[index] = true;
    c->operands[index] = value.tensor;
    return true;
}

static bool unknown_argument(op_call *c, const fe_arg *arg) {
    fe_names names = {.arena = c->e->arena};
    ir_attr attr;
    size_t errors = c->e->diag->errors;
    fe_fail(c->e, arg->loc, "%s takes no argument '%s'", c->call->text, arg->name);
    for (int i = 0; nth_attribute(c->op, i, &attr); i++)
        fe_names_add(&names, ir_attr_name(attr));
    if (c->e->diag->errors > errors) fe_suggest(c->e->diag, &names, arg->name);
    return false;
}

/* Tensors fill operands, then values fill attributes; names go where they belong. */
static bool place_arguments(op_call *c, const fe_value *values, int least, int most) {
    int operand = 0, attribute = 0;
    for (size_t i = 0; i < c->call->count; i++) {
        const fe_arg *arg = &c->call->args[i];
        ir_loc loc = arg->value->loc;
        ir_attr attr;
        bool required;
        const char *text;
        if (arg->name) {
            int index = find_operand(c->op, arg->name);
            if (index >= 0 && values[i].kind == FE_VALUE_TENSOR) {
                if (!set_operand(c, index, values[i], loc)) return false;
            } else if (ir_attr_find(arg->name, &attr) &&
                       ir_op_takes(c->op, attr, &required, &text)) {
                if (c->attrs.set >> attr & 1) {
                    fe_fail(c->e, loc, "'%s' has a value already", arg->name);
                    return false;
                }
                if (!set_attribute(c, attr, values[i], loc)) return false;
            } else {
                return unknown_argument(c, arg);
            }
        } else if (operand < most && attribute == 0 &&
                   (operand < least || values[i].kind == FE_VALUE_TENSOR)) {
            if (!set_operand(c, operand++, values[i], loc)) return false;
        } else if (nth_attribute(c->op, attribute++, &attr)) {
            if (!set_attribute(c, attr, values[i], loc)) return false;
        } else {
            fe_fail(c->e, loc, "%s takes no further argument", c->call->text);
            return false;
        }
    }
    return true;
}

static bool check_required(op_call *c) {
    ir_attr attr;
    bool required;
    const char *text;
    for (int i = 0; nth_attribute(c->op, i, &attr); i++) {
        if (c->attrs.set >> attr & 1 || !ir_op_takes(c->op, attr, &required, &text) || !required)
            continue;
        if (attr == IR_ATTR_stream) { /* every call has numbers of its own */
            c->attrs.stream = c->e->streams++;
            c->attrs.set |= IR_SET(stream);
            continue;
        }
        fe_fail(c->e, c->call->loc, "%s needs the argument '%s'", c->call->text,
                ir_attr_name(attr));
        return false;
    }
    return true;
}

fe_value fe_call_op(fe_elab *e, const fe_expr *call, ir_op op, const fe_value *values,
                    const char *label) {
    op_call c = {.e = e, .call = call, .op = op};
    int least, most, count = 0;
    ir_op_arity(op, &least, &most);
    if (!place_arguments(&c, values, least, most)) return fe_poison();
    int step = find_operand(op, "step"); /* nobody has to say that random numbers differ by step */
    if (step >= 0 && !c.has[step]) {
        c.operands[step] = fe_node(e, call->loc, IR_OP_step, NULL, 0, NULL, NULL).tensor;
        c.has[step] = true;
    }
    while (count < most && c.has[count])
        count++;
    for (int i = count; i < most; i++)
        if (c.has[i] || i < least)
            return fe_fail(e, call->loc, "%s needs %d tensors (%s), found %d", call->text, least,
                           ir_op_get(op)->operands, count);
    if (!check_required(&c)) return fe_poison();
    if (op == IR_OP_drop_path) {
        bool on = e->options->random && e->options->kind != IR_KIND_INFER;
        if (!(c.attrs.rate >= 0 && c.attrs.rate < 1))
            return fe_fail(e, call->loc, "drop_path: rate is %g, expected 0 <= rate < 1",
                           c.attrs.rate);
        if (!on || c.attrs.rate == 0) return fe_tensor(c.operands[0]);
    }
    return fe_node(e, call->loc, op, c.operands, count, &c.attrs, label);
}
