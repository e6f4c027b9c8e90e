/* The state of an elaboration: limits, messages, and the parameters of the file with what -D, a
 * recipe and `set` make of them. */
#include "fe_elab.h"

#include <stdlib.h>
#include <string.h>

static bool was_reported(const fe_elab *e, ir_loc loc) {
    for (size_t i = 0; i < e->reported_count; i++)
        if (e->reported[i].source == loc.source && e->reported[i].offset == loc.offset) return true;
    return false;
}

void fe_hint_caller(fe_elab *e) {
    const fe_expr *call = e->frame ? e->frame->call : NULL;
    int line, column;
    if (!call) return;
    ir_loc_line(call->loc, &line, &column);
    ir_hint(e->diag, "'%s' is called at %s:%d", call->text, call->loc.source->file, line);
}

fe_value fe_fail(fe_elab *e, ir_loc loc, const char *format, ...) {
    if (e->stopped || (loc.source && was_reported(e, loc))) return fe_poison();
    ir_text text = {0};
    va_list args;
    va_start(args, format);
    ir_text_vprintf(&text, format, args);
    va_end(args);
    ir_error(e->diag, loc, "%s", text.data);
    ir_text_free(&text);
    fe_hint_caller(e);
    if (e->reported_count < IR_DIAG_LIMIT)
        e->reported[e->reported_count++] = loc;
    else
        e->stopped = true;
    return fe_poison();
}

bool fe_spend(fe_elab *e, ir_loc loc, int64_t steps) {
    if (e->stopped) return false;
    e->steps += steps;
    if (e->steps <= FE_MAX_STEPS) return true;
    fe_fail(e, loc, "elaboration takes more than %d steps", FE_MAX_STEPS);
    e->stopped = true;
    return false;
}

fe_list *fe_new_list(fe_elab *e, ir_loc loc, size_t count) {
    if (count > FE_MAX_LIST) {
        fe_fail(e, loc, "list of %zu elements, at most %d", count, FE_MAX_LIST);
        return NULL;
    }
    if (!fe_spend(e, loc, 1 + (int64_t)count)) return NULL;
    fe_list *list = ir_arena_alloc(e->arena, sizeof *list + count * sizeof list->items[0]);
    list->count = count;
    return list;
}

fe_value fe_close_list(fe_elab *e, ir_loc loc, fe_list *list) {
    list->total = list->count;
    list->depth = 1;
    for (size_t i = 0; i < list->count; i++) {
        fe_value v = list->items[i];
        if (v.kind == FE_POISON) return fe_poison();
        if (v.kind != FE_VALUE_LIST) continue;
        list->total += v.list->total;
        if (v.list->depth >= list->depth) list->depth = v.list->depth + 1;
        if (list->total > FE_MAX_LIST)
            return fe_fail(e, loc, "list of more than %d elements", FE_MAX_LIST);
    }
    if (list->depth > FE_MAX_LIST_DEPTH)
        return fe_fail(e, loc, "lists are nested deeper than %d levels", FE_MAX_LIST_DEPTH);
    return (fe_value){FE_VALUE_LIST, {.list = list}};
}

const fe_define *fe_find_define(const fe_options *options, const char *name) {
    for (size_t i = options->define_count; i-- > 0;)
        if (strcmp(options->defines[i].name, name) == 0) return &options->defines[i];
    return NULL;
}

fe_global *fe_find_global(fe_elab *e, const char *name) {
    const fe_items *items = &e->model->items;
    const fe_item *item = fe_find_item(e->model, items->count, FE_ITEM_PARAM, name);
    return item ? &e->globals[item - items->items] : NULL;
}

bool fe_is_parameter(fe_elab *e, const char *name) {
    const fe_item *model = fe_root_model(e->model, fe_last_model(e->model));
    for (size_t i = 0; model && i < model->param_count; i++)
        if (strcmp(model->params[i].name, name) == 0) return true;
    return fe_find_global(e, name) != NULL;
}

/* "name=value" as a source of its own, so that messages show it. */
static const ir_source *define_source(fe_elab *e, const fe_define *define) {
    ir_source *source = ir_arena_alloc(e->diag->arena, sizeof *source);
    source->file = "-D";
    source->text = ir_arena_printf(e->diag->arena, "%s=%s", define->name, define->value);
    return source;
}

ir_loc fe_define_loc(fe_elab *e, const fe_define *define) {
    return (ir_loc){define_source(e, define), (uint32_t)strlen(define->name) + 1,
                    (uint32_t)strlen(define->value)};
}

/* Every -D names a parameter of the file, of the model or a field of the recipe. */
static bool check_defines(fe_elab *e) {
    const fe_item *model = fe_root_model(e->model, fe_last_model(e->model));
    fe_names names = {.arena = e->arena};
    for (size_t i = 0; i < e->model->items.count; i++)
        if (e->globals[i].item) fe_names_add(&names, e->globals[i].item->name);
    for (size_t i = 0; model && i < model->param_count; i++)
        fe_names_add(&names, model->params[i].name);
#define FIELD(field, kind, group, use, default_, least, most, doc) fe_names_add(&names, #field);
#include "fe_recipe.def"
#undef FIELD
    bool good = true;
    for (size_t i = 0; i < e->options->define_count; i++) {
        const fe_define *define = &e->options->defines[i];
        bool known = false;
        for (size_t k = 0; k < names.count; k++)
            known = known || strcmp(names.items[k], define->name) == 0;
        if (known) continue;
        ir_loc loc = {define_source(e, define), 0, (uint32_t)strlen(define->name)};
        good = ir_error(e->diag, loc, "unknown parameter '%s'", define->name);
        fe_suggest(e->diag, &names, define->name);
    }
    return good;
}

fe_elab *fe_elab_new(const fe_model *model, const fe_options *options, ir_diag *diag) {
    ir_arena *arena = ir_arena_new();
    fe_elab *e = ir_arena_alloc(arena, sizeof *e);
    *e = (fe_elab){.model = model, .options = options, .arena = arena, .diag = diag};
    e->globals = ir_arena_alloc(arena, (model->items.count + 1) * sizeof *e->globals);
    for (size_t i = 0; i < model->items.count; i++) {
        const fe_item *item = &model->items.items[i];
        if (item->kind == FE_ITEM_PARAM)
            e->globals[i] =
                (fe_global){.item = item, .define = fe_find_define(options, item->name)};
    }
    for (size_t i = 0; i < model->items.count; i++) {
        const fe_item *item = &model->items.items[i];
        if (item->kind == FE_ITEM_SET) fe_find_global(e, item->name)->set = item;
    }
    if (check_defines(e)) return e;
    fe_elab_free(e);
    return NULL;
}

void fe_suggest_value(fe_elab *e, const char *wrong) {
    fe_names names = {.arena = e->arena};
    for (size_t i = 0; e->frame && i < e->frame->count; i++)
        fe_names_add(&names, e->frame->locals[i].name);
    for (size_t i = 0; i < e->model->items.count; i++)
        if (e->globals[i].item) fe_names_add(&names, e->globals[i].item->name);
    fe_suggest(e->diag, &names, wrong);
}

void fe_elab_free(fe_elab *e) {
    if (e) ir_arena_free(e->arena);
}

fe_value fe_conform(fe_elab *e, ir_loc loc, const char *name, fe_value value, fe_value like) {
    if (value.kind == FE_POISON || like.kind == FE_POISON) return value;
    if (like.kind == FE_VALUE_FLOAT && value.kind == FE_VALUE_INT)
        return fe_float((double)value.integer);
    if (value.kind == like.kind) return value;
    return fe_fail(e, loc, "'%s' is %s, expected %s", name, fe_describe(e->arena, value),
                   fe_kind_name(like.kind));
}

fe_value fe_define_value(fe_elab *e, const fe_define *define, fe_value like) {
    ir_loc loc = fe_define_loc(e, define);
    if (like.kind == FE_VALUE_TEXT && *define->value != '"') return fe_text(define->value);
    const fe_expr *expr = fe_parse_value(e->arena, loc.source, loc.offset, e->diag);
    if (!expr) return fe_poison();
    if (expr->kind == FE_EXPR_NAME)
        return fe_fail(e, loc, "'%s' is %s, expected %s", define->name, expr->text,
                       like.kind == FE_POISON ? "a value" : fe_kind_name(like.kind));
    fe_frame *frame = e->frame, own = {.prefix = ""};
    bool builtins = e->builtins;
    e->frame = &own;
    e->builtins = false;
    fe_value value = fe_eval(e, expr);
    e->frame = frame;
    e->builtins = builtins;
    return fe_conform(e, loc, define->name, value, like);
}

static fe_value check_choice(fe_elab *e, const fe_global *g, ir_loc loc, fe_value value) {
    if (!g->item->choices || value.kind == FE_POISON) return value;
    fe_value choices = fe_eval(e, g->item->choices);
    if (choices.kind != FE_VALUE_LIST) return fe_poison();
    for (size_t i = 0; i < choices.list->count; i++)
        if (fe_equal(choices.list->items[i], value)) return value;
    ir_text text = {0};
    fe_print_value(choices, &text);
    fe_fail(e, loc, "'%s' is %s, expected one of %s", g->item->name, fe_describe(e->arena, value),
            text.data);
    ir_text_free(&text);
    return fe_poison();
}

/* Declaration, then `set`, recipe and -D, of which the last counts; all must be of one kind. */
static fe_value evaluate(fe_elab *e, fe_global *g) {
    const char *name = g->item->name;
    fe_value like = fe_eval(e, g->item->value), value = like;
    ir_loc loc = g->item->loc;
    if (like.kind == FE_VALUE_TENSOR) return fe_fail(e, loc, "parameter '%s' is a tensor", name);
    if (g->set) {
        loc = g->set->loc;
        value = fe_conform(e, loc, name, fe_eval(e, g->set->value), like);
    }
    if (g->recipe) value = fe_conform(e, loc, name, fe_float(*g->recipe), like);
    if (g->define) {
        loc = fe_define_loc(e, g->define);
        value = fe_define_value(e, g->define, like);
    }
    return check_choice(e, g, loc, value);
}

fe_value fe_global_value(fe_elab *e, fe_global *g) {
    if (g->state == FE_READY) return g->value;
    if (g->state == FE_BUSY)
        return fe_fail(e, g->item->loc, "parameter '%s' depends on itself", g->item->name);
    fe_frame *frame = e->frame, own = {.prefix = ""};
    bool builtins = e->builtins;
    ir_graph *graph = e->graph;
    g->state = FE_BUSY;
    e->frame = &own;
    e->builtins = false;
    e->graph = NULL;
    g->value = evaluate(e, g);
    e->frame = frame;
    e->builtins = builtins;
    e->graph = graph;
    g->state = FE_READY;
    return g->value;
}
