/* Building graphs: arity, attributes, types. */
#include "hooks.h"

#include <stdlib.h>
#include <string.h>

const char *const ir_kind_names[] = {"infer", "grad", "train"};

ir_graph *ir_graph_new(const char *name, ir_kind kind) {
    ir_arena *arena = ir_arena_new();
    ir_graph *graph = ir_arena_alloc(arena, sizeof *graph);
    graph->arena = arena;
    graph->name = ir_arena_strndup(arena, name, strlen(name));
    graph->kind = kind;
    return graph;
}

void ir_graph_free(ir_graph *graph) {
    if (graph) ir_arena_free(graph->arena);
}

static void parse_ints(const char *text, ir_ints *out) {
    *out = (ir_ints){0};
    for (const char *p = text + 1; *p && *p != ']' && out->count < IR_MAX_RANK;) {
        char *end;
        out->item[out->count++] = strtoll(p, &end, 10);
        p = *end == ',' ? end + 1 : end;
    }
}

static void set_default(ir_attrs *attrs, ir_attr attr, const char *text, ir_arena *arena) {
    size_t length = strcspn(text, " ");
    switch (attr) {
#define SET_INT(name) attrs->name = strtoll(text, NULL, 10)
#define SET_FLOAT(name) attrs->name = strtod(text, NULL)
#define SET_BOOL(name) attrs->name = *text == 't'
#define SET_TEXT(name) attrs->name = ir_arena_strndup(arena, text, length)
#define SET_INTS(name) parse_ints(text, &attrs->name)
#define ATTR(name, kind)                                                                           \
    case IR_ATTR_##name: SET_##kind(name); break;
#include "attrs.def"
#undef ATTR
    case IR_ATTR_COUNT: break;
    }
    attrs->set |= (uint64_t)1 << attr;
}

static bool given(const ir_attrs *attrs, ir_attr attr) {
    if (attrs->set >> attr & 1) return true;
    switch (attr) {
#define GIVEN_INT(name) return attrs->name != 0
#define GIVEN_FLOAT(name) return attrs->name != 0
#define GIVEN_BOOL(name) return attrs->name
#define GIVEN_TEXT(name) return attrs->name != NULL
#define GIVEN_INTS(name) return attrs->name.count != 0
#define ATTR(name, kind)                                                                           \
    case IR_ATTR_##name: GIVEN_##kind(name);
#include "attrs.def"
#undef ATTR
    case IR_ATTR_COUNT: break;
    }
    return false;
}

void ir_keep_texts(ir_graph *graph, ir_attrs *attrs) {
#define KEEP_INT(name)
#define KEEP_FLOAT(name)
#define KEEP_BOOL(name)
#define KEEP_INTS(name)
#define KEEP_TEXT(name)                                                                            \
    if (attrs->name) attrs->name = ir_arena_strndup(graph->arena, attrs->name, strlen(attrs->name));
#define ATTR(name, kind) KEEP_##kind(name)
#include "attrs.def"
#undef ATTR
}

/* Takes the attributes the op knows, defaults for those not given. */
static bool complete(ir_graph *graph, const ir_shape_args *args, const ir_attrs *from,
                     ir_attrs *to) {
    if (from) *to = *from;
    for (int a = 0; a < IR_ATTR_COUNT; a++) {
        bool required = false;
        const char *text = NULL;
        bool takes = ir_op_takes(args->op, (ir_attr)a, &required, &text);
        bool has = given(to, (ir_attr)a);
        if (!takes && has) {
            return ir_shape_error(args, "takes no attribute '%s'", ir_attr_name((ir_attr)a));
        } else if (takes && has) {
            to->set |= (uint64_t)1 << a;
        } else if (takes && !required) {
            set_default(to, (ir_attr)a, text, graph->arena);
        } else if (takes && !(to->set >> a & 1)) {
            if (ir_attr_kind_of((ir_attr)a) == IR_ATTR_INTS ||
                ir_attr_kind_of((ir_attr)a) == IR_ATTR_TEXT) {
                if (a != IR_ATTR_shape && a != IR_ATTR_axes)
                    return ir_shape_error(args, "needs the attribute '%s'",
                                          ir_attr_name((ir_attr)a));
            }
            to->set |= (uint64_t)1 << a; /* zero is a value */
        }
    }
    ir_keep_texts(graph, to);
    return true;
}

ir_value ir_build_at(ir_graph *graph, ir_diag *diag, ir_loc loc, ir_op op, const ir_value *operands,
                     int operand_count, const ir_attrs *attrs, const char *name) {
    ir_node node = {.op = op, .operand_count = operand_count, .loc = loc};
    ir_shape_args args = {
        .diag = diag, .loc = loc, .op = op, .count = operand_count, .attrs = &node.attrs};
    int least, most;
    ir_op_arity(op, &least, &most);
    if (operand_count < least || operand_count > most) {
        ir_shape_error(&args, "takes %d operands (%s), found %d", most, ir_op_get(op)->operands,
                       operand_count);
        return IR_NO_VALUE;
    }
    if (!complete(graph, &args, attrs, &node.attrs)) return IR_NO_VALUE;
    for (int i = 0; i < operand_count; i++) {
        node.operand[i] = operands[i];
        args.type[i] = ir_type_of(graph, operands[i]);
    }
    if (!ir_infer(&args, &node.type)) return IR_NO_VALUE;
    if (!ir_type_valid(node.type)) {
        ir_shape_error(&args, "result is empty or larger than 2^46 bytes");
        return IR_NO_VALUE;
    }
    if (name) node.name = ir_arena_strndup(graph->arena, name, strlen(name));
    *IR_PUSH(graph->arena, graph->nodes, graph->count, graph->capacity) = node;
    return (ir_value){(uint32_t)graph->count - 1};
}

ir_value ir_build(ir_graph *graph, ir_op op, const ir_value *operands, int operand_count,
                  const ir_attrs *attrs, const char *name) {
    return ir_build_at(graph, NULL, (ir_loc){0}, op, operands, operand_count, attrs, name);
}

ir_value ir_source_node(ir_graph *graph, ir_op op, const char *name, ir_type type,
                        const ir_attrs *attrs) {
    ir_attrs own = attrs ? *attrs : (ir_attrs){0};
    own.shape = (ir_ints){.count = type.rank};
    own.set |= IR_SET(shape);
    memcpy(own.shape.item, type.dim, sizeof own.shape.item);
    ir_value value = ir_build(graph, op, NULL, 0, &own, name);
    graph->nodes[value.id].type = type;
    return value;
}

ir_value ir_input(ir_graph *graph, const char *name, ir_type type) {
    return ir_source_node(graph, IR_OP_input, name, type, NULL);
}

ir_value ir_unary(ir_graph *graph, ir_op op, ir_value a) {
    return ir_build(graph, op, &a, 1, NULL, NULL);
}

ir_value ir_binary(ir_graph *graph, ir_op op, ir_value a, ir_value b) {
    return ir_build(graph, op, (ir_value[]){a, b}, 2, NULL, NULL);
}

ir_value ir_scale(ir_graph *graph, ir_value x, double factor) {
    ir_attrs attrs = {.factor = factor, .set = IR_SET(factor)};
    return ir_build(graph, IR_OP_scale, &x, 1, &attrs, NULL);
}

static ir_ints shape_ints(ir_type type) {
    ir_ints ints = {.count = type.rank};
    memcpy(ints.item, type.dim, sizeof ints.item);
    return ints;
}

/* `x` through an op that takes a shape and a sparsity; x itself if it has them already. */
static ir_value take_type(ir_graph *graph, ir_op op, ir_value x, ir_type type) {
    ir_sparsity s = type.sparsity;
    ir_type from = ir_type_of(graph, x);
    if (ir_type_same_shape(from, type) && from.sparsity.kept == s.kept) return x;
    ir_attrs attrs = {.shape = shape_ints(type), .kept = s.kept, .set = IR_SET(shape)};
    if (s.kept) attrs.grid = IR_INTS(s.grid_h, s.grid_w);
    return ir_build(graph, op, &x, 1, &attrs, NULL);
}

ir_value ir_reshape(ir_graph *graph, ir_value x, ir_type shape_of) {
    return take_type(graph, IR_OP_reshape, x, shape_of);
}

ir_value ir_broadcast(ir_graph *graph, ir_value x, ir_type shape_of) {
    return take_type(graph, IR_OP_broadcast, x, shape_of);
}

ir_value ir_sum(ir_graph *graph, ir_value x, ir_ints axes, bool keep) {
    ir_attrs attrs = {.axes = axes, .keep = keep, .set = IR_SET(axes) | IR_SET(keep)};
    return ir_build(graph, IR_OP_sum, &x, 1, &attrs, NULL);
}

ir_value ir_constant(ir_graph *graph, ir_type type, double value) {
    ir_attrs attrs = {
        .shape = shape_ints(type), .value = value, .set = IR_SET(shape) | IR_SET(value)};
    return ir_build(graph, IR_OP_constant, NULL, 0, &attrs, NULL);
}

ir_value ir_sum_to(ir_graph *graph, ir_value value, ir_type type) {
    ir_type from = ir_type_of(graph, value);
    if (ir_type_same_shape(from, type)) return ir_reshape(graph, value, type);
    ir_ints axes = {0};
    for (int d = 0; d < from.rank; d++) {
        int own = d - (from.rank - type.rank);
        if (own < 0 || (type.dim[own] == 1 && from.dim[d] != 1)) axes.item[axes.count++] = d;
    }
    if (axes.count) value = ir_sum(graph, value, axes, true);
    return ir_reshape(graph, value, type);
}

static char *keep(ir_graph *graph, const char *text) {
    return text ? ir_arena_strndup(graph->arena, text, strlen(text)) : NULL;
}

void ir_add_output(ir_graph *graph, const char *name, ir_value value) {
    *IR_PUSH(graph->arena, graph->outputs, graph->output_count, graph->output_capacity) =
        (ir_output){keep(graph, name), value};
}

void ir_add_update(ir_graph *graph, ir_value target, ir_value value) {
    *IR_PUSH(graph->arena, graph->updates, graph->update_count, graph->update_capacity) =
        (ir_update){target, value};
}

void ir_set_meta(ir_graph *graph, const char *key, const char *value) {
    for (size_t i = 0; i < graph->meta_count; i++)
        if (strcmp(graph->metas[i].key, key) == 0) {
            graph->metas[i].value = keep(graph, value);
            return;
        }
    *IR_PUSH(graph->arena, graph->metas, graph->meta_count, graph->meta_capacity) =
        (ir_meta){keep(graph, key), keep(graph, value)};
}

const char *ir_find_meta(const ir_meta *metas, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(metas[i].key, key) == 0) return metas[i].value;
    return NULL;
}

ir_value ir_append(ir_graph *to, const ir_node *node) {
    ir_node copy = *node;
    copy.name = keep(to, node->name);
    ir_keep_texts(to, &copy.attrs);
    *IR_PUSH(to->arena, to->nodes, to->count, to->capacity) = copy;
    return (ir_value){(uint32_t)to->count - 1};
}

const char *ir_get_meta(const ir_graph *graph, const char *key) {
    return ir_find_meta(graph->metas, graph->meta_count, key);
}

int64_t ir_graph_batch(const ir_graph *graph) {
    int64_t batch = 1, most = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op != IR_OP_input || node->type.rank == 0) continue;
        int64_t elements = ir_type_elements(node->type);
        if (elements > most) most = elements, batch = node->type.dim[0];
    }
    return batch;
}

ir_value ir_copy_node(ir_graph *to, const ir_graph *from, ir_value value, const ir_value *map) {
    ir_node node = *ir_at(from, value);
    for (int i = 0; i < node.operand_count; i++) {
        node.operand[i] = map[node.operand[i].id];
        IR_ASSERT(ir_some(node.operand[i]));
    }
    return ir_append(to, &node);
}

void ir_copy_header(ir_graph *to, const ir_graph *from) {
    for (size_t i = 0; i < from->meta_count; i++)
        ir_set_meta(to, from->metas[i].key, from->metas[i].value);
}

void ir_copy_results(ir_graph *to, const ir_graph *from, const ir_value *map) {
    for (size_t i = 0; i < from->output_count; i++)
        ir_add_output(to, from->outputs[i].name, map[from->outputs[i].value.id]);
    for (size_t i = 0; i < from->update_count; i++)
        ir_add_update(to, map[from->updates[i].target.id], map[from->updates[i].value.id]);
}
