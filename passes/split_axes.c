/* Splits sums over dimensions that are not neighbours into one sum per run of neighbours, and sums
 * over samples and sites into one over the sites of each sample, then one over samples.
 *
 * requires     primitive ops
 * establishes  every sum has axes; they are one run (dimensions of size 1 in between may be
 * missing); dimension 0 of a tensor with sites is summed alone breaks       nothing
 */
#include "lowering.h"

static bool run_ends(ir_type type, const ir_ints *axes, int i) {
    if (i + 1 == axes->count) return true;
    if (type.rank >= 3 && axes->item[i] == 0 && type.dim[0] != 1) return true;
    for (int64_t d = axes->item[i] + 1; d < axes->item[i + 1]; d++)
        if (type.dim[d] != 1) return true;
    return false;
}

/* Sums of sums, and likewise the largest of the largest; x itself where there are no axes. */
static ir_value split_sum(ir_graph *to, const ir_node *node, ir_value x, ir_type type) {
    ir_ints part = {0};
    const ir_ints *axes = &node->attrs.axes;
    for (int i = axes->count - 1; i >= 0; i--) { /* last run first: kernels keep columns longer */
        for (int c = part.count; c > 0; c--)
            part.item[c] = part.item[c - 1];
        part.item[0] = axes->item[i];
        part.count++;
        bool first_of_run = i == 0 || run_ends(type, axes, i - 1);
        if (!first_of_run) continue;
        ir_attrs attrs = {.axes = part, .keep = true, .set = IR_SET(axes) | IR_SET(keep)};
        x = ir_build(to, node->op, &x, 1, &attrs, NULL);
        part.count = 0;
    }
    return ir_type_same_shape(ir_type_of(to, x), node->type) ? x : ir_reshape(to, x, node->type);
}

ir_graph *low_split_axes(const ir_graph *from) {
    ir_graph *to = ir_graph_new(from->name, from->kind);
    ir_copy_header(to, from);
    ir_value *map = ir_arena_alloc(to->arena, (from->count + 1) * sizeof *map);
    for (size_t i = 0; i < from->count; i++) {
        const ir_node *node = &from->nodes[i];
        bool reduces = ir_op_get(node->op)->traits & IR_REDUCES;
        bool splits = reduces && node->attrs.axes.count == 0;
        for (int a = 0; reduces && a + 1 < node->attrs.axes.count; a++)
            splits = splits || run_ends(ir_type_of(from, node->operand[0]), &node->attrs.axes, a);
        map[i] = splits ? split_sum(to, node, map[node->operand[0].id],
                                    ir_type_of(from, node->operand[0]))
                        : ir_copy_node(to, from, (ir_value){(uint32_t)i}, map);
    }
    ir_copy_results(to, from, map);
    return to;
}
