/* Items and statements; and how parsing goes on after an error. */
#include "fe_parser.h"

#include <string.h>

/* Whether the next token starts an item of the file: a word that only items begin with, where a
 * line begins. */
static bool at_item(const fe_parser *p) {
    const fe_token *t = &p->tokens[p->at];
    bool word = t->kind >= FE_USE && t->kind <= FE_RECIPE;
    return word && (t->loc.offset == 0 || t->loc.source->text[t->loc.offset - 1] == '\n');
}

/* Skips to the end of the line (or the `}` that ends the body), past whole { } groups. A line opens
 * a body only by a `{` at its end. */
static void recover(fe_parser *p) {
    int braces = 0, before = 0; /* now, and where the line began */
    p->brackets = 0;
    for (; p->tokens[p->at].kind != FE_END && !at_item(p); p->at++) {
        fe_token_kind kind = p->tokens[p->at].kind;
        if (kind == FE_NEWLINE) {
            bool opens = p->at > 0 && p->tokens[p->at - 1].kind == FE_LBRACE;
            if (!opens && braces > before) braces = before;
            before = braces;
        }
        if (braces == 0 && (kind == FE_NEWLINE || kind == FE_RBRACE)) return;
        if (kind == FE_LBRACE) braces++;
        if (kind == FE_RBRACE) braces--;
    }
}

/* Skips to the next item of the file. */
static void recover_item(fe_parser *p) {
    p->brackets = 0;
    p->lost = false;
    while (p->tokens[p->at].kind != FE_END && !at_item(p))
        p->at++;
}

/* At the end of the file, or at the next item: reports that `}` is missing, once. */
static bool body_is_open(fe_parser *p, const char *what) {
    if (p->tokens[p->at].kind != FE_END && !at_item(p)) return false;
    if (!p->lost) fe_unexpected(p, what);
    p->lost = true;
    return true;
}

static void skip_lines(fe_parser *p) {
    while (fe_accept(p, FE_NEWLINE)) {
    }
}

/* NAME, stored with its place; `what` is "the name of a block". */
static bool parse_name(fe_parser *p, const char **name, ir_loc *loc, const char *what) {
    const fe_token *t = fe_peek(p);
    *name = t->text;
    *loc = t->loc;
    if (fe_accept(p, FE_NAME)) return true;
    size_t errors = p->diag->errors;
    fe_unexpected(p, what);
    if (fe_is_keyword(t->kind) && errors < p->diag->errors)
        ir_hint(p->diag, "'%s' is a word of the language", fe_token_text(t->kind));
    return false;
}

/* value = [ label ] expr */
static bool parse_labelled(fe_parser *p, fe_stmt *stmt) {
    return fe_parse_label(p, &stmt->label) && (stmt->value = fe_parse_expr(p));
}

static bool parse_body(fe_parser *p, fe_body *body);

/* if = "if" expr body [ "else" ( if | body ) ] */
static bool parse_if(fe_parser *p, fe_stmt *stmt) {
    if (!(stmt->value = fe_parse_expr(p)) || !parse_body(p, &stmt->body)) return false;
    size_t before = p->at;
    skip_lines(p);
    if (!fe_accept(p, FE_ELSE)) {
        p->at = before;
        return true;
    }
    const fe_token *t = fe_peek(p);
    if (t->kind != FE_IF) return parse_body(p, &stmt->other);
    p->at++;
    fe_stmt inner = {.kind = FE_STMT_IF, .loc = t->loc};
    if (!fe_enter(p)) return false;
    bool good = parse_if(p, &inner);
    p->depth--;
    *IR_PUSH(p->arena, stmt->other.items, stmt->other.count, stmt->other.capacity) = inner;
    return good;
}

/* input = "input" NAME ":" NAME list */
static bool parse_input(fe_parser *p, fe_stmt *stmt) {
    ir_loc loc;
    return parse_name(p, &stmt->text, &stmt->loc, "the name of an input") &&
           fe_expect(p, FE_COLON, "behind the name of an input") &&
           parse_name(p, &stmt->dtype, &loc, "an element type, f32 or i64") &&
           (stmt->value = fe_parse_list(p));
}

/* A name that nothing is assigned to: a misspelt word, or a call whose value is lost. */
static bool no_statement(fe_parser *p, const fe_token *name) {
    static const char *const words[] = {"return", "for", "if", "input", "output", "meta", "assert"};
    const char *near = ir_nearest(name->text, words, sizeof words / sizeof *words);
    size_t errors = p->diag->errors;
    if (fe_peek(p)->kind == FE_LPAREN) {
        p->at--;
        fe_unexpected(p, "a statement");
        if (errors < p->diag->errors)
            ir_hint(p->diag, "a call is a value: name = %s(..)", name->text);
        return false;
    }
    fe_expect(p, FE_ASSIGN, "behind a name");
    if (near && errors < p->diag->errors) ir_hint(p->diag, "did you mean '%s'?", near);
    return false;
}

/* stmt = NAME "=" value | "return" value | "for" NAME "in" expr body | if | input
 *      | "output" NAME "=" value | "meta" NAME "=" expr | "assert" expr "," expr */
static bool parse_stmt(fe_parser *p, fe_stmt *stmt) {
    const fe_token *t = fe_peek(p);
    *stmt = (fe_stmt){.loc = t->loc, .text = t->text};
    p->at++;
    switch ((int)t->kind) {
    case FE_NAME:
        stmt->kind = FE_STMT_ASSIGN;
        return fe_peek(p)->kind == FE_ASSIGN ? (p->at++, parse_labelled(p, stmt))
                                             : no_statement(p, t);
    case FE_RETURN: stmt->kind = FE_STMT_RETURN; return parse_labelled(p, stmt);
    case FE_FOR:
        stmt->kind = FE_STMT_FOR;
        return parse_name(p, &stmt->text, &stmt->loc, "a name behind 'for'") &&
               fe_expect(p, FE_IN, "behind the loop's name") && (stmt->value = fe_parse_expr(p)) &&
               parse_body(p, &stmt->body);
    case FE_IF: stmt->kind = FE_STMT_IF; return parse_if(p, stmt);
    case FE_INPUT: stmt->kind = FE_STMT_INPUT; return parse_input(p, stmt);
    case FE_OUTPUT:
        stmt->kind = FE_STMT_OUTPUT;
        return parse_name(p, &stmt->text, &stmt->loc, "the name of an output") &&
               fe_expect(p, FE_ASSIGN, "behind the name of an output") && parse_labelled(p, stmt);
    case FE_META:
        stmt->kind = FE_STMT_META;
        return parse_name(p, &stmt->text, &stmt->loc, "a name behind 'meta'") &&
               fe_expect(p, FE_ASSIGN, "behind a name") && (stmt->value = fe_parse_expr(p));
    case FE_ASSERT:
        stmt->kind = FE_STMT_ASSERT;
        return (stmt->value = fe_parse_expr(p)) &&
               fe_expect(p, FE_COMMA, "and a message behind the condition") &&
               (stmt->message = fe_parse_expr(p));
    default: p->at--; return fe_unexpected(p, "a statement");
    }
}

/* The end of a statement: its line, or the `}` behind it. */
static bool end_of_line(fe_parser *p) {
    fe_token_kind kind = fe_peek(p)->kind;
    if (kind == FE_NEWLINE || kind == FE_RBRACE || kind == FE_END) return true;
    return fe_unexpected(p, "end of line");
}

/* body = "{" { stmt NEWLINE } "}" */
static bool parse_body(fe_parser *p, fe_body *body) {
    if (!fe_expect(p, FE_LBRACE, "to open a body") || !fe_enter(p)) return false;
    for (skip_lines(p); !fe_accept(p, FE_RBRACE); skip_lines(p)) {
        fe_stmt stmt;
        if (body_is_open(p, "'}' to close a body")) return false;
        int depth = p->depth;
        if (parse_stmt(p, &stmt) && end_of_line(p)) {
            *IR_PUSH(p->arena, body->items, body->count, body->capacity) = stmt;
        } else {
            p->depth = depth;
            recover(p);
        }
    }
    p->depth--;
    return true;
}

/* params = "(" [ param { "," param } [ "," ] ] ")" ; param = NAME [ "=" expr ] */
static bool parse_params(fe_parser *p, fe_item *item) {
    if (!fe_expect(p, FE_LPAREN, "to open the parameters")) return false;
    p->brackets++;
    while (!fe_accept(p, FE_RPAREN)) {
        fe_param param = {0};
        if (!parse_name(p, &param.name, &param.loc, "the name of a parameter")) return false;
        if (fe_accept(p, FE_ASSIGN) && !(param.value = fe_parse_expr(p))) return false;
        for (size_t i = 0; i < item->param_count; i++)
            if (strcmp(item->params[i].name, param.name) == 0)
                return ir_error(p->diag, param.loc, "parameter '%s' stands twice", param.name);
        if (item->param_count == FE_MAX_ARGS)
            return ir_error(p->diag, param.loc, "more than %d parameters", FE_MAX_ARGS);
        *IR_PUSH(p->arena, item->params, item->param_count, item->param_capacity) = param;
        if (!fe_accept(p, FE_COMMA) && fe_peek(p)->kind != FE_RPAREN)
            return fe_unexpected(p, "',' or ')' behind a parameter");
    }
    p->brackets--;
    return true;
}

/* model = "model" NAME ( params body | "=" NAME "(" args ) */
static bool parse_model(fe_parser *p, fe_item *item) {
    if (!fe_accept(p, FE_ASSIGN))
        return (fe_peek(p)->kind != FE_LPAREN || parse_params(p, item)) &&
               parse_body(p, &item->body);
    return parse_name(p, &item->base, &item->base_loc, "the name of a model") &&
           fe_expect(p, FE_LPAREN, "behind the name of a model") &&
           fe_parse_args(p, &item->args, &item->arg_count, &item->arg_capacity);
}

static bool parse_field(fe_parser *p, fe_item *item) {
    fe_arg field = {0};
    if (!parse_name(p, &field.name, &field.loc, "the name of a field") ||
        !fe_expect(p, FE_ASSIGN, "behind the name of a field") ||
        !(field.value = fe_parse_expr(p)) || !end_of_line(p))
        return false;
    for (size_t i = 0; i < item->arg_count; i++)
        if (strcmp(item->args[i].name, field.name) == 0)
            return ir_error(p->diag, field.loc, "field '%s' stands twice", field.name);
    if (item->arg_count == FE_MAX_ARGS)
        return ir_error(p->diag, field.loc, "more than %d fields", FE_MAX_ARGS);
    *IR_PUSH(p->arena, item->args, item->arg_count, item->arg_capacity) = field;
    return true;
}

/* recipe = "recipe" NAME [ "from" NAME ] "{" { NAME "=" expr NEWLINE } "}" */
static bool parse_recipe(fe_parser *p, fe_item *item) {
    if (fe_accept(p, FE_FROM) &&
        !parse_name(p, &item->base, &item->base_loc, "the name of a recipe"))
        return false;
    if (!fe_expect(p, FE_LBRACE, "to open a recipe")) return false;
    for (skip_lines(p); !fe_accept(p, FE_RBRACE); skip_lines(p)) {
        if (body_is_open(p, "'}' to close a recipe")) return false;
        if (!parse_field(p, item)) recover(p);
    }
    return true;
}

static bool no_item(fe_parser *p) {
    static const char *const words[] = {"use", "param", "set", "block", "model", "recipe"};
    const fe_token *t = fe_peek(p);
    size_t errors = p->diag->errors;
    fe_unexpected(p, "use, param, set, block, model or recipe");
    const char *near = t->kind == FE_NAME ? ir_nearest(t->text, words, 6) : NULL;
    if (near && errors < p->diag->errors) ir_hint(p->diag, "did you mean '%s'?", near);
    return false;
}

/* item = "use" STRING | "param" NAME [ ":" list ] "=" expr | "set" NAME "=" expr
 *      | "block" NAME params body | model | recipe */
static bool parse_item(fe_parser *p, fe_item *item) {
    const fe_token *t = fe_peek(p);
    *item = (fe_item){0};
    p->at++;
    switch ((int)t->kind) {
    case FE_USE:
        item->kind = FE_ITEM_USE;
        item->name = fe_peek(p)->text;
        item->loc = fe_peek(p)->loc;
        return fe_expect(p, FE_STRING, "behind 'use'");
    case FE_PARAM:
    case FE_SET:
        item->kind = t->kind == FE_SET ? FE_ITEM_SET : FE_ITEM_PARAM;
        return parse_name(p, &item->name, &item->loc, "the name of a parameter") &&
               (t->kind == FE_SET || !fe_accept(p, FE_COLON) ||
                (item->choices = fe_parse_list(p))) &&
               fe_expect(p, FE_ASSIGN, "behind the name") && (item->value = fe_parse_expr(p));
    case FE_BLOCK:
        item->kind = FE_ITEM_BLOCK;
        return parse_name(p, &item->name, &item->loc, "the name of a block") &&
               parse_params(p, item) && parse_body(p, &item->body);
    case FE_MODEL:
        item->kind = FE_ITEM_MODEL;
        return parse_name(p, &item->name, &item->loc, "the name of a model") &&
               parse_model(p, item);
    case FE_RECIPE:
        item->kind = FE_ITEM_RECIPE;
        return parse_name(p, &item->name, &item->loc, "the name of a recipe") &&
               parse_recipe(p, item);
    default: p->at--; return no_item(p);
    }
}

/* The lexer's messages and the parser's in the order of the text. */
static void sort_messages(ir_diag *diag, size_t from) {
    for (size_t i = from + 1; i < diag->count; i++)
        for (size_t k = i; k > from; k--) {
            ir_message *m = &diag->messages[k];
            if (m[-1].loc.offset <= m->loc.offset) break;
            ir_message swap = *m;
            *m = m[-1];
            m[-1] = swap;
        }
}

/* file = { item NEWLINE } */
bool fe_parse(ir_arena *arena, const ir_source *source, fe_items *items, ir_diag *diag) {
    size_t errors = diag->errors, before = diag->count;
    fe_tokens tokens = fe_lex(arena, source, 0, diag);
    fe_parser p = {.arena = arena, .diag = diag, .tokens = tokens.items};
    for (skip_lines(&p); fe_peek(&p)->kind != FE_END; skip_lines(&p)) {
        fe_item item;
        p.depth = 0;
        bool good = parse_item(&p, &item);
        fe_token_kind next = fe_peek(&p)->kind;
        if (good && next != FE_NEWLINE && next != FE_END) good = fe_unexpected(&p, "end of line");
        if (good)
            *IR_PUSH(arena, items->items, items->count, items->capacity) = item;
        else
            recover_item(&p);
    }
    sort_messages(diag, before);
    return diag->errors == errors;
}

fe_expr *fe_parse_value(ir_arena *arena, const ir_source *source, size_t from, ir_diag *diag) {
    size_t errors = diag->errors;
    fe_tokens tokens = fe_lex(arena, source, from, diag);
    fe_parser p = {.arena = arena, .diag = diag, .tokens = tokens.items};
    fe_expr *expr = fe_parse_expr(&p);
    if (expr && fe_peek(&p)->kind != FE_END) fe_unexpected(&p, "end of the value");
    return diag->errors == errors ? expr : NULL;
}
