/* Reverse-mode differentiation, graph to graph: appends the gradient of the output `loss` by every
 * parameter and names it as the output grad.<parameter>. The forward nodes and outputs stay.
 *
 * Nodes are visited from the loss backwards; a value read several times gets the sum of what its
 * readers send back, added in the order of the visit, so the text of the result is a function of
 * the text of the input. Only what lies between a parameter and the loss is differentiated. A
 * parameter that the loss does not depend on has the gradient 0.
 *
 * requires     primitive ops; an output `loss` : f32[]
 * establishes  one output grad.<parameter> per parameter, of its type, in the parameters' order
 * breaks       gradients of operands that are no parameters are left dead (dce); common
 *              subexpressions appear (cse); broadcasts appear (simplify)
 */
#include "hooks.h"
#include "pass.h"
#include "pass_rewrite.h"

#include <string.h>

typedef struct adjoints {
    ir_graph *graph; /* forward nodes under their old ids, then what is appended */
    size_t forward;  /* forward nodes */
    bool *varies;    /* per forward node: depends on a parameter */
    ir_value *grad;  /* per forward node: the gradient so far, or IR_NO_VALUE */
    ir_diag *diag;
} adjoints;

static bool find_loss(const ir_graph *graph, ir_diag *diag, ir_value *loss) {
    for (size_t i = 0; i < graph->output_count; i++) {
        if (strcmp(graph->outputs[i].name, "loss") != 0) continue;
        *loss = graph->outputs[i].value;
        const ir_node *node = ir_at(graph, *loss);
        if (node->type.dtype == IR_F32 && node->type.rank == 0) return true;
        ir_text type = {0};
        ir_type_print(&type, node->type);
        ir_error(diag, node->loc, "the output 'loss' is %s, expected a single number, f32[]",
                 type.data);
        ir_text_free(&type);
        return false;
    }
    ir_error(diag, (ir_loc){0}, "'%s' has no output 'loss', so there is nothing to differentiate",
             graph->name);
    return false;
}

/* Parameters, and everything computed from one. */
static bool *find_varying(const ir_graph *graph, ir_arena *arena) {
    bool *varies = ir_arena_alloc(arena, (graph->count + 1) * sizeof *varies);
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        varies[i] = node->op == IR_OP_param && node->attrs.trained;
        for (int o = 0; o < node->operand_count; o++)
            varies[i] = varies[i] || varies[node->operand[o].id];
    }
    return varies;
}

static ir_graph *copy_forward(const ir_graph *in, ir_arena *scratch) {
    ir_graph *graph = ir_graph_new(in->name, in->kind);
    ir_copy_header(graph, in);
    ir_value *map = ir_arena_alloc(scratch, (in->count + 1) * sizeof *map);
    for (size_t i = 0; i < in->count; i++)
        map[i] = ir_copy_node(graph, in, (ir_value){(uint32_t)i}, map);
    ir_copy_results(graph, in, map);
    return graph;
}

static bool not_differentiable(const adjoints *a, const ir_node *y, int operand) {
    const ir_op_info *op = ir_op_get(y->op);
    return ir_error(a->diag, y->loc,
                    "the loss depends on parameters through operand %d of '%s' (%s), by which it "
                    "cannot be differentiated",
                    operand + 1, op->name, op->operands);
}

/* Sends the gradient of node y back to its operands. */
static bool visit(adjoints *a, ir_value y) {
    ir_value dx[IR_MAX_OPERANDS];
    size_t first = a->graph->count;
    ir_grad(a->graph, y, a->grad[y.id], dx);
    ir_node node = *ir_at(a->graph, y); /* a copy: building moves the nodes */
    for (int o = 0; o < node.operand_count; o++) {
        uint32_t x = node.operand[o].id;
        if (!a->varies[x]) continue;
        if (!ir_some(dx[o])) return not_differentiable(a, &node, o);
        a->grad[x] =
            ir_some(a->grad[x]) ? ir_binary(a->graph, IR_OP_add, a->grad[x], dx[o]) : dx[o];
    }
    for (size_t i = first; i < a->graph->count; i++)
        a->graph->nodes[i].loc = node.loc;
    return true;
}

static bool differentiate(adjoints *a, ir_value loss) {
    if (a->varies[loss.id])
        a->grad[loss.id] = ir_constant(a->graph, ir_type_make(IR_F32, 0, NULL), 1);
    for (uint32_t id = loss.id + 1; id-- > 0;) {
        bool source = ir_op_get(a->graph->nodes[id].op)->kind == IR_SOURCE;
        if (source || !ir_some(a->grad[id])) continue;
        if (!visit(a, (ir_value){id})) return false;
    }
    return true;
}

static void name_gradients(adjoints *a) {
    for (size_t i = 0; i < a->forward; i++) {
        ir_node param = a->graph->nodes[i];
        if (param.op != IR_OP_param || !param.attrs.trained) continue;
        ir_value grad = a->grad[i];
        if (!ir_some(grad)) grad = ir_constant(a->graph, param.type, 0);
        const char *name = ir_arena_printf(a->graph->arena, "grad.%s", param.name);
        ir_add_output(a->graph, name, grad);
    }
}

ir_graph *pass_autodiff(const ir_graph *in, const pass_context *context) {
    ir_value loss;
    if (!find_loss(in, context->diag, &loss)) return NULL;
    ir_arena *scratch = ir_arena_new();
    adjoints a = {.graph = copy_forward(in, scratch),
                  .forward = in->count,
                  .varies = find_varying(in, scratch),
                  .diag = context->diag,
                  .grad = ir_arena_alloc(scratch, (in->count + 1) * sizeof *a.grad)};
    for (size_t i = 0; i < in->count; i++)
        a.grad[i] = IR_NO_VALUE;
    bool good = differentiate(&a, loss);
    if (good) name_gradients(&a);
    ir_arena_free(scratch);
    if (good) return a.graph;
    ir_graph_free(a.graph);
    return NULL;
}
