/* Prints trees as the canonical text: four blanks of indentation, parentheses only where needed. */
#include "fe_ast.h"

#include <stdlib.h>
#include <string.h>

void fe_print_number(double number, ir_text *out) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    ir_text_printf(out, strpbrk(text, ".einf") ? "%s" : "%s.0", text);
}

void fe_print_string(const char *text, ir_text *out) {
    ir_text_append(out, "\"", 1);
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            ir_text_append(out, "\\n", 2);
        else if (*p == '\t')
            ir_text_append(out, "\\t", 2);
        else if (*p == '\\' || *p == '"')
            ir_text_printf(out, "\\%c", *p);
        else
            ir_text_append(out, p, 1);
    }
    ir_text_append(out, "\"", 1);
}

/* How tightly an expression binds; atoms 10. */
static int binding(const fe_expr *expr) {
    if (expr->kind == FE_EXPR_CHOICE) return 0;
    if (expr->kind == FE_EXPR_UNARY) return expr->op == FE_NOT ? 3 : 7;
    return expr->kind == FE_EXPR_BINARY ? fe_binding(expr->op) : 10;
}

static void print_expr(const fe_expr *expr, int least, ir_text *out);

static void print_args(const fe_arg *args, size_t count, ir_text *out) {
    for (size_t i = 0; i < count; i++) {
        if (i) ir_text_append(out, ", ", 2);
        if (args[i].name) ir_text_printf(out, "%s = ", args[i].name);
        print_expr(args[i].value, 0, out);
    }
}

static void print_binary(const fe_expr *expr, int own, ir_text *out) {
    bool right = expr->op == FE_POWER;
    print_expr(expr->a, right || own == 4 ? own + 1 : own, out);
    ir_text_printf(out, " %s ", fe_token_text(expr->op));
    print_expr(expr->b, right ? own : own + 1, out);
}

static void print_bare(const fe_expr *expr, int own, ir_text *out) {
    switch (expr->kind) {
    case FE_EXPR_INT: ir_text_printf(out, "%lld", (long long)expr->integer); break;
    case FE_EXPR_FLOAT: fe_print_number(expr->number, out); break;
    case FE_EXPR_BOOL: ir_text_printf(out, expr->integer ? "true" : "false"); break;
    case FE_EXPR_STRING: fe_print_string(expr->text, out); break;
    case FE_EXPR_NAME: ir_text_printf(out, "%s", expr->text); break;
    case FE_EXPR_LIST:
        ir_text_append(out, "[", 1);
        print_args(expr->args, expr->count, out);
        ir_text_append(out, "]", 1);
        break;
    case FE_EXPR_EACH:
        ir_text_append(out, "[", 1);
        print_expr(expr->a, 0, out);
        ir_text_printf(out, " for %s in ", expr->text);
        print_expr(expr->b, 0, out);
        ir_text_append(out, "]", 1);
        break;
    case FE_EXPR_UNARY:
        ir_text_printf(out, expr->op == FE_NOT ? "not " : "-");
        print_expr(expr->a, expr->op == FE_NOT ? 4 : 7, out);
        break;
    case FE_EXPR_BINARY: print_binary(expr, own, out); break;
    case FE_EXPR_CHOICE:
        print_expr(expr->a, 1, out);
        ir_text_append(out, " if ", 4);
        print_expr(expr->b, 1, out);
        ir_text_append(out, " else ", 6);
        print_expr(expr->c, 0, out);
        break;
    case FE_EXPR_INDEX:
        print_expr(expr->a, 10, out);
        ir_text_append(out, "[", 1);
        print_expr(expr->b, 0, out);
        ir_text_append(out, "]", 1);
        break;
    case FE_EXPR_CALL:
        ir_text_printf(out, "%s(", expr->text);
        print_args(expr->args, expr->count, out);
        ir_text_append(out, ")", 1);
        break;
    }
}

static void print_expr(const fe_expr *expr, int least, ir_text *out) {
    int own = binding(expr);
    if (own < least) ir_text_append(out, "(", 1);
    print_bare(expr, own, out);
    if (own < least) ir_text_append(out, ")", 1);
}

static void print_value(const fe_stmt *stmt, ir_text *out) {
    for (size_t i = 0; i < stmt->label.count; i++) {
        const fe_label_part *part = &stmt->label.parts[i];
        if (i) ir_text_append(out, ".", 1);
        if (part->value) {
            ir_text_append(out, "{", 1);
            print_expr(part->value, 0, out);
            ir_text_append(out, "}", 1);
        } else {
            ir_text_printf(out, "%s", part->text);
        }
    }
    if (stmt->label.count) ir_text_append(out, ": ", 2);
    print_expr(stmt->value, 0, out);
}

static void print_body(const fe_body *body, int level, ir_text *out);

static void print_stmt(const fe_stmt *stmt, int level, ir_text *out) {
    switch (stmt->kind) {
    case FE_STMT_ASSIGN:
    case FE_STMT_OUTPUT:
        ir_text_printf(out, "%s%s = ", stmt->kind == FE_STMT_OUTPUT ? "output " : "", stmt->text);
        print_value(stmt, out);
        break;
    case FE_STMT_RETURN:
        ir_text_printf(out, "return ");
        print_value(stmt, out);
        break;
    case FE_STMT_FOR:
        ir_text_printf(out, "for %s in ", stmt->text);
        print_value(stmt, out);
        print_body(&stmt->body, level, out);
        break;
    case FE_STMT_IF:
        ir_text_printf(out, "if ");
        print_value(stmt, out);
        print_body(&stmt->body, level, out);
        if (stmt->other.count == 1 && stmt->other.items[0].kind == FE_STMT_IF) {
            ir_text_printf(out, " else ");
            print_stmt(&stmt->other.items[0], level, out);
        } else if (stmt->other.count) {
            ir_text_printf(out, " else");
            print_body(&stmt->other, level, out);
        }
        break;
    case FE_STMT_INPUT:
        ir_text_printf(out, "input %s: %s", stmt->text, stmt->dtype);
        print_value(stmt, out);
        break;
    case FE_STMT_META:
        ir_text_printf(out, "meta %s = ", stmt->text);
        print_value(stmt, out);
        break;
    case FE_STMT_ASSERT:
        ir_text_printf(out, "assert ");
        print_value(stmt, out);
        ir_text_append(out, ", ", 2);
        print_expr(stmt->message, 0, out);
        break;
    }
}

static void print_body(const fe_body *body, int level, ir_text *out) {
    ir_text_append(out, " {\n", 3);
    for (size_t i = 0; i < body->count; i++) {
        ir_text_printf(out, "%*s", 4 * (level + 1), "");
        print_stmt(&body->items[i], level + 1, out);
        ir_text_append(out, "\n", 1);
    }
    ir_text_printf(out, "%*s}", 4 * level, "");
}

static void print_params(const fe_item *item, ir_text *out) {
    ir_text_append(out, "(", 1);
    for (size_t i = 0; i < item->param_count; i++) {
        ir_text_printf(out, "%s%s", i ? ", " : "", item->params[i].name);
        if (!item->params[i].value) continue;
        ir_text_append(out, " = ", 3);
        print_expr(item->params[i].value, 0, out);
    }
    ir_text_append(out, ")", 1);
}

static void print_recipe(const fe_item *item, ir_text *out) {
    ir_text_printf(out, "recipe %s ", item->name);
    if (item->base) ir_text_printf(out, "from %s ", item->base);
    ir_text_append(out, "{\n", 2);
    for (size_t i = 0; i < item->arg_count; i++) {
        ir_text_printf(out, "    %s = ", item->args[i].name);
        print_expr(item->args[i].value, 0, out);
        ir_text_append(out, "\n", 1);
    }
    ir_text_append(out, "}", 1);
}

static void print_item(const fe_item *item, ir_text *out) {
    switch (item->kind) {
    case FE_ITEM_USE:
        ir_text_printf(out, "use ");
        fe_print_string(item->name, out);
        break;
    case FE_ITEM_PARAM:
    case FE_ITEM_SET:
        ir_text_printf(out, "%s %s", item->kind == FE_ITEM_SET ? "set" : "param", item->name);
        if (item->choices) {
            ir_text_append(out, ": ", 2);
            print_expr(item->choices, 0, out);
        }
        ir_text_append(out, " = ", 3);
        print_expr(item->value, 0, out);
        break;
    case FE_ITEM_BLOCK:
    case FE_ITEM_MODEL:
        ir_text_printf(out, "%s %s", item->kind == FE_ITEM_BLOCK ? "block" : "model", item->name);
        if (item->base) {
            ir_text_printf(out, " = %s(", item->base);
            print_args(item->args, item->arg_count, out);
            ir_text_append(out, ")", 1);
            break;
        }
        if (item->kind == FE_ITEM_BLOCK || item->param_count) print_params(item, out);
        print_body(&item->body, 0, out);
        break;
    case FE_ITEM_RECIPE: print_recipe(item, out); break;
    }
    ir_text_append(out, "\n", 1);
}

static bool is_long(const fe_item *item) {
    return item->kind == FE_ITEM_BLOCK || item->kind == FE_ITEM_RECIPE ||
           (item->kind == FE_ITEM_MODEL && !item->base);
}

void fe_print_items(const fe_items *items, ir_text *out) {
    for (size_t i = 0; i < items->count; i++) {
        bool space = i && (is_long(&items->items[i]) || is_long(&items->items[i - 1]));
        if (space) ir_text_append(out, "\n", 1);
        print_item(&items->items[i], out);
    }
}
