/* Names, checked once before anything runs, so that several mistakes show at once, also in blocks
 * that no model uses. What only elaboration can know (kinds, shapes) is checked there. */
#include "fe_model.h"
#include "graph.h"

#include <string.h>

typedef struct scope {
    const fe_model *model;
    ir_diag *diag;
    size_t visible; /* items before this one can be called or derived from */
    const char *locals[FE_MAX_NAMES];
    size_t local_count;
    bool builtins; /* batch, training... are defined here */
    bool model_body;
    bool full; /* too many locals: reported */
} scope;

static const char *const builtin_values[] = {
#define BUILTIN(name, doc) #name,
#include "fe_builtins.def"
#undef BUILTIN
};
static const char *const functions[] = {
#define FUNCTION(name, parameters) #name,
#define LAYER(name, parameters) #name,
#include "fe_builtins.def"
#undef FUNCTION
#undef LAYER
};
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static bool among(const char *const *names, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* An op that the language can call. */
static bool is_op(const char *name) {
    ir_op op;
    return ir_op_find(name, &op) && ir_op_get(op)->kind != IR_SOURCE;
}

static void add_local(scope *s, const char *name, ir_loc loc) {
    if (among(s->locals, s->local_count, name)) return;
    if (s->local_count < FE_MAX_NAMES) {
        s->locals[s->local_count++] = name;
    } else if (!s->full) {
        s->full = true;
        ir_error(s->diag, loc, "more than %d names in one body", FE_MAX_NAMES);
    }
}

static void add_items(fe_names *names, const fe_items *items, fe_item_kind kind, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (items->items[i].kind == kind) fe_names_add(names, items->items[i].name);
}

static void unknown_name(scope *s, const fe_expr *expr) {
    fe_names names = {.arena = s->diag->arena};
    ir_error(s->diag, expr->loc, "unknown name '%s'", expr->text);
    if (s->diag->errors > s->diag->count) return;
    for (size_t i = 0; i < s->local_count; i++)
        fe_names_add(&names, s->locals[i]);
    add_items(&names, &s->model->items, FE_ITEM_PARAM, s->model->items.count);
    for (size_t i = 0; s->builtins && i < LENGTH(builtin_values); i++)
        fe_names_add(&names, builtin_values[i]);
    if (fe_find_item(s->model, s->model->items.count, FE_ITEM_BLOCK, expr->text))
        ir_hint(s->diag, "'%s' is a block: call it", expr->text);
    else
        fe_suggest(s->diag, &names, expr->text);
}

static void unknown_call(scope *s, const fe_expr *expr) {
    fe_names names = {.arena = s->diag->arena};
    ir_error(s->diag, expr->loc, "unknown block or op '%s'", expr->text);
    if (s->diag->errors > s->diag->count) return;
    add_items(&names, &s->model->items, FE_ITEM_BLOCK, s->model->items.count);
    for (size_t i = 0; i < LENGTH(functions); i++)
        fe_names_add(&names, functions[i]);
    for (int op = 0; op < IR_OP_COUNT; op++)
        if (ir_op_get((ir_op)op)->kind != IR_SOURCE)
            fe_names_add(&names, ir_op_get((ir_op)op)->name);
    fe_suggest(s->diag, &names, expr->text);
}

static void check_expr(scope *s, const fe_expr *expr) {
    size_t all = s->model->items.count;
    if (!expr) return;
    if (expr->kind == FE_EXPR_EACH) {
        check_expr(s, expr->b);
        add_local(s, expr->text, expr->loc);
        check_expr(s, expr->a);
        return;
    }
    if (expr->kind == FE_EXPR_NAME && !among(s->locals, s->local_count, expr->text) &&
        !fe_find_item(s->model, all, FE_ITEM_PARAM, expr->text) &&
        !(s->builtins && among(builtin_values, LENGTH(builtin_values), expr->text)))
        unknown_name(s, expr);
    if (expr->kind == FE_EXPR_CALL && !among(functions, LENGTH(functions), expr->text) &&
        !is_op(expr->text) && !fe_find_item(s->model, all, FE_ITEM_BLOCK, expr->text))
        unknown_call(s, expr);
    check_expr(s, expr->a);
    check_expr(s, expr->b);
    check_expr(s, expr->c);
    for (size_t i = 0; i < expr->count; i++)
        check_expr(s, expr->args[i].value);
}

/* Names that a body assigns anywhere: a name is local to its block, not to a loop or branch. */
static void collect(scope *s, const fe_body *body) {
    for (size_t i = 0; i < body->count; i++) {
        const fe_stmt *stmt = &body->items[i];
        bool names = stmt->kind == FE_STMT_ASSIGN || stmt->kind == FE_STMT_FOR ||
                     stmt->kind == FE_STMT_INPUT || stmt->kind == FE_STMT_OUTPUT;
        if (names) add_local(s, stmt->text, stmt->loc);
        collect(s, &stmt->body);
        collect(s, &stmt->other);
    }
}

static void check_place(scope *s, const fe_stmt *stmt) {
    bool of_model =
        stmt->kind == FE_STMT_INPUT || stmt->kind == FE_STMT_OUTPUT || stmt->kind == FE_STMT_META;
    const char *word = stmt->kind == FE_STMT_INPUT    ? "input"
                       : stmt->kind == FE_STMT_OUTPUT ? "output"
                                                      : "meta";
    if (of_model && !s->model_body)
        ir_error(s->diag, stmt->loc, "'%s' stands in a block, expected in a model", word);
    if (stmt->kind == FE_STMT_RETURN && s->model_body) {
        ir_error(s->diag, stmt->loc, "'return' stands in a model");
        ir_hint(s->diag, "a model gives results by output NAME = VALUE");
    }
}

static void check_body(scope *s, const fe_body *body) {
    for (size_t i = 0; i < body->count; i++) {
        const fe_stmt *stmt = &body->items[i];
        check_place(s, stmt);
        for (size_t k = 0; k < stmt->label.count; k++)
            check_expr(s, stmt->label.parts[k].value);
        check_expr(s, stmt->value);
        check_expr(s, stmt->message);
        check_body(s, &stmt->body);
        check_body(s, &stmt->other);
    }
}

static void check_callable(scope *s, const fe_item *item) {
    s->local_count = 0;
    s->full = false;
    s->builtins = true;
    s->model_body = item->kind == FE_ITEM_MODEL;
    for (size_t i = 0; i < item->param_count; i++) {
        check_expr(s, item->params[i].value);
        add_local(s, item->params[i].name, item->params[i].loc);
    }
    collect(s, &item->body);
    check_body(s, &item->body);
}

/* Arguments of a derived model are named parameters of the model with the body. */
static void check_derived(scope *s, const fe_item *item) {
    const fe_item *base = fe_find_item(s->model, s->visible, FE_ITEM_MODEL, item->base);
    fe_names names = {.arena = s->diag->arena};
    if (!base) {
        ir_error(s->diag, item->base_loc, "unknown model '%s'", item->base);
        add_items(&names, &s->model->items, FE_ITEM_MODEL, s->visible);
        fe_suggest(s->diag, &names, item->base);
        return;
    }
    base = fe_root_model(s->model, base);
    for (size_t i = 0; base && i < base->param_count; i++)
        fe_names_add(&names, base->params[i].name);
    for (size_t i = 0; i < item->arg_count; i++) {
        const fe_arg *arg = &item->args[i];
        check_expr(s, arg->value);
        if (!arg->name) {
            ir_error(s->diag, arg->loc, "expected NAME = VALUE, found a value without a name");
        } else if (base && !among(names.items, names.count, arg->name)) {
            ir_error(s->diag, arg->loc, "model '%s' has no parameter '%s'", base->name, arg->name);
            fe_suggest(s->diag, &names, arg->name);
        }
    }
}

static void check_set(scope *s, const fe_item *item) {
    fe_names names = {.arena = s->diag->arena};
    check_expr(s, item->value);
    if (fe_find_item(s->model, s->model->items.count, FE_ITEM_PARAM, item->name)) return;
    ir_error(s->diag, item->loc, "set: unknown parameter '%s'", item->name);
    add_items(&names, &s->model->items, FE_ITEM_PARAM, s->model->items.count);
    fe_suggest(s->diag, &names, item->name);
}

static void check_recipe(scope *s, const fe_item *item) {
    fe_names names = {.arena = s->diag->arena};
    if (!item->base || fe_find_item(s->model, s->visible, FE_ITEM_RECIPE, item->base)) return;
    ir_error(s->diag, item->base_loc, "unknown recipe '%s'", item->base);
    add_items(&names, &s->model->items, FE_ITEM_RECIPE, s->visible);
    fe_suggest(s->diag, &names, item->base);
}

static void check_twice(scope *s, const fe_item *item) {
    if (item->kind == FE_ITEM_SET) return;
    const fe_item *other = fe_find_item(s->model, s->visible, item->kind, item->name);
    if (other) {
        int line, column;
        ir_loc_line(other->loc, &line, &column);
        ir_error(s->diag, item->loc, "'%s' stands twice, first at %s:%d", item->name,
                 other->loc.source->file, line);
    }
    if (item->kind == FE_ITEM_BLOCK &&
        (is_op(item->name) || among(functions, LENGTH(functions), item->name)))
        ir_error(s->diag, item->loc, "block '%s' takes the name of an op or function", item->name);
    if (item->kind == FE_ITEM_PARAM && among(builtin_values, LENGTH(builtin_values), item->name))
        ir_error(s->diag, item->loc, "parameter '%s' takes the name of a built-in value",
                 item->name);
}

bool fe_check_names(const fe_model *model, ir_diag *diag) {
    size_t errors = diag->errors;
    scope *s = ir_arena_alloc(model->arena, sizeof *s);
    *s = (scope){.model = model, .diag = diag};
    for (size_t i = 0; i < model->items.count && diag->errors < errors + IR_DIAG_LIMIT; i++) {
        const fe_item *item = &model->items.items[i];
        s->visible = i;
        s->local_count = 0;
        s->builtins = false;
        check_twice(s, item);
        switch (item->kind) {
        case FE_ITEM_USE: break;
        case FE_ITEM_PARAM:
            check_expr(s, item->choices);
            check_expr(s, item->value);
            break;
        case FE_ITEM_SET: check_set(s, item); break;
        case FE_ITEM_BLOCK: check_callable(s, item); break;
        case FE_ITEM_MODEL:
            if (item->base)
                check_derived(s, item);
            else
                check_callable(s, item);
            break;
        case FE_ITEM_RECIPE: check_recipe(s, item); break;
        }
    }
    return diag->errors == errors;
}
