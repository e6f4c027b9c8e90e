/* Prints a graph, one node a line; ir_graph_parse reads it back and prints the same text again.
 *
 *     cnx graph convnextv2_atto infer version 1
 *     meta classes = "1000"
 *     %0 = input "image" : f32[2,3,224,224]
 *     %1 = permute(%0) {order=[0,2,3,1]} : f32[2,224,224,3]
 *     %2 = param "stem.0.weight" {init=trunc_normal} : f32[40,3,4,4]
 *     output "logits" = %90
 *     update %2 = %80
 *
 * A name stands right behind its op. Attributes that have their default are left out, and so is the
 * shape of a source, which its type says. */
#include "graph.h"
#include "graph_text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ir_text_is_word(const char *text) {
    if (!isalpha((unsigned char)*text) && *text != '_') return false;
    for (; *text; text++)
        if (!ir_text_word_byte(*text)) return false;
    return true;
}

bool ir_text_word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

static void put_string(ir_text *out, const char *text) {
    ir_text_append(out, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            ir_text_printf(out, "\\%c", c);
        else if (c == '\n')
            ir_text_append(out, "\\n", 2);
        else if (c == '\t')
            ir_text_append(out, "\\t", 2);
        else if (c < 32 || c == 127)
            ir_text_printf(out, "\\x%02x", c);
        else
            ir_text_append(out, text, 1);
    }
    ir_text_append(out, "\"", 1);
}

static void put_word(ir_text *out, const char *text) {
    if (ir_text_is_word(text))
        ir_text_append(out, text, strlen(text));
    else
        put_string(out, text);
}

/* The shortest decimal that reads back as the same double. */
void ir_text_number(ir_text *out, double value, int digits) {
    char text[40] = "nan";
    for (; digits <= 17 && !isnan(value); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    ir_text_append(out, text, strlen(text));
}

static void put_ints(ir_text *out, const ir_ints *ints) {
    ir_text_append(out, "[", 1);
    for (int i = 0; i < ints->count; i++)
        ir_text_printf(out, "%s%lld", i ? "," : "", (long long)ints->item[i]);
    ir_text_append(out, "]", 1);
}

static void put_attr(ir_text *out, const ir_attrs *attrs, ir_attr attr) {
    switch (attr) {
#define PUT_INT(name) ir_text_printf(out, "%lld", (long long)attrs->name)
#define PUT_FLOAT(name) ir_text_number(out, attrs->name, 1)
#define PUT_BOOL(name) ir_text_printf(out, attrs->name ? "true" : "false")
#define PUT_TEXT(name) put_word(out, attrs->name ? attrs->name : "")
#define PUT_INTS(name) put_ints(out, &attrs->name)
#define ATTR(name, kind)                                                                           \
    case IR_ATTR_##name: PUT_##kind(name); return;
#include "attrs.def"
#undef ATTR
    case IR_ATTR_COUNT: break;
    }
    IR_BUG("attribute %d", (int)attr);
}

/* Whether `text`, as printed, is what `standard` of the op table says. */
static bool is_default(ir_attr_kind kind, const char *text, const char *standard) {
    if (kind == IR_ATTR_FLOAT) return strtod(text, NULL) == strtod(standard, NULL);
    size_t length = strcspn(standard, " ");
    return strlen(text) == length && strncmp(text, standard, length) == 0;
}

static void put_attrs(ir_text *out, const ir_node *node) {
    bool source = ir_op_get(node->op)->kind == IR_SOURCE, first = true;
    for (int a = 0; a < IR_ATTR_COUNT; a++) {
        bool required = false;
        const char *standard = NULL;
        ir_attr attr = (ir_attr)a;
        if (!ir_op_takes(node->op, attr, &required, &standard)) continue;
        if (source && attr == IR_ATTR_shape) continue;
        ir_text value = {0};
        put_attr(&value, &node->attrs, attr);
        if (required || !is_default(ir_attr_kind_of(attr), value.data, standard)) {
            ir_text_printf(out, "%s%s=%s", first ? " {" : ", ", ir_attr_name(attr), value.data);
            first = false;
        }
        ir_text_free(&value);
    }
    if (!first) ir_text_append(out, "}", 1);
}

static void put_node(ir_text *out, const ir_graph *graph, size_t id) {
    const ir_node *node = &graph->nodes[id];
    ir_text_printf(out, "%%%zu = %s", id, ir_op_get(node->op)->name);
    if (node->name) {
        ir_text_append(out, " ", 1);
        put_string(out, node->name);
    }
    if (node->operand_count > 0) ir_text_printf(out, node->name ? " (" : "(");
    for (int o = 0; o < node->operand_count; o++)
        ir_text_printf(out, "%s%%%u", o ? ", " : "", node->operand[o].id);
    if (node->operand_count > 0) ir_text_append(out, ")", 1);
    put_attrs(out, node);
    ir_text_append(out, " : ", 3);
    ir_type_print(out, node->type);
    ir_text_append(out, "\n", 1);
}

void ir_graph_print(const ir_graph *graph, ir_text *out) {
    ir_text_append(out, "cnx graph ", 10);
    put_word(out, graph->name);
    ir_text_printf(out, " %s version %d\n", ir_kind_names[graph->kind], IR_FORMAT_VERSION);
    for (size_t i = 0; i < graph->meta_count; i++) {
        ir_text_append(out, "meta ", 5);
        put_word(out, graph->metas[i].key);
        ir_text_append(out, " = ", 3);
        put_string(out, graph->metas[i].value);
        ir_text_append(out, "\n", 1);
    }
    for (size_t i = 0; i < graph->count; i++)
        put_node(out, graph, i);
    for (size_t i = 0; i < graph->output_count; i++) {
        ir_text_append(out, "output ", 7);
        put_string(out, graph->outputs[i].name);
        ir_text_printf(out, " = %%%u\n", graph->outputs[i].value.id);
    }
    for (size_t i = 0; i < graph->update_count; i++)
        ir_text_printf(out, "update %%%u = %%%u\n", graph->updates[i].target.id,
                       graph->updates[i].value.id);
}
