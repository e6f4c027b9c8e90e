#include "fe_value.h"

#include "fe_ast.h"

#include <string.h>

const char *fe_kind_name(fe_value_kind kind) {
    switch (kind) {
    case FE_POISON: return "nothing";
    case FE_VALUE_INT: return "a whole number";
    case FE_VALUE_FLOAT: return "a number";
    case FE_VALUE_BOOL: return "true or false";
    case FE_VALUE_TEXT: return "a string";
    case FE_VALUE_LIST: return "a list";
    case FE_VALUE_TENSOR: return "a tensor";
    }
    IR_BUG("value kind %d", (int)kind);
}

void fe_print_value(fe_value value, ir_text *out) {
    switch (value.kind) {
    case FE_VALUE_INT: ir_text_printf(out, "%lld", (long long)value.integer); break;
    case FE_VALUE_FLOAT: fe_print_number(value.number, out); break;
    case FE_VALUE_BOOL: ir_text_printf(out, value.truth ? "true" : "false"); break;
    case FE_VALUE_TEXT: fe_print_string(value.text, out); break;
    case FE_VALUE_LIST:
        ir_text_append(out, "[", 1);
        for (size_t i = 0; i < value.list->count; i++) {
            if (i) ir_text_append(out, ", ", 2);
            fe_print_value(value.list->items[i], out);
        }
        ir_text_append(out, "]", 1);
        break;
    case FE_POISON:
    case FE_VALUE_TENSOR: ir_text_printf(out, "%s", fe_kind_name(value.kind)); break;
    }
}

const char *fe_describe(ir_arena *arena, fe_value value) {
    if (value.kind == FE_VALUE_TENSOR || value.kind == FE_POISON) return fe_kind_name(value.kind);
    if (value.kind == FE_VALUE_LIST)
        return ir_arena_printf(arena, "a list of %zu", value.list->count);
    ir_text text = {0};
    fe_print_value(value, &text);
    const char *found = ir_arena_printf(arena, "%.*s%s", text.length > 60 ? 60 : (int)text.length,
                                        text.data, text.length > 60 ? "..." : "");
    ir_text_free(&text);
    return found;
}

bool fe_equal(fe_value a, fe_value b) {
    if (fe_is_number(a) && fe_is_number(b)) {
        if (a.kind == FE_VALUE_INT && b.kind == FE_VALUE_INT) return a.integer == b.integer;
        return fe_number(a) == fe_number(b);
    }
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case FE_VALUE_BOOL: return a.truth == b.truth;
    case FE_VALUE_TEXT: return strcmp(a.text, b.text) == 0;
    case FE_VALUE_TENSOR: return a.tensor.id == b.tensor.id;
    case FE_VALUE_LIST:
        if (a.list->count != b.list->count) return false;
        for (size_t i = 0; i < a.list->count; i++)
            if (!fe_equal(a.list->items[i], b.list->items[i])) return false;
        return true;
    default: return false;
    }
}
