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
        return fe_fail(e, stmt->label.loc,
                       "a label names the parameters of a call, and there is none");
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
    if (value.kind == FE_VALUE_BOOL)
        fe_run_body(e, value.truth ? &stmt->body : &stmt->other);
    else if (value.kind != FE_POISON)
        fe_fail(e, stmt->value->loc, "condition is %s, expected true or false",
                fe_describe(e->arena, value));
}

/* Whether there is room for one more input of this name; reports why not. */
static bool new_input(fe_elab *e, const fe_stmt *stmt) {
    int inputs = 0;
    for (size_t i = 0; i < e->graph->count; i++) {
        if (e->graph->nodes[i].op != IR_OP_input) continue;
        if (strcmp(e->graph->nodes[i].name, stmt->text) == 0) {
            fe_fail(e, stmt->loc, "the input '%s' stands twice", stmt->text);
            return false;
        }
        inputs++;
    }
    if (inputs == FE_MAX_RESULTS) fe_fail(e, stmt->loc, "more than %d inputs", FE_MAX_RESULTS);
    return inputs < FE_MAX_RESULTS;
}

static bool check_dims(fe_elab *e, const fe_stmt *stmt, const ir_ints *dims) {
    int64_t elements = 1;
    for (int d = 0; d < dims->count; d++) {
        int64_t dim = dims->item[d];
        if (dim < 1)
            fe_fail(e, stmt->value->loc, "dimension %d of '%s' is %lld, expected at least 1", d,
                    stmt->text, (long long)dim);
        else if (elements > INT32_MAX / dim)
            fe_fail(e, stmt->value->loc, "input '%s' has more than %d elements", stmt->text,
                    INT32_MAX);
        if (dim < 1 || elements > INT32_MAX / dim) return false;
        elements *= dim;
    }
    return true;
}

static void run_input(fe_elab *e, const fe_stmt *stmt) {
    fe_value shape = fe_eval(e, stmt->value);
    ir_ints dims;
    fe_set_local(e, stmt->text, fe_poison());
    if (shape.kind == FE_POISON || !fe_to_ints(e, stmt->value->loc, "shape", shape, 0, &dims))
        return;
    bool real = strcmp(stmt->dtype, "f32") == 0;
    if (!real && strcmp(stmt->dtype, "i64") != 0) {
        fe_fail(e, stmt->loc, "element type of '%s' is '%s', expected f32 or i64", stmt->text,
                stmt->dtype);
        return;
    }
    if (!check_dims(e, stmt, &dims) || !new_input(e, stmt)) return;
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
    if (e->graph->output_count == FE_MAX_RESULTS) {
        fe_fail(e, stmt->loc, "more than %d outputs", FE_MAX_RESULTS);
        return;
    }
    ir_add_output(e->graph, stmt->text, value.tensor);
}

/* Numbers of a list have blanks between them, "0.485 0.456 0.406"; strings, which may hold blanks,
 * have a line each. */
static void meta_text(fe_value value, ir_text *out) {
    if (value.kind == FE_VALUE_TEXT) {
        ir_text_append(out, value.text, strlen(value.text));
    } else if (value.kind == FE_VALUE_LIST) {
        for (size_t i = 0; i < value.list->count; i++) {
            fe_value item = value.list->items[i];
            if (i) ir_text_append(out, item.kind == FE_VALUE_TEXT ? "\n" : " ", 1);
            meta_text(item, out);
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
    if (e->graph->meta_count == FE_MAX_RESULTS && !ir_get_meta(e->graph, stmt->text)) {
        fe_fail(e, stmt->loc, "more than %d metas", FE_MAX_RESULTS);
        return;
    }
    int64_t elements = value.kind == FE_VALUE_LIST ? (int64_t)value.list->total : 1;
    if (!fe_spend(e, stmt->loc, elements)) return;
    ir_text text = {0};
    meta_text(value, &text);
    if (fe_spend(e, stmt->loc, (int64_t)text.length / 16))
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
    if (message.kind == FE_VALUE_TEXT)
        fe_fail(e, stmt->loc, "%s", message.text);
    else if (message.kind != FE_POISON)
        fe_fail(e, stmt->message->loc, "the message is %s, expected a string",
                fe_describe(e->arena, message));
    e->stopped = true; /* what follows relies on it */
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
            fe_fail(e, body->items[0].loc,
                    "blocks and expressions are nested deeper than %d levels", FE_MAX_STACK);
        e->stopped = true;
        return;
    }
    e->stack++;
    for (size_t i = 0; i < body->count && !e->stopped && !e->frame->returned; i++)
        if (fe_spend(e, body->items[i].loc, 1)) run_stmt(e, &body->items[i]);
    e->stack--;
}

/* ---- the model ---- */

/* What `NAME = BASE(args)` gives a parameter of the model with the body; the last model counts
 * most. */
static const fe_expr *derived_value(const fe_elab *e, const fe_item *item, const char *name) {
    for (; item->base; item = fe_find_before(e->model, item, item->base))
        for (size_t i = 0; i < item->arg_count; i++)
            if (strcmp(item->args[i].name, name) == 0) return item->args[i].value;
    return NULL;
}

static void needs_value(fe_elab *e, const fe_item *item, const fe_param *param) {
    size_t errors = e->diag->errors;
    fe_fail(e, item->loc, "model '%s' needs a value for '%s'", item->name, param->name);
    if (e->diag->errors > errors)
        ir_hint(e->diag, "model NAME = %s(%s = ..), or -D %s=..", item->name, param->name,
                param->name);
}

static void bind_model(fe_elab *e, const fe_item *item, const fe_item *root) {
    for (size_t i = 0; i < root->param_count; i++) {
        const fe_param *param = &root->params[i];
        const fe_expr *derived = derived_value(e, item, param->name);
        const fe_define *define = fe_find_define(e->options, param->name);
        fe_value like = param->value ? fe_eval(e, param->value) : fe_poison(), value = like;
        if (derived) value = fe_conform(e, derived->loc, param->name, fe_eval(e, derived), like);
        if (define) value = fe_define_value(e, define, derived ? value : like);
        if (!param->value && !derived && !define) needs_value(e, item, param);
        fe_set_local(e, param->name, value);
    }
}

/* Whether a field of the recipe shapes this graph; of a plain loss, only if -D asks for it. */
static bool applies(const fe_elab *e, const char *field) {
    if (e->options->kind == IR_KIND_INFER) return false;
    return !e->options->plain_loss || fe_find_define(e->options, field);
}

/* A value of the recipe that shapes the graph goes to the parameter of the same name. */
static void apply_recipe(fe_elab *e, const fe_recipe *recipe) {
    bool asked = e->options->batch || fe_find_define(e->options, "batch");
    bool infer = e->options->kind == IR_KIND_INFER;
    e->batch = infer && !asked ? 1 : recipe->batch;
    if (applies(e, "label_smoothing")) e->label_smoothing = recipe->label_smoothing;
    fe_global *drop_path = fe_find_global(e, "drop_path");
    if (drop_path && applies(e, "drop_path") && fe_recipe_given(recipe, FE_FIELD_drop_path))
        drop_path->recipe = &recipe->drop_path;
}

/* What the model never asked for has no effect. */
static void check_recipe(fe_elab *e, const fe_recipe *recipe) {
    const fe_global *drop_path = fe_find_global(e, "drop_path");
    bool drops = drop_path && drop_path->state != FE_UNKNOWN;
    if (applies(e, "label_smoothing") && recipe->label_smoothing > 0 && !e->smooths)
        fe_recipe_unused(recipe, FE_FIELD_label_smoothing, "the model does not use it", e->diag);
    if (applies(e, "drop_path") && recipe->drop_path > 0 && !drops)
        fe_recipe_unused(recipe, FE_FIELD_drop_path, "the model uses no parameter drop_path",
                         e->diag);
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

ir_graph *fe_elaborate(const fe_model *model, const fe_options *options, fe_recipe *recipe,
                       ir_diag *diag) {
    fe_recipe own;
    if (!recipe) recipe = &own;
    const fe_item *item = fe_last_model(model);
    if (!item) {
        ir_error(diag, (ir_loc){0}, "there is no model in the file");
        ir_hint(diag, "model NAME { input image: f32[..] ... output logits = .. }");
        return NULL;
    }
    if (!fe_resolve_recipe(model, options, recipe, diag)) return NULL;
    fe_elab *e = fe_elab_new(model, options, diag);
    if (!e) return NULL;
    apply_recipe(e, recipe);
    e->graph = ir_graph_new(item->name, options->kind);
    ir_graph *graph = e->graph;
    run_model(e, item);
    if (diag->errors == 0) check_recipe(e, recipe);
    fe_elab_free(e);
    if (diag->errors == 0 && ir_verify(graph, diag)) return graph;
    ir_graph_free(graph);
    return NULL;
}
