/* Decides the element type of every value: the one place where bf16 will enter a graph.
 *
 * In f32 programs there is nothing to insert: every computed value is f32, and the pass checks it.
 * bf16 belongs here because it must come after autodiff (gradients are derived in f32 and rounded
 * where they are stored) and before lowering (which packs, fuses and tiles by element type); it
 * will narrow activations and packed weights and leave sums, statistics, the loss and states in
 * f32.
 *
 * requires     primitive ops
 * establishes  values are f32, or whole numbers: i64 labels and the step, i32 tables of tiles;
 *              outputs are f32
 * breaks       nothing
 */
#include "pass.h"
#include "pass_rewrite.h"

/* Whole numbers are labels, the step and tables of tiles: given or listed, perhaps under another
 * shape, and read; no kernel computes or moves them. */
static bool allowed(const ir_node *node) {
    ir_dtype dtype = node->type.dtype;
    if (dtype == IR_F32) return true;
    if (dtype == IR_BF16) return false;
    unsigned traits = ir_op_get(node->op)->traits;
    return node->op == IR_OP_reshape || !(traits & (IR_MOVES | IR_POINTWISE));
}

static void wrong_type(ir_diag *diag, const ir_node *node, const char *what) {
    ir_error(diag, node->loc, "%s %s%s%s%s is %s, expected f32", what, ir_op_get(node->op)->name,
             node->name ? " '" : "", node->name ? node->name : "", node->name ? "'" : "",
             ir_dtype_name(node->type.dtype));
}

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    (void)to;
    if (!allowed(node)) wrong_type(context, node, "the value of");
    return IR_NO_VALUE;
}

ir_graph *pass_precision(const ir_graph *in, const pass_context *context) {
    size_t before = context->diag->errors;
    for (size_t i = 0; i < in->output_count; i++) {
        const ir_node *node = ir_at(in, in->outputs[i].value);
        if (node->type.dtype != IR_F32) wrong_type(context->diag, node, "the output of");
    }
    ir_graph *graph = pass_rewrite(in, rule, context->diag);
    if (context->diag->errors == before) return graph;
    ir_graph_free(graph);
    return NULL;
}
