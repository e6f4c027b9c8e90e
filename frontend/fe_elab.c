/* Statements, and a whole model: its parameters, its body, its results. */
#include "fe_elab.h"

#include <string.h>

/* ---- labels ---- */

static bool is_label_text(const char *text) {
    if (!*text) return false;
    for (const char *p = text; *p; p++) {
        bool word = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                    (*p >= '0' && *p <= '9') || *p == '_' || *p == '.';
        if (!word) return false;
    }
    return true;
}

/* The text of one part; NULL after an error. */
static const char *label_part(fe_elab *e, const fe_label_part *part) {
    if (part->text) return part->text;
    fe_value value = fe_eval(e, part->value);
    if (value.kind == FE_POISON) return NULL;
    if (value.kind == FE_VALUE_INT && value.integer >= 0)
        return ir_arena_printf(e->arena, "%lld", (long long)value.integer);
    if (value.kind == FE_VALUE_TEXT && is_label_text(value.text)) return value.text;
    fe_fail(e, part->value->loc, "part of a label is %s, expected a whole number or a word",
            fe_describe(e->arena, value));
    return NULL;
}

/* The whole label, prefix included; NULL after an error. */
static const char *label_text(fe_elab *e, const fe_label *label) {
    ir_text text = {0};
    bool good = true;
    ir_text_printf(&text, "%s", e->frame->prefix);
    for (size_t i = 0; i < label->count && good; i++) {
        const char *part = label_part(e, &label->parts[i]);
        good = part != NULL;
        if (good) ir_text_printf(&text, "%s%s", i ? "." : "", part);
    }
    if (good && text.length > FE_MAX_LABEL) {
        fe_fail(e, label->loc, "label of %zu characters, at most %d", text.length, FE_MAX_LABEL);
        good = false;
    }
    const char *copy = good ? ir_arena_strndup(e->arena, text.data, text.length) : NULL;
    ir_text_free(&text);
    return copy;
}

/* ---- statements ---- */

static fe_value labelled_value(fe_elab *e, const fe_stmt *stmt) {
    if (!stmt->label.count) return fe_eval(e, stmt->value);
    if (stmt->value->kind != FE_EXPR_CALL)
        return fe_fail(e, stmt->label.loc, "a label names the parameters of a call, and there is none");
    const char *label = label_text(e, &stmt->label);
    return label ? fe_call(e, stmt->value, label) : fe_poison();
}

static void run_for(fe_elab *e, const fe_stmt *stmt) {
    fe_value list = fe_eval(e, stmt->value);
    if (list.kind == FE_POISON) return;
    if (list.kind != FE_VALUE_LIST) {
        fe_fail(e, stmt->value->loc, "'for' goes over %s, expected a list",
                fe_describe(e->arena, list));
        return;
    }
    for (size_t i = 0; i < list.list->count && !e->stopped && !e->frame->returned; i++) {
        if (!fe_spend(e, stmt->loc, 1)) return;
        fe_set_local(e, stmt->text, list.list->items[i]);
        fe_run_body(e, &stmt->body);
    }
}

static void run_if(fe_elab *e, const fe_stmt *stmt) {
    fe_value value = fe_eval(e, stmt->value);
    if (value.kind == FE_VALUE_BOOL) fe_run_body(e, value.truth ? &stmt->body : &stmt->other);
    else if (value.kind != FE_POISON)
        fe_fail(e, stmt->value->loc, "condition is %s, expected true or false",
                fe_describe(e->arena, value));
}

static bool has_input(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].op == IR_OP_input && strcmp(graph->nodes[i].name, name) == 0) return true;
    return false;
}

static void run_input(fe_elab *e, const fe_stmt *stmt) {
    fe_value shape = fe_eval(e, stmt->value);
    ir_ints dims;
    fe_set_local(e, stmt->text, fe_poison());
    if (shape.kind == FE_POISON || !fe_to_ints(e, stmt->value->loc, "shape", shape, 0, &dims)) return;
    bool real = strcmp(stmt->dtype, "f32") == 0;
    if (!real && strcmp(stmt->dtype, "i64") != 0) {
        fe_fail(e, stmt->loc, "element type of '%s' is '%s', expected f32 or i64", stmt->text,
                stmt->dtype);
        return;
    }
    int64_t elements = 1;
    for (int d = 0; d < dims.count; d++) {
        if (dims.item[d] >= 1 && elements <= INT32_MAX / dims.item[d]) {
            elements *= dims.item[d];
            continue;
        }
        if (dims.item[d] < 1)
            fe_fail(e, stmt->value->loc, "dimension %d of '%s' is %lld, expected at least 1", d,
                    stmt->text, (long long)dims.item[d]);
        else
            fe_fail(e, stmt->value->loc, "input '%s' has more than %d elements", stmt->text,
                    INT32_MAX);
        return;
    }
    if (has_input(e->graph, stmt->text)) {
        fe_fail(e, stmt->loc, "the input '%s' stands twice", stmt->text);
        return;
    }
    ir_type type = ir_type_make(real ? IR_F32 : IR_I64, dims.count, dims.item);
    fe_set_local(e, stmt->text, fe_tensor(ir_input(e->graph, stmt->text, type)));
}

static void run_output(fe_elab *e, const fe_stmt *stmt) {
    fe_value value = labelled_value(e, stmt);
    fe_set_local(e, stmt->text, value);
    if (value.kind == FE_POISON) return;
    if (value.kind != FE_VALUE_TENSOR) {
        fe_fail(e, stmt->loc, "output '%s' is %s, expected a tensor", stmt->text,
                fe_describe(e->arena, value));
        return;
    }
    for (size_t i = 0; i < e->graph->output_count; i++)
        if (strcmp(e->graph->outputs[i].name, stmt->text) == 0) {
            fe_fail(e, stmt->loc, "the output '%s' stands twice", stmt->text);
            return;
        }
    ir_add_output(e->graph, stmt->text, value.tensor);
}

/* Lists become their elements with blanks between: "0.485 0.456 0.406". */
static void meta_text(fe_value value, ir_text *out) {
    if (value.kind == FE_VALUE_TEXT) {
        ir_text_printf(out, "%s", value.text);
    } else if (value.kind == FE_VALUE_LIST) {
        for (size_t i = 0; i < value.list->count; i++) {
            if (i) ir_text_append(out, " ", 1);
            meta_text(value.list->items[i], out);
        }
    } else {
        fe_print_value(value, out);
    }
}

static void run_meta(fe_elab *e, const fe_stmt *stmt) {
    fe_value value = fe_eval(e, stmt->value);
    if (value.kind == FE_POISON) return;
    if (value.kind == FE_VALUE_TENSOR) {
        fe_fail(e, stmt->loc, "meta '%s' is a tensor, expected a value", stmt->text);
        return;
    }
    ir_text text = {0};
    meta_text(value, &text);
    ir_set_meta(e->graph, stmt->text, text.data ? text.data : "");
    ir_text_free(&text);
}

static void run_assert(fe_elab *e, const fe_stmt *stmt) {
    fe_value value = fe_eval(e, stmt->value);
    if (value.kind == FE_POISON || (value.kind == FE_VALUE_BOOL && value.truth)) return;
    if (value.kind != FE_VALUE_BOOL) {
        fe_fail(e, stmt->value->loc, "condition is %s, expected true or false",
                fe_describe(e->arena, value));
        return;
    }
    fe_value message = fe_eval(e, stmt->message);
    if (message.kind == FE_VALUE_TEXT) fe_fail(e, stmt->loc, "%s", message.text);
    else if (message.kind != FE_POISON)
        fe_fail(e, stmt->message->loc, "the message is %s, expected a string",
                fe_describe(e->arena, message));
}

static void run_stmt(fe_elab *e, const fe_stmt *stmt) {
    switch (stmt->kind) {
    case FE_STMT_ASSIGN: fe_set_local(e, stmt->text, labelled_value(e, stmt)); break;
    case FE_STMT_RETURN: {
        fe_value value = labelled_value(e, stmt);
        e->frame->result = value;
        e->frame->returned = true;
        break;
    }
    case FE_STMT_FOR: run_for(e, stmt); break;
    case FE_STMT_IF: run_if(e, stmt); break;
    case FE_STMT_INPUT: run_input(e, stmt); break;
    case FE_STMT_OUTPUT: run_output(e, stmt); break;
    case FE_STMT_META: run_meta(e, stmt); break;
    case FE_STMT_ASSERT: run_assert(e, stmt); break;
    }
}

void fe_run_body(fe_elab *e, const fe_body *body) {
    if (e->stack >= FE_MAX_STACK) {
        if (body->count)
            fe_fail(e, body->items[0].loc, "blocks and expressions are nested deeper than %d levels",
                    FE_MAX_STACK);
        e->stopped = true;
        return;
    }
    e->stack++;
    for (size_t i = 0; i < body->count && !e->stopped && !e->frame->returned; i++)
        if (fe_spend(e, body->items[i].loc, 1)) run_stmt(e, &body->items[i]);
    e->stack--;
}

/* ---- the model ---- */

/* What `NAME = BASE(args)` gives a parameter of the model with the body; the last model counts most. */
static const fe_expr *derived_value(const fe_elab *e, const fe_item *item, const char *name) {
    for (; item->base; item = fe_find_item(&e->model->items,
                                           (size_t)(item - e->model->items.items),
                                           FE_ITEM_MODEL, item->base))
        for (size_t i = 0; i < item->arg_count; i++)
            if (strcmp(item->args[i].name, name) == 0) return item->args[i].value;
    return NULL;
}

static void bind_model(fe_elab *e, const fe_item *item, const fe_item *root) {
    for (size_t i = 0; i < root->param_count; i++) {
        const fe_param *param = &root->params[i];
        const fe_expr *derived = derived_value(e, item, param->name);
        const fe_define *define = fe_find_define(e->options, param->name);
        fe_value like = param->value ? fe_eval(e, param->value) : fe_poison(), value = like;
        if (derived)
            value = fe_conform(e, derived->loc, param->name, fe_eval(e, derived), like);
        if (define) value = fe_define_value(e, define, derived ? value : like);
        if (!param->value && !derived && !define)
            fe_fail(e, item->loc, "model '%s' needs a value for '%s'", item->name, param->name);
        fe_set_local(e, param->name, value);
    }
}

/* A value of the recipe that shapes the graph goes to the parameter of the same name. */
static void apply_recipe(fe_elab *e, const fe_recipe *recipe) {
    bool infer = e->options->kind == IR_KIND_INFER;
    e->batch = e->options->batch ? e->options->batch : infer ? 1 : recipe->batch;
    if (infer || e->options->plain_loss) return;
    e->label_smoothing = recipe->label_smoothing;
    fe_global *drop_path = fe_find_global(e, "drop_path");
    if (drop_path && fe_recipe_given(recipe, FE_FIELD_drop_path))
        drop_path->recipe = &recipe->drop_path;
}

static void run_model(fe_elab *e, const fe_item *item) {
    const fe_item *root = fe_root_model(e->model, item);
    fe_frame frame = {.prefix = ""};
    e->frame = &frame;
    e->builtins = true;
    bind_model(e, item, root);
    if (e->diag->errors == 0) fe_run_body(e, &root->body);
    if (e->diag->errors == 0 && e->graph->output_count == 0) {
        ir_error(e->diag, item->loc, "model '%s' has no output", item->name);
        ir_hint(e->diag, "output logits = ...");
    }
    e->frame = NULL;
}

ir_graph *fe_elaborate(const fe_model *model, const fe_options *options, ir_diag *diag) {
    fe_recipe recipe;
    const fe_item *item = fe_last_model(model);
    if (!item) {
        ir_error(diag, (ir_loc){0}, "there is no model in the file");
        ir_hint(diag, "model NAME { input image: f32[..] ... output logits = .. }");
        return NULL;
    }
    if (!fe_resolve_recipe(model, options, &recipe, diag)) return NULL;
    fe_elab *e = fe_elab_new(model, options, diag);
    if (!e) return NULL;
    apply_recipe(e, &recipe);
    e->graph = ir_graph_new(item->name, options->kind);
    ir_graph *graph = e->graph;
    run_model(e, item);
    fe_elab_free(e);
    if (diag->errors == 0 && ir_verify(graph, diag)) return graph;
    ir_graph_free(graph);
    return NULL;
}
