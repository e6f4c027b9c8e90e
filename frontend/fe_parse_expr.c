/* Expressions. Binary operators are parsed by precedence climbing over one table. */
#include "fe_parser.h"

#include <string.h>

const fe_token *fe_peek(fe_parser *p) {
    while (p->brackets > 0 && p->tokens[p->at].kind == FE_NEWLINE)
        p->at++;
    return &p->tokens[p->at];
}

bool fe_accept(fe_parser *p, fe_token_kind kind) {
    if (fe_peek(p)->kind != kind) return false;
    if (kind != FE_END) p->at++;
    return true;
}

bool fe_unexpected(fe_parser *p, const char *what) {
    const fe_token *t = fe_peek(p);
    if (t->after_error) return false;
    if (t->kind == FE_END || t->kind == FE_NEWLINE)
        return ir_error(p->diag, t->loc, "expected %s, found %s", what, fe_token_text(t->kind));
    int shown = t->loc.length > 30 ? 30 : (int)t->loc.length;
    return ir_error(p->diag, t->loc, "expected %s, found '%.*s%s'", what, shown,
                    t->loc.source->text + t->loc.offset, t->loc.length > 30 ? "..." : "");
}

bool fe_expect(fe_parser *p, fe_token_kind kind, const char *where) {
    if (fe_accept(p, kind)) return true;
    bool plain = kind <= FE_STRING;
    char what[120];
    snprintf(what, sizeof what, plain ? "%s %s" : "'%s' %s", fe_token_text(kind), where);
    return fe_unexpected(p, what);
}

bool fe_enter(fe_parser *p) {
    if (++p->depth <= FE_MAX_DEPTH) return true;
    p->depth--;
    return ir_error(p->diag, fe_peek(p)->loc, "nested deeper than %d levels", FE_MAX_DEPTH);
}

static int depth_of(const fe_expr *expr) {
    return expr ? expr->depth : 0;
}

/* A node over up to three others; NULL if it were too deep. */
static fe_expr *make(fe_parser *p, fe_expr node) {
    int depth = depth_of(node.a);
    if (depth_of(node.b) > depth) depth = depth_of(node.b);
    if (depth_of(node.c) > depth) depth = depth_of(node.c);
    for (size_t i = 0; i < node.count; i++)
        if (depth_of(node.args[i].value) > depth) depth = depth_of(node.args[i].value);
    if (depth >= FE_MAX_DEPTH) {
        ir_error(p->diag, node.loc, "expression is nested deeper than %d levels", FE_MAX_DEPTH);
        return NULL;
    }
    fe_expr *expr = ir_arena_alloc(p->arena, sizeof *expr);
    *expr = node;
    expr->depth = depth + 1;
    return expr;
}

static bool no_argument(fe_parser *p) {
    size_t errors = p->diag->errors;
    fe_unexpected(p, "',' or ')' behind an argument");
    if (fe_peek(p)->kind == FE_COLON && errors < p->diag->errors)
        ir_hint(p->diag, "a label stands at the start of a value: y = label: call(..)");
    return false;
}

/* args = [ arg { "," arg } [ "," ] ] ")" ; arg = [ NAME "=" ] expr */
bool fe_parse_args(fe_parser *p, fe_arg **args, size_t *count, size_t *capacity) {
    p->brackets++;
    bool named = false;
    while (!fe_accept(p, FE_RPAREN)) {
        fe_arg arg = {.loc = fe_peek(p)->loc};
        if (fe_peek(p)->kind == FE_NAME && p->tokens[p->at + 1].kind == FE_ASSIGN) {
            arg.name = fe_peek(p)->text;
            p->at += 2;
            named = true;
        } else if (named) {
            return ir_error(p->diag, arg.loc, "argument by position behind a named one");
        }
        for (size_t i = 0; i < *count && arg.name; i++)
            if ((*args)[i].name && strcmp((*args)[i].name, arg.name) == 0)
                return ir_error(p->diag, arg.loc, "argument '%s' is given twice", arg.name);
        if (*count == FE_MAX_ARGS)
            return ir_error(p->diag, arg.loc, "more than %d arguments", FE_MAX_ARGS);
        if (!(arg.value = fe_parse_expr(p))) return false;
        *IR_PUSH(p->arena, *args, *count, *capacity) = arg;
        if (!fe_accept(p, FE_COMMA) && fe_peek(p)->kind != FE_RPAREN) return no_argument(p);
    }
    p->brackets--;
    return true;
}

/* each = expr "for" NAME "in" expr "]" */
static fe_expr *parse_each(fe_parser *p, fe_expr *element, ir_loc loc) {
    fe_expr node = {.kind = FE_EXPR_EACH, .loc = loc, .a = element};
    node.text = fe_peek(p)->text;
    if (!fe_expect(p, FE_NAME, "behind 'for'") || !fe_expect(p, FE_IN, "behind the loop's name") ||
        !(node.b = fe_parse_expr(p)) || !fe_expect(p, FE_RBRACKET, "to close the list"))
        return NULL;
    p->brackets--;
    return make(p, node);
}

/* list = "[" [ expr { "," expr } [ "," ] ] "]" | "[" each */
fe_expr *fe_parse_list(fe_parser *p) {
    fe_expr node = {.kind = FE_EXPR_LIST, .loc = fe_peek(p)->loc};
    if (!fe_expect(p, FE_LBRACKET, "to open a list")) return NULL;
    p->brackets++;
    while (!fe_accept(p, FE_RBRACKET)) {
        fe_arg arg = {.loc = fe_peek(p)->loc, .value = fe_parse_expr(p)};
        if (!arg.value) return NULL;
        if (node.count == 0 && fe_accept(p, FE_FOR)) return parse_each(p, arg.value, node.loc);
        *IR_PUSH(p->arena, node.args, node.count, node.capacity) = arg;
        if (!fe_accept(p, FE_COMMA) && fe_peek(p)->kind != FE_RBRACKET) {
            fe_unexpected(p, "',' or ']' behind an element of a list");
            return NULL;
        }
    }
    p->brackets--;
    return make(p, node);
}

/* primary = INT | FLOAT | STRING | "true" | "false" | NAME [ "(" args ] | list | "(" expr ")" */
static fe_expr *parse_primary(fe_parser *p) {
    const fe_token *t = fe_peek(p);
    fe_expr node = {.loc = t->loc, .text = t->text, .integer = t->integer, .number = t->number};
    switch ((int)t->kind) {
    case FE_INT: node.kind = FE_EXPR_INT; break;
    case FE_FLOAT: node.kind = FE_EXPR_FLOAT; break;
    case FE_STRING: node.kind = FE_EXPR_STRING; break;
    case FE_TRUE:
    case FE_FALSE:
        node.kind = FE_EXPR_BOOL;
        node.integer = t->kind == FE_TRUE;
        break;
    case FE_NAME:
        node.kind = FE_EXPR_NAME;
        p->at++;
        if (!fe_accept(p, FE_LPAREN)) return make(p, node);
        node.kind = FE_EXPR_CALL;
        return fe_parse_args(p, &node.args, &node.count, &node.capacity) ? make(p, node) : NULL;
    case FE_LBRACKET: return fe_parse_list(p);
    case FE_LPAREN: {
        p->at++;
        p->brackets++;
        fe_expr *inner = fe_parse_expr(p);
        if (!inner || !fe_expect(p, FE_RPAREN, "to close the parenthesis")) return NULL;
        p->brackets--;
        return inner;
    }
    default: fe_unexpected(p, "an expression"); return NULL;
    }
    p->at++;
    return make(p, node);
}

/* postfix = primary { "[" expr "]" } */
static fe_expr *parse_postfix(fe_parser *p) {
    fe_expr *expr = parse_primary(p);
    while (expr && fe_peek(p)->kind == FE_LBRACKET) {
        fe_expr node = {.kind = FE_EXPR_INDEX, .loc = fe_peek(p)->loc, .a = expr};
        p->at++;
        p->brackets++;
        if (!(node.b = fe_parse_expr(p)) || !fe_expect(p, FE_RBRACKET, "to close the index"))
            return NULL;
        p->brackets--;
        expr = make(p, node);
    }
    return expr;
}

int fe_binding(fe_token_kind op) {
    switch ((int)op) {
    case FE_OR: return 1;
    case FE_AND: return 2;
    case FE_EQUAL:
    case FE_UNEQUAL:
    case FE_LESS:
    case FE_AT_MOST:
    case FE_MORE:
    case FE_AT_LEAST:
    case FE_IN: return 4;
    case FE_PLUS:
    case FE_MINUS: return 5;
    case FE_STAR:
    case FE_SLASH:
    case FE_FLOOR_SLASH:
    case FE_PERCENT: return 6;
    case FE_POWER: return 8;
    default: return 0;
    }
}

static fe_expr *parse_binary(fe_parser *p, int least);

/* unary = "-" unary | "not" unary | postfix */
static fe_expr *parse_unary(fe_parser *p) {
    const fe_token *t = fe_peek(p);
    if (t->kind != FE_MINUS && t->kind != FE_NOT) return parse_postfix(p);
    fe_expr node = {.kind = FE_EXPR_UNARY, .op = t->kind, .loc = t->loc};
    p->at++;
    if (!fe_enter(p)) return NULL;
    node.a = parse_binary(p, t->kind == FE_NOT ? 4 : 7);
    p->depth--;
    return node.a ? make(p, node) : NULL;
}

/* binary = unary { operator unary }, by precedence; "**" groups to the right, comparisons do not
 * chain. */
static fe_expr *parse_binary(fe_parser *p, int least) {
    fe_expr *left = parse_unary(p);
    while (left) {
        const fe_token *t = fe_peek(p);
        int own = fe_binding(t->kind);
        if (own == 0 || own < least) return left;
        p->at++;
        fe_expr node = {.kind = FE_EXPR_BINARY, .op = t->kind, .loc = t->loc, .a = left};
        if (!fe_enter(p)) return NULL;
        node.b = parse_binary(p, t->kind == FE_POWER ? own : own + 1);
        p->depth--;
        if (!node.b) return NULL;
        left = make(p, node);
        if (left && own == 4 && fe_binding(fe_peek(p)->kind) == 4) {
            ir_error(p->diag, fe_peek(p)->loc, "comparisons do not chain");
            ir_hint(p->diag, "write a < b and b < c");
            return NULL;
        }
    }
    return NULL;
}

/* expr = binary [ "if" binary "else" expr ] */
fe_expr *fe_parse_expr(fe_parser *p) {
    if (!fe_enter(p)) return NULL;
    fe_expr *expr = parse_binary(p, 1);
    if (expr && fe_peek(p)->kind == FE_IF) {
        fe_expr node = {.kind = FE_EXPR_CHOICE, .loc = fe_peek(p)->loc, .a = expr};
        p->at++;
        node.b = parse_binary(p, 1);
        bool good =
            node.b && fe_expect(p, FE_ELSE, "behind a condition") && (node.c = fe_parse_expr(p));
        expr = good ? make(p, node) : NULL;
    }
    p->depth--;
    return expr;
}

/* The index behind the label that starts at `at`, where its colon stands; 0 if there is no label.
 */
static size_t label_end(const fe_parser *p, size_t at) {
    const fe_token *t = p->tokens;
    for (;; at++) {
        if (t[at].kind == FE_LBRACE) {
            while (t[at].kind != FE_RBRACE)
                if (t[at].kind == FE_END || t[at++].kind == FE_NEWLINE) return 0;
            at++;
        } else if (t[at].kind == FE_NAME || t[at].kind == FE_INT ||
                   (fe_is_keyword(t[at].kind) && at && t[at - 1].kind == FE_DOT)) {
            at++;
        } else {
            return 0;
        }
        if (t[at].kind == FE_COLON) return at;
        if (t[at].kind != FE_DOT || !t[at].joined || !t[at + 1].joined) return 0;
    }
}

/* label = part { "." part } ":" ; part = NAME | INT | "{" expr "}" ; a dot without blanks */
bool fe_parse_label(fe_parser *p, fe_label *label) {
    *label = (fe_label){.loc = fe_peek(p)->loc};
    if (!label_end(p, p->at)) return true;
    do {
        const fe_token *t = fe_peek(p);
        fe_label_part part = {.text = t->text};
        p->at++;
        if (t->kind == FE_LBRACE &&
            !((part.value = fe_parse_expr(p)) && fe_expect(p, FE_RBRACE, "to close the part"))) {
            while (p->tokens[p->at].kind != FE_RBRACE)
                p->at++; /* it does not close the body */
            p->at++;
            return false;
        }
        *IR_PUSH(p->arena, label->parts, label->count, label->capacity) = part;
    } while (fe_accept(p, FE_DOT));
    const fe_token *colon = fe_peek(p);
    label->loc.length = colon->loc.offset - label->loc.offset;
    return fe_expect(p, FE_COLON, "behind a label");
}
