/* The op table and everything read from its specification strings. */
#include "op_util.h"

#include <stdlib.h>
#include <string.h>

static const ir_op_info table[IR_OP_COUNT] = {
#define OP(name_, kind_, operands_, attributes_, traits_, doc_)                                    \
    [IR_OP_##name_] = {.name = #name_,                                                             \
                       .kind = IR_##kind_,                                                         \
                       .operands = operands_,                                                      \
                       .attributes = attributes_,                                                  \
                       .traits = IR_##traits_,                                                     \
                       .doc = doc_},
#include "ops.def"
#undef OP
};

static const struct {
    const char *name;
    ir_attr_kind kind;
} attr_table[IR_ATTR_COUNT] = {
#define ATTR(name, kind) [IR_ATTR_##name] = {#name, IR_ATTR_##kind},
#include "attrs.def"
#undef ATTR
};

const ir_op_info *ir_op_get(ir_op op) {
    return &table[op];
}

void ir_op_arity(ir_op op, int *least, int *most) {
    *least = *most = 0;
    for (const char *p = table[op].operands; *p;) {
        size_t length = strcspn(p, " ");
        (*most)++;
        if (p[length - 1] != '?') (*least)++;
        p += length;
        while (*p == ' ')
            p++;
    }
}

bool ir_op_find(const char *name, ir_op *op) {
    for (int i = 0; i < IR_OP_COUNT; i++)
        if (strcmp(table[i].name, name) == 0) {
            *op = (ir_op)i;
            return true;
        }
    return false;
}

const char *ir_attr_name(ir_attr attr) {
    return attr_table[attr].name;
}
ir_attr_kind ir_attr_kind_of(ir_attr attr) {
    return attr_table[attr].kind;
}

bool ir_attr_find(const char *name, ir_attr *attr) {
    for (int i = 0; i < IR_ATTR_COUNT; i++)
        if (strcmp(attr_table[i].name, name) == 0) {
            *attr = (ir_attr)i;
            return true;
        }
    return false;
}

/* Finds `attr` in the specification "eps=1e-6 stride=[1,1] rate". */
bool ir_op_takes(ir_op op, ir_attr attr, bool *required, const char **default_text) {
    const char *name = attr_table[attr].name;
    size_t n = strlen(name);
    for (const char *p = table[op].attributes; *p;) {
        size_t length = strcspn(p, " =");
        const char *value = p[length] == '=' ? p + length + 1 : NULL;
        if (length == n && strncmp(p, name, n) == 0) {
            *required = !value;
            *default_text = value;
            return true;
        }
        p += strcspn(p, " ");
        while (*p == ' ')
            p++;
    }
    return false;
}

static bool is_name(const char *text, size_t length, const char *name) {
    return strlen(name) == length && strncmp(text, name, length) == 0;
}

/* Element types follow from the operands' names, as ops.def says. */
static bool check_dtypes(const ir_shape_args *args) {
    const char *name = table[args->op].operands;
    if (table[args->op].traits & IR_MOVES) return true;
    for (int o = 0; o < args->count; o++) {
        size_t length = strcspn(name, " ?");
        bool whole = is_name(name, length, "label") || is_name(name, length, "step");
        bool either = table[args->op].kind == IR_COMPOSITE && is_name(name, length, "target");
        bool table_name = is_name(name, length, "table");
        ir_dtype wanted = whole ? IR_I64 : table_name ? IR_I32 : IR_F32;
        ir_dtype found = args->type[o].dtype;
        if (found != wanted && !either)
            return ir_shape_error(args, "operand '%.*s' is %s, expected %s", (int)length, name,
                                  ir_dtype_name(found), ir_dtype_name(wanted));
        name += strcspn(name, " ");
        name += strspn(name, " ");
    }
    return true;
}

/* Tile-sparse operands have the same grid and number of kept tiles. */
static bool check_sparsity(const ir_shape_args *args) {
    int first = -1;
    for (int o = 0; o < args->count; o++) {
        ir_sparsity s = args->type[o].sparsity, f = args->type[first < 0 ? o : first].sparsity;
        if (!s.kept) continue;
        if (!ir_sparsity_equal(s, f))
            return ir_shape_error(
                args,
                "operand %d holds %d tiles of %dx%d, operand %d holds %d of %dx%d; expected the "
                "tiles of one mask",
                first + 1, f.kept, f.grid_h, f.grid_w, o + 1, s.kept, s.grid_h, s.grid_w);
        if (first < 0) first = o;
    }
    return true;
}

static bool infer(const ir_shape_args *args, ir_type *out) {
    switch (args->op) {
#define OP(name, kind, operands, attributes, traits, doc)                                          \
    case IR_OP_##name: return ir_shape_##name(args, out);
#include "ops.def"
#undef OP
    case IR_OP_COUNT: break;
    }
    IR_BUG("op %d", (int)args->op);
}

bool ir_infer(const ir_shape_args *args, ir_type *out) {
    if (!check_dtypes(args) || !check_sparsity(args) || !infer(args, out)) return false;
    if (ir_sparsity_fits(*out)) return true;
    int kept = out->sparsity.kept;
    out->sparsity.kept = 0;
    return ir_shape_error(args, "result is %s with %d kept tiles, expected (N,%d,tile,tile,C)",
                          op_shape(*out).text, kept, kept);
}

#define IR_EVAL_SOURCE(name)                                                                       \
    case IR_OP_##name: break;
#define IR_EVAL_COMPOSITE(name)                                                                    \
    case IR_OP_##name: ir_eval_##name(args); return;
#define IR_EVAL_PRIMITIVE(name) IR_EVAL_COMPOSITE(name)

void ir_eval(const ir_eval_args *args) {
    switch (args->node->op) {
#define OP(name, kind, operands, attributes, traits, doc) IR_EVAL_##kind(name)
#include "ops.def"
#undef OP
    case IR_OP_COUNT: break;
    }
    IR_BUG("%s is not evaluated", table[args->node->op].name);
}

#define IR_EXPAND_SOURCE(name)                                                                     \
    case IR_OP_##name: break;
#define IR_EXPAND_COMPOSITE(name)                                                                  \
    case IR_OP_##name: return ir_expand_##name(graph, node);
#define IR_EXPAND_PRIMITIVE(name)                                                                  \
    case IR_OP_##name: break;

ir_value ir_expand(ir_graph *graph, const ir_node *node) {
    switch (node->op) {
#define OP(name, kind, operands, attributes, traits, doc) IR_EXPAND_##kind(name)
#include "ops.def"
#undef OP
    case IR_OP_COUNT: break;
    }
    IR_BUG("%s does not expand", table[node->op].name);
}

#define IR_GRAD_SOURCE(name)                                                                       \
    case IR_OP_##name: return;
#define IR_GRAD_COMPOSITE(name)                                                                    \
    case IR_OP_##name: break;
#define IR_GRAD_PRIMITIVE(name)                                                                    \
    case IR_OP_##name: ir_grad_##name(graph, y, dy, dx); return;

void ir_grad(ir_graph *graph, ir_value y, ir_value dy, ir_value *dx) {
    for (int i = 0; i < IR_MAX_OPERANDS; i++)
        dx[i] = IR_NO_VALUE;
    switch (ir_at(graph, y)->op) {
#define OP(name, kind, operands, attributes, traits, doc) IR_GRAD_##kind(name)
#include "ops.def"
#undef OP
    case IR_OP_COUNT: break;
    }
    IR_BUG("%s has no gradient before it is expanded", table[ir_at(graph, y)->op].name);
}

bool ir_shape_error(const ir_shape_args *args, const char *format, ...) {
    ir_text text = {0};
    va_list list;
    va_start(list, format);
    ir_text_vprintf(&text, format, list);
    va_end(list);
    if (!args->diag) IR_BUG("%s: %s", table[args->op].name, text.data);
    ir_error(args->diag, args->loc, "%s: %s", table[args->op].name, text.data);
    ir_text_free(&text);
    return false;
}
