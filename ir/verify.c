/* The verifier: everything graph.h promises, checked; and the cost of a node. */
#include "op_util.h"

#include <stdlib.h>
#include <string.h>

/* A tensor's size stands in its type, not in an attribute the shape hook can see the rest of. */
static bool sized_source(ir_op op) {
    return op == IR_OP_input || op == IR_OP_param || op == IR_OP_state || op == IR_OP_constant;
}

static bool type_error(ir_diag *diag, const ir_node *node, ir_type inferred) {
    ir_text a = {0}, b = {0};
    ir_type_print(&a, node->type);
    ir_type_print(&b, inferred);
    ir_error(diag, node->loc, "%s has the type %s, expected %s", ir_op_get(node->op)->name, a.data,
             b.data);
    ir_text_free(&a);
    ir_text_free(&b);
    return false;
}

static bool check_node(const ir_graph *graph, size_t id, ir_diag *diag) {
    const ir_node *node = &graph->nodes[id];
    const char *name = ir_op_get(node->op)->name;
    ir_shape_args args = {.diag = diag,
                          .loc = node->loc,
                          .op = node->op,
                          .count = node->operand_count,
                          .attrs = &node->attrs};
    int least, most;
    ir_op_arity(node->op, &least, &most);
    if (node->operand_count < least || node->operand_count > most)
        return ir_error(diag, node->loc, "%s takes %d operands (%s), found %d", name, most,
                        ir_op_get(node->op)->operands, node->operand_count);
    for (int o = 0; o < node->operand_count; o++) {
        if (node->operand[o].id >= id)
            return ir_error(diag, node->loc, "%s: operand %d is not defined before its use", name,
                            o);
        args.type[o] = graph->nodes[node->operand[o].id].type;
    }
    ir_type type;
    if (!ir_infer(&args, &type)) return false;
    if (sized_source(node->op)) {
        type.dtype = node->type.dtype;
        type.sparsity = node->type.sparsity;
    }
    if (!ir_type_equal(type, node->type)) return type_error(diag, node, type);
    if (!ir_type_valid(type))
        return ir_error(diag, node->loc, "%s is empty or larger than 2^46 bytes", name);
    if (!ir_sparsity_fits(type))
        return ir_error(diag, node->loc, "%s is %s with %d kept tiles, expected (N,%d,tile,tile,C)",
                        name, op_shape(type).text, type.sparsity.kept, type.sparsity.kept);
    return true;
}

typedef struct entry {
    const char *name;
    size_t id; /* of the node, or of the output */
} entry;

static int by_name(const void *a, const void *b) {
    const entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->id < y->id ? -1 : x->id > y->id;
}

/* The second of two entries of one name, or NULL. */
static const entry *repeated(entry *entries, size_t count) {
    qsort(entries, count, sizeof *entries, by_name);
    for (size_t i = 1; i < count; i++)
        if (strcmp(entries[i - 1].name, entries[i].name) == 0) return &entries[i];
    return NULL;
}

static bool check_sources(const ir_graph *graph, ir_diag *diag) {
    size_t count = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        const char *op = ir_op_get(node->op)->name;
        if (!sized_source(node->op)) continue;
        if (node->op != IR_OP_input && node->type.dtype != IR_F32)
            return ir_error(diag, node->loc, "%s is %s, expected f32", op,
                            ir_dtype_name(node->type.dtype));
        if (node->op == IR_OP_constant) continue;
        if (!node->name || !*node->name) return ir_error(diag, node->loc, "%s without a name", op);
        count++;
    }
    entry *entries = ir_arena_alloc(diag->arena, (count + 1) * sizeof *entries);
    count = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (!sized_source(node->op) || node->op == IR_OP_constant) continue;
        entries[count++] = (entry){node->name, i};
    }
    const entry *twice = repeated(entries, count);
    return !twice || ir_error(diag, graph->nodes[twice->id].loc,
                              "the name '%s' is taken by another source", twice->name);
}

static bool check_outputs(const ir_graph *graph, ir_diag *diag) {
    size_t count = graph->output_count;
    entry *entries = ir_arena_alloc(diag->arena, (count + 1) * sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        if (graph->outputs[i].value.id >= graph->count)
            return ir_error(diag, (ir_loc){0}, "output '%s' has no value", graph->outputs[i].name);
        entries[i] = (entry){graph->outputs[i].name, i};
    }
    const entry *twice = repeated(entries, count);
    return !twice || ir_error(diag, graph->nodes[graph->outputs[twice->id].value.id].loc,
                              "two outputs are named '%s'", twice->name);
}

static bool check_updates(const ir_graph *graph, ir_diag *diag) {
    bool *updated = ir_arena_alloc(diag->arena, graph->count + 1);
    if (graph->update_count && graph->kind != IR_KIND_TRAIN)
        return ir_error(diag, (ir_loc){0}, "only a train graph may update its parameters");
    for (size_t i = 0; i < graph->update_count; i++) {
        ir_update u = graph->updates[i];
        if (u.target.id >= graph->count || u.value.id >= graph->count)
            return ir_error(diag, (ir_loc){0}, "update %zu has no value", i);
        const ir_node *target = &graph->nodes[u.target.id];
        if (target->op != IR_OP_param && target->op != IR_OP_state)
            return ir_error(diag, target->loc, "update of %s, expected a param or state",
                            ir_op_get(target->op)->name);
        if (!ir_type_equal(target->type, graph->nodes[u.value.id].type))
            return ir_error(diag, target->loc, "update of '%s' changes its type", target->name);
        if (updated[u.target.id])
            return ir_error(diag, target->loc, "'%s' is updated twice", target->name);
        updated[u.target.id] = true;
    }
    return true;
}

bool ir_verify(const ir_graph *graph, ir_diag *diag) {
    ir_diag *own = diag ? diag : ir_diag_new();
    bool good = true;
    for (size_t i = 0; i < graph->count; i++)
        good = check_node(graph, i, own) && good;
    good = good && check_sources(graph, own) && check_outputs(graph, own) &&
           check_updates(graph, own) && ir_check_tables(graph, own);
    if (!diag) ir_diag_free(own);
    return good;
}

/* Cases of the ops that multiply nothing: sources and primitive ops that are no product. What is
 * left, products and composites, must be listed, or this does not compile. */
#define FREE_SOURCE(name, traits) case IR_OP_##name:
#define FREE_COMPOSITE(name, traits)
#define FREE_PRIMITIVE(name, traits) FREE_##traits(name)
#define FREE_POINTWISE(name) case IR_OP_##name:
#define FREE_REDUCES(name) case IR_OP_##name:
#define FREE_ROWS(name) case IR_OP_##name:
#define FREE_MOVES(name) case IR_OP_##name:
#define FREE_RANDOM(name) case IR_OP_##name:
#define FREE_PRODUCT(name)
#define FREE_WEIGHT_PRODUCT(name)

/* Taps outside an image, or on removed tiles, count: kernels multiply by zeros there. */
static int64_t macs_of(const ir_graph *graph, const ir_node *node) {
    ir_type y = node->type, a = y, b = y;
    if (node->operand_count > 0) a = ir_type_of(graph, node->operand[0]);
    if (node->operand_count > 1) b = ir_type_of(graph, node->operand[1]);
    int64_t out = ir_type_elements(y), in = ir_type_elements(a);
    switch (node->op) {
    case IR_OP_linear:
    case IR_OP_matmul_nt:
    case IR_OP_matmul_nt_scaled: return out * b.dim[1];
    case IR_OP_conv2d:
    case IR_OP_depthwise_conv:
    case IR_OP_sparse_conv: return out * op_span(b, 1, 4);
    case IR_OP_matmul_nn: return in * b.dim[1];
    case IR_OP_matmul_tn: return in * y.dim[1];
    case IR_OP_window:
    case IR_OP_window_dx:
    case IR_OP_sparse_window:
    case IR_OP_sparse_window_dx: return out * op_span(b, 2, 4);
    case IR_OP_window_dw:
    case IR_OP_sparse_window_dw: return in * op_span(y, 2, 4);
    case IR_OP_layer_norm:
    case IR_OP_grn:
    case IR_OP_local_response_norm:
    case IR_OP_drop_path:
    case IR_OP_global_avg_pool:
    case IR_OP_cross_entropy:
    case IR_OP_mse:
    case IR_OP_mean:
#define OP(name, kind, operands, attributes, traits, doc) FREE_##kind(name, traits)
#include "ops.def"
#undef OP
    case IR_OP_COUNT: return 0;
    }
    IR_BUG("op %d", (int)node->op);
}

ir_cost ir_node_cost(const ir_graph *graph, ir_value value) {
    const ir_node *node = ir_at(graph, value);
    ir_cost cost = {.macs = macs_of(graph, node), .bytes = ir_type_bytes(node->type)};
    for (int o = 0; o < node->operand_count; o++)
        cost.bytes += ir_type_bytes(ir_type_of(graph, node->operand[o]));
    return cost;
}
