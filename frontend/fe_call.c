/* Calls: what a name means, and how arguments find their places. */
#include "fe_elab.h"

#include <stdlib.h>
#include <string.h>

/* A value written in a specification: 1 1e-6 true "text". */
static fe_value parse_default(fe_elab *e, const char *text, size_t length) {
    char *word = ir_arena_strndup(e->arena, text, length), *end;
    if (*word == '"') {
        word[length - 1] = 0;
        return fe_text(word + 1);
    }
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) return fe_bool(*word == 't');
    long long whole = strtoll(word, &end, 10);
    return *end ? fe_float(strtod(word, NULL)) : fe_int(whole);
}

/* Names and defaults of "channels kernel stride=1 pad="; required[i] where there is no `=`. */
static void read_specification(fe_elab *e, const char *text, fe_slots *slots, bool *required) {
    *slots = (fe_slots){0};
    while (*text) {
        size_t length = strcspn(text, " "), name = strcspn(text, " =");
        int i = slots->count++;
        IR_ASSERT(i < FE_MAX_SLOTS);
        slots->name[i] = ir_arena_strndup(e->arena, text, name);
        required[i] = name == length;
        slots->value[i] = fe_poison();
        if (length > name + 1)
            slots->value[i] = parse_default(e, text + name + 1, length - name - 1);
        text += length;
        while (*text == ' ')
            text++;
    }
}

static int find_slot(const fe_slots *slots, const char *name) {
    for (int i = 0; i < slots->count; i++)
        if (strcmp(slots->name[i], name) == 0) return i;
    return -1;
}

static bool no_such_argument(fe_elab *e, const fe_expr *call, const fe_arg *arg,
                             const fe_slots *slots) {
    fe_names names = {.arena = e->arena};
    size_t errors = e->diag->errors;
    fe_fail(e, arg->loc, "%s takes no argument '%s'", call->text, arg->name);
    for (int i = 0; i < slots->count; i++)
        fe_names_add(&names, slots->name[i]);
    if (e->diag->errors > errors) fe_suggest(e->diag, &names, arg->name);
    return false;
}

bool fe_fill_slots(fe_elab *e, const fe_expr *call, const fe_value *values, size_t from,
                   const char *specification, fe_slots *slots) {
    bool required[FE_MAX_SLOTS] = {false};
    read_specification(e, specification, slots, required);
    for (size_t i = from; i < call->count; i++) {
        const fe_arg *arg = &call->args[i];
        int slot = arg->name ? find_slot(slots, arg->name) : (int)(i - from);
        if (slot < 0) return no_such_argument(e, call, arg, slots);
        if (slot >= slots->count || slots->given[slot]) {
            fe_fail(e, arg->loc,
                    slot >= slots->count ? "%s takes at most %d arguments"
                                         : "%s has a value for this argument already",
                    call->text, slots->count + (int)from);
            return false;
        }
        slots->given[slot] = true;
        slots->value[slot] = values[i];
        slots->loc[slot] = arg->value->loc;
    }
    for (int i = 0; i < slots->count; i++) {
        if (!slots->given[i]) slots->loc[i] = call->loc;
        if (!required[i] || slots->given[i]) continue;
        fe_fail(e, call->loc, "%s needs the argument '%s'", call->text, slots->name[i]);
        return false;
    }
    return true;
}

/* Binds the arguments of a block in its own frame; defaults may use parameters before them. */
static bool bind_block(fe_elab *e, const fe_expr *call, const fe_item *block,
                       const fe_value *values, fe_frame *frame) {
    bool *given = ir_arena_alloc(e->arena, block->param_count + 1);
    for (size_t i = 0; i < call->count; i++) {
        const fe_arg *arg = &call->args[i];
        size_t p = i;
        for (p = arg->name ? 0 : i; arg->name && p < block->param_count; p++)
            if (strcmp(block->params[p].name, arg->name) == 0) break;
        if (p >= block->param_count) {
            fe_names names = {.arena = e->arena};
            if (!arg->name) {
                fe_fail(e, arg->loc, "block '%s' takes %zu arguments, found %zu", block->name,
                        block->param_count, call->count);
                return false;
            }
            size_t errors = e->diag->errors;
            fe_fail(e, arg->loc, "block '%s' has no parameter '%s'", block->name, arg->name);
            for (size_t k = 0; k < block->param_count; k++)
                fe_names_add(&names, block->params[k].name);
            if (e->diag->errors > errors) fe_suggest(e->diag, &names, arg->name);
            return false;
        }
        if (given[p]) {
            fe_fail(e, arg->loc, "parameter '%s' has a value already", arg->name);
            return false;
        }
        given[p] = true;
    }
    e->frame = frame;
    for (size_t p = 0; p < block->param_count; p++) {
        const fe_param *param = &block->params[p];
        fe_value value = fe_poison();
        for (size_t i = 0; given[p] && i < call->count; i++)
            if (call->args[i].name ? strcmp(call->args[i].name, param->name) == 0 : i == p)
                value = values[i];
        if (!given[p] && param->value) {
            value = fe_eval(e, param->value);
        } else if (!given[p]) {
            frame->call = NULL; /* the place of the message is the call */
            fe_fail(e, call->loc, "block '%s' needs the argument '%s'", block->name, param->name);
            return false;
        }
        fe_set_local(e, param->name, value);
    }
    return true;
}

static fe_value call_block(fe_elab *e, const fe_expr *call, const fe_item *block,
                           const fe_value *values, const char *label) {
    fe_frame *caller = e->frame, frame = {.prefix = caller->prefix, .call = call};
    if (!e->graph)
        return fe_fail(e, call->loc, "block '%s' is called outside of a model", block->name);
    if (label) frame.prefix = ir_arena_printf(e->arena, "%s.", label);
    if (e->calls >= FE_MAX_CALLS) {
        fe_fail(e, call->loc, "blocks are nested deeper than %d calls", FE_MAX_CALLS);
        e->stopped = true;
        return fe_poison();
    }
    e->calls++;
    size_t errors = e->diag->errors;
    bool bound = bind_block(e, call, block, values, &frame);
    if (bound) fe_run_body(e, &block->body);
    e->frame = caller;
    e->calls--;
    if (bound && !frame.returned && !e->stopped && e->diag->errors == errors)
        fe_fail(e, call->loc, "block '%s' ends without 'return'", block->name);
    return frame.returned ? frame.result : fe_poison();
}

/* Whether a layer's name stands for the op alone: its weights are given as tensors. */
static bool is_bare_op(const fe_expr *call, const fe_value *values) {
    for (size_t i = 1; i < call->count; i++)
        if (values[i].kind == FE_VALUE_TENSOR) return true;
    return false;
}

fe_value fe_call(fe_elab *e, const fe_expr *call, const char *label) {
    const fe_model *model = e->model;
    fe_value *values = ir_arena_alloc(e->arena, (call->count + 1) * sizeof *values);
    bool poison = false;
    if (!fe_spend(e, call->loc, (int64_t)call->count)) return fe_poison();
    for (size_t i = 0; i < call->count; i++) {
        values[i] = fe_eval(e, call->args[i].value);
        poison = poison || values[i].kind == FE_POISON;
    }
    if (poison || e->stopped) return fe_poison();
    const fe_item *block = fe_find_item(model, model->items.count, FE_ITEM_BLOCK, call->text);
    if (block) return call_block(e, call, block, values, label);
    int index;
    ir_op op;
    bool is_op = ir_op_find(call->text, &op) && ir_op_get(op)->kind != IR_SOURCE;
    bool tensor = call->count > 0 && values[0].kind == FE_VALUE_TENSOR;
    if (fe_find_function(call->text, &index) && !(is_op && tensor))
        return fe_call_function(e, call, index, values, label);
    if (!e->graph) return fe_fail(e, call->loc, "op '%s' is called outside of a model", call->text);
    if (fe_find_layer(call->text, &index) && !is_bare_op(call, values))
        return fe_call_layer(e, call, index, values, label);
    if (is_op) return fe_call_op(e, call, op, values, label);
    return fe_fail(e, call->loc, "unknown block or op '%s'", call->text);
}
