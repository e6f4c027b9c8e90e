/* The verifier: everything graph.h promises, checked; and the cost of a node. */
#include "hooks.h"

#include <string.h>

static bool fail(ir_diag *diag, ir_loc loc, const char *text, const char *name) {
    if (diag) ir_error(diag, loc, text, name ? name : "");
    return false;
}

static bool check_node(const ir_graph *graph, size_t id, ir_diag *diag) {
    const ir_node *node = &graph->nodes[id];
    ir_diag *own = diag ? diag : ir_diag_new();
    ir_shape_args args = {.diag = own, .loc = node->loc, .op = node->op,
                          .count = node->operand_count, .attrs = &node->attrs};
    bool good = true;
    for (int o = 0; o < node->operand_count && good; o++) {
        good = node->operand[o].id < id;
        if (good) args.type[o] = graph->nodes[node->operand[o].id].type;
        else fail(diag, node->loc, "%s: operand is defined after its use", ir_op_get(node->op)->name);
    }
    ir_type type;
    good = good && ir_infer(&args, &type);
    if (good && ir_op_get(node->op)->kind == IR_SOURCE) type.dtype = node->type.dtype;
    if (good && !ir_type_equal(type, node->type))
        good = fail(diag, node->loc, "%s: stated type differs from the inferred one",
                    ir_op_get(node->op)->name);
    if (!diag) ir_diag_free(own);
    return good;
}

static bool named_source(const ir_node *node) {
    return node->op == IR_OP_input || node->op == IR_OP_param || node->op == IR_OP_state;
}

static bool check_names(const ir_graph *graph, ir_diag *diag) {
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *a = &graph->nodes[i];
        if (!named_source(a)) continue;
        if (!a->name || !*a->name) return fail(diag, a->loc, "%s without a name", ir_op_get(a->op)->name);
        for (size_t k = 0; k < i; k++) {
            const ir_node *b = &graph->nodes[k];
            if (named_source(b) && strcmp(a->name, b->name) == 0)
                return fail(diag, a->loc, "the name '%s' is taken by another source", a->name);
        }
    }
    for (size_t i = 0; i < graph->output_count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(graph->outputs[i].name, graph->outputs[k].name) == 0)
                return fail(diag, (ir_loc){0}, "two outputs are named '%s'",
                            graph->outputs[i].name);
    return true;
}

bool ir_verify(const ir_graph *graph, ir_diag *diag) {
    bool good = true;
    for (size_t i = 0; i < graph->count; i++) good = check_node(graph, i, diag) && good;
    for (size_t i = 0; i < graph->output_count; i++)
        if (graph->outputs[i].value.id >= graph->count)
            return fail(diag, (ir_loc){0}, "output '%s' has no value", graph->outputs[i].name);
    for (size_t i = 0; i < graph->update_count; i++) {
        ir_update u = graph->updates[i];
        if (u.target.id >= graph->count || u.value.id >= graph->count)
            return fail(diag, (ir_loc){0}, "update %s", "has no value");
        const ir_node *target = &graph->nodes[u.target.id];
        if (target->op != IR_OP_param && target->op != IR_OP_state)
            return fail(diag, target->loc, "update of %s, expected a param or state",
                        ir_op_get(target->op)->name);
        if (!ir_type_equal(target->type, graph->nodes[u.value.id].type))
            return fail(diag, target->loc, "update of '%s' changes its type", target->name);
    }
    return check_names(graph, diag) && good;
}

static int64_t macs_of(const ir_graph *graph, const ir_node *node) {
    if (node->operand_count < 2) return 0;
    ir_type a = ir_type_of(graph, node->operand[0]), b = ir_type_of(graph, node->operand[1]);
    int64_t out = ir_type_elements(node->type);
    switch ((int)node->op) {
    case IR_OP_linear:
    case IR_OP_matmul_nt:
    case IR_OP_matmul_nt_scaled: return out * b.dim[1];
    case IR_OP_conv2d:
    case IR_OP_depthwise_conv: return out * b.dim[1] * b.dim[2] * b.dim[3];
    case IR_OP_matmul_nn:
        return ir_type_elements(a) * b.dim[1];
    case IR_OP_matmul_tn: return ir_type_elements(a) * node->type.dim[1];
    case IR_OP_window:
    case IR_OP_window_dx: return out * b.dim[2] * b.dim[3];
    case IR_OP_window_dw: return ir_type_elements(a) * node->type.dim[2] * node->type.dim[3];
    default: return 0;
    }
}

ir_cost ir_node_cost(const ir_graph *graph, ir_value value) {
    const ir_node *node = ir_at(graph, value);
    ir_cost cost = {.macs = macs_of(graph, node), .bytes = ir_type_bytes(node->type)};
    for (int o = 0; o < node->operand_count; o++)
        cost.bytes += ir_type_bytes(ir_type_of(graph, node->operand[o]));
    return cost;
}
