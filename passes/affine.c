/* Moves scales and shifts of columns from in front of a matrix product into its weights.
 *
 *     matmul_nt(x g + b, w) = matmul_nt(x, w g) + sum(w b)        g, b (C)
 *
 * The affine part of a layer norm and the shift of a GRN then cost work per weight instead of work
 * per pixel, and so do their gradients: autodiff finds dg = sum(d(wg) w) and db = w^T dbias by
 * itself. An unfold without padding may stand in between: its columns are taps times channels.
 *
 * Worth it where rows outnumber outputs; in inference always if the weights are parameters, because
 * the program then prepares them once.
 *
 * requires     primitive ops; runs before autodiff
 * establishes  where it is worth it, no matmul_nt reads a product with or a sum with a column
 *              vector
 * breaks       sums of column vectors stand one behind the other (simplify)
 */
#include "op_util.h"
#include "pass.h"
#include "pass_rewrite.h"

enum { LEAST_ROWS = 4 }; /* per output: a weight is read from memory, an activation is at hand */

typedef struct affine {
    ir_value x;            /* of `from` */
    ir_value scale, shift; /* (C) or (1,..,C); IR_NO_VALUE: none */
    ir_value unfold;       /* between them and the product, or IR_NO_VALUE */
} affine;

typedef struct affine_pass {
    const ir_graph *from;
    ir_graph *to;
    ir_value *map;
    bool *fixed;      /* per node: made of parameters and constants only */
    int32_t *readers; /* per node */
    int32_t *folds;   /* per node: readers that fold it */
} affine_pass;

/* Varies with the last dimension alone. */
static bool is_column(ir_type type, ir_type whole) {
    if (type.rank == 0 || type.dim[type.rank - 1] != whole.dim[whole.rank - 1]) return false;
    return op_span(type, 0, type.rank - 1) == 1;
}

/* Takes a column vector off *x if `op` joins one to it. */
static ir_value take_off(const ir_graph *g, ir_op op, ir_value *x) {
    const ir_node *node = ir_at(g, *x);
    if (node->op != op) return IR_NO_VALUE;
    for (int o = 0; o < 2; o++) {
        ir_value large = node->operand[o], small = node->operand[1 - o];
        if (!ir_type_same_shape(ir_type_of(g, large), node->type)) continue;
        if (!is_column(ir_type_of(g, small), node->type)) continue;
        *x = large;
        return small;
    }
    return IR_NO_VALUE;
}

static bool unfold_keeps_columns(const ir_node *node) {
    const ir_attrs *a = &node->attrs;
    return node->op == IR_OP_unfold && a->groups == 1 && a->pad.item[0] == 0 && a->pad.item[1] == 0;
}

static bool match(const ir_graph *g, const ir_node *node, affine *m) {
    *m = (affine){.unfold = IR_NO_VALUE};
    if (node->op != IR_OP_matmul_nt || node->attrs.groups != 1) return false;
    m->x = node->operand[0];
    if (unfold_keeps_columns(ir_at(g, m->x))) {
        m->unfold = m->x;
        m->x = ir_at(g, m->unfold)->operand[0];
    }
    m->shift = take_off(g, IR_OP_add, &m->x);
    m->scale = take_off(g, IR_OP_mul, &m->x);
    return ir_some(m->shift) || ir_some(m->scale);
}

static bool worth(const affine_pass *p, const ir_node *node, const affine *m) {
    bool fixed = p->fixed[node->operand[1].id];
    if (ir_some(m->scale)) fixed = fixed && p->fixed[m->scale.id];
    if (ir_some(m->shift)) fixed = fixed && p->fixed[m->shift.id];
    if (fixed && p->from->kind == IR_KIND_INFER) return true;
    int64_t outputs = ir_type_of(p->from, node->operand[1]).dim[0];
    return ir_type_elements(node->type) / outputs >= LEAST_ROWS * outputs;
}

static void study(affine_pass *p, ir_arena *scratch) {
    const ir_graph *g = p->from;
    p->fixed = ir_arena_alloc(scratch, (g->count + 1) * sizeof *p->fixed);
    p->readers = ir_arena_alloc(scratch, (g->count + 1) * sizeof *p->readers);
    p->folds = ir_arena_alloc(scratch, (g->count + 1) * sizeof *p->folds);
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        bool source = ir_op_get(node->op)->kind == IR_SOURCE;
        p->fixed[i] = !source || node->op == IR_OP_param || node->op == IR_OP_constant;
        for (int o = 0; o < node->operand_count; o++) {
            p->fixed[i] = p->fixed[i] && p->fixed[node->operand[o].id];
            p->readers[node->operand[o].id]++;
        }
        affine m;
        if (match(g, node, &m) && worth(p, node, &m)) p->folds[node->operand[0].id]++;
    }
    for (size_t i = 0; i < g->output_count; i++)
        p->readers[g->outputs[i].value.id]++;
    for (size_t i = 0; i < g->update_count; i++)
        p->readers[g->updates[i].value.id]++;
}

/* The weights as (outputs, taps, C), and a column vector as (C). */
static ir_value by_tap(ir_graph *to, ir_value w, int64_t channels) {
    ir_type type = ir_type_of(to, w);
    int64_t taps = type.dim[1] / channels;
    if (taps == 1) return w;
    return ir_reshape(to, w, ir_type_make(IR_F32, 3, (int64_t[]){type.dim[0], taps, channels}));
}

static ir_value as_vector(ir_graph *to, ir_value x) {
    int64_t n = ir_type_elements(ir_type_of(to, x));
    return ir_reshape(to, x, ir_type_make(IR_F32, 1, &n));
}

static ir_value rewrite(const affine_pass *p, const ir_node *node, const affine *m) {
    ir_graph *to = p->to;
    ir_type inner = ir_type_of(p->from, m->x);
    ir_value x = p->map[m->x.id], w = p->map[node->operand[1].id];
    ir_value taps = by_tap(to, w, inner.dim[inner.rank - 1]), scaled = w;
    if (ir_some(m->unfold))
        x = ir_build(to, IR_OP_unfold, &x, 1, &ir_at(p->from, m->unfold)->attrs, NULL);
    if (ir_some(m->scale)) {
        scaled = ir_binary(to, IR_OP_mul, taps, as_vector(to, p->map[m->scale.id]));
        scaled = ir_reshape(to, scaled, ir_type_of(to, w));
    }
    ir_value y =
        ir_build(to, IR_OP_matmul_nt, (ir_value[]){x, scaled}, 2, &node->attrs, node->name);
    if (!ir_some(m->shift)) return y;
    ir_value bias = ir_binary(to, IR_OP_mul, taps, as_vector(to, p->map[m->shift.id]));
    ir_ints axes = ir_type_of(to, bias).rank == 2 ? IR_INTS(1) : IR_INTS(1, 2);
    return ir_binary(to, IR_OP_add, y, ir_sum(to, bias, axes, false));
}

ir_graph *pass_affine(const ir_graph *in, const pass_context *context) {
    (void)context;
    ir_arena *scratch = ir_arena_new();
    affine_pass p = {.from = in,
                     .to = ir_graph_new(in->name, in->kind),
                     .map = ir_arena_alloc(scratch, (in->count + 1) * sizeof *p.map)};
    ir_copy_header(p.to, in);
    study(&p, scratch);
    for (size_t i = 0; i < in->count; i++) {
        const ir_node *node = &in->nodes[i];
        affine m;
        bool folds = match(in, node, &m) && worth(&p, node, &m) &&
                     p.readers[node->operand[0].id] == p.folds[node->operand[0].id];
        size_t first = p.to->count;
        p.map[i] =
            folds ? rewrite(&p, node, &m) : ir_copy_node(p.to, in, (ir_value){(uint32_t)i}, p.map);
        for (size_t n = first; n < p.to->count; n++)
            p.to->nodes[n].loc = node->loc;
    }
    ir_copy_results(p.to, in, p.map);
    ir_arena_free(scratch);
    return p.to;
}
