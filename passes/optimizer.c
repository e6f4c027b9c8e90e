/* Turns gradients into the update of a training step: clipping, then AdamW.
 *
 *     sum    = sum of squares of every gradient, added in the order of the parameters
 *     factor = min(1, clip_norm / (sqrt(sum) + 1e-6)), multiplied into every gradient
 *     m      = adam_m(m, g), v = adam_v(v, g), w = adamw(w, m, v, lr, step)
 *
 * The moments are states adam_m.<parameter> and adam_v.<parameter>. A parameter's attribute `decay`
 * is its weight decay, -1 meaning the option's; `lr_scale` multiplies the learning rate.
 *
 * requires     one output grad.<parameter> per parameter
 * establishes  updates of every parameter and its two moments; gradients are no outputs any more
 * breaks       nothing
 */
#include "pass.h"
#include "pass_rewrite.h"

#include <string.h>

typedef struct step_builder {
    ir_graph *graph;
    const pass_optimizer_options *options;
    ir_value lr;     /* f32[] */
    ir_value step;   /* i64[] */
    ir_value factor; /* f32[]; IR_NO_VALUE: gradients are not clipped */
} step_builder;

static bool is_gradient(const char *output) {
    return strncmp(output, "grad.", 5) == 0;
}

static ir_value gradient_of(const ir_graph *graph, const ir_value *map, const char *param) {
    for (size_t i = 0; i < graph->output_count; i++) {
        const ir_output *output = &graph->outputs[i];
        if (is_gradient(output->name) && strcmp(output->name + 5, param) == 0)
            return map[output->value.id];
    }
    IR_BUG("no gradient of '%s'", param);
}

/* The program's node of a source without a name, appended if there is none yet. */
static ir_value scalar_source(ir_graph *graph, ir_op op) {
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].op == op) return (ir_value){(uint32_t)i};
    return ir_build(graph, op, NULL, 0, NULL, NULL);
}

static ir_value sum_of_squares(ir_graph *graph, ir_value x) {
    ir_ints axes = {.count = ir_type_of(graph, x).rank};
    for (int d = 0; d < axes.count; d++)
        axes.item[d] = d;
    ir_value squares = ir_unary(graph, IR_OP_square, x);
    return axes.count ? ir_sum(graph, squares, axes, false) : squares;
}

static ir_value clip_factor(ir_graph *graph, const ir_graph *in, const ir_value *map,
                            double max_norm) {
    ir_value total = IR_NO_VALUE;
    for (size_t i = 0; i < in->count; i++) {
        if (in->nodes[i].op != IR_OP_param || !in->nodes[i].attrs.trained) continue;
        ir_value part = sum_of_squares(graph, gradient_of(in, map, in->nodes[i].name));
        total = ir_some(total) ? ir_binary(graph, IR_OP_add, total, part) : part;
    }
    if (!ir_some(total)) return total;
    ir_attrs attrs = {.max_norm = max_norm, .set = IR_SET(max_norm)};
    return ir_build(graph, IR_OP_clip_factor, &total, 1, &attrs, NULL);
}

static ir_value moment(step_builder *b, ir_op op, const ir_node *param, ir_value g, double beta) {
    ir_graph *graph = b->graph;
    const char *name = ir_arena_printf(graph->arena, "%s.%s", ir_op_get(op)->name, param->name);
    ir_value old = ir_source_node(graph, IR_OP_state, name, param->type, NULL);
    ir_attrs attrs = {.beta = beta, .set = IR_SET(beta)};
    ir_value new = ir_build(graph, op, (ir_value[]){old, g}, 2, &attrs, NULL);
    ir_add_update(graph, old, new);
    return new;
}

static void update_param(step_builder *b, ir_value param, ir_value g) {
    ir_node node = *ir_at(b->graph, param);
    const pass_optimizer_options *o = b->options;
    size_t first = b->graph->count;
    if (ir_some(b->factor)) g = ir_binary(b->graph, IR_OP_mul, g, b->factor);
    ir_value m = moment(b, IR_OP_adam_m, &node, g, o->beta1);
    ir_value v = moment(b, IR_OP_adam_v, &node, g, o->beta2);
    ir_attrs attrs = {.beta1 = o->beta1,
                      .beta2 = o->beta2,
                      .eps = o->eps,
                      .decay = node.attrs.decay == -1 ? o->weight_decay : node.attrs.decay,
                      .lr_scale = node.attrs.lr_scale,
                      .set = IR_SET(beta1) | IR_SET(beta2) | IR_SET(eps) | IR_SET(decay) |
                             IR_SET(lr_scale)};
    ir_value w =
        ir_build(b->graph, IR_OP_adamw, (ir_value[]){param, m, v, b->lr, b->step}, 5, &attrs, NULL);
    ir_add_update(b->graph, param, w);
    for (size_t i = first; i < b->graph->count; i++)
        b->graph->nodes[i].loc = node.loc;
}

static void copy_all(ir_graph *to, const ir_graph *in, ir_value *map) {
    ir_copy_header(to, in);
    for (size_t i = 0; i < in->count; i++)
        map[i] = ir_copy_node(to, in, (ir_value){(uint32_t)i}, map);
    for (size_t i = 0; i < in->output_count; i++)
        if (!is_gradient(in->outputs[i].name))
            ir_add_output(to, in->outputs[i].name, map[in->outputs[i].value.id]);
    for (size_t i = 0; i < in->update_count; i++)
        ir_add_update(to, map[in->updates[i].target.id], map[in->updates[i].value.id]);
}

ir_graph *pass_optimizer(const ir_graph *in, const pass_context *context) {
    const pass_optimizer_options *options = &context->options->optimizer;
    ir_arena *scratch = ir_arena_new();
    ir_value *map = ir_arena_alloc(scratch, (in->count + 1) * sizeof *map);
    ir_graph *graph = ir_graph_new(in->name, in->kind);
    copy_all(graph, in, map);
    step_builder b = {.graph = graph, .options = options, .factor = IR_NO_VALUE};
    b.lr = scalar_source(graph, IR_OP_lr);
    b.step = scalar_source(graph, IR_OP_step);
    if (options->clip_norm > 0) b.factor = clip_factor(graph, in, map, options->clip_norm);
    for (size_t i = 0; i < in->count; i++)
        if (in->nodes[i].op == IR_OP_param && in->nodes[i].attrs.trained)
            update_param(&b, map[i], gradient_of(in, map, in->nodes[i].name));
    ir_arena_free(scratch);
    return graph;
}
