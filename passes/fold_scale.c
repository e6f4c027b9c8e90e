/* Moves the scale and shift in front of a matrix product to where they are cheap.
 *
 * requires     primitive ops
 * establishes  matmul_nt((x s) + b, w) with s per sample and column, b per column, is written
 *              matmul_nt_scaled(x, w, s) + (b w^T) where a sample has many more rows than w has
 *              outputs; sums run over neighbouring dimensions
 * breaks       nothing
 */
#include "lowering.h"

/* A broadcast operand that varies with the last dimension at most (and with the batch if allowed).
 */
static bool per_column(ir_type type, ir_type big, bool per_sample) {
    if (type.rank == 0 || type.dim[type.rank - 1] != big.dim[big.rank - 1]) return false;
    for (int d = 0; d < type.rank - 1; d++) {
        int aligned = d + big.rank - type.rank;
        if (type.dim[d] != 1 && !(per_sample && aligned == 0)) return false;
    }
    return true;
}

/* Splits a binary node into its big operand and one that varies per column. */
static bool split(const ir_graph *g, ir_value value, ir_op op, bool per_sample, ir_value *big,
                  ir_value *small) {
    const ir_node *node = ir_at(g, value);
    if (node->op != op) return false;
    for (int i = 0; i < 2; i++) {
        ir_type a = ir_type_of(g, node->operand[i]), b = ir_type_of(g, node->operand[1 - i]);
        if (!ir_type_same_shape(a, node->type) || !per_column(b, node->type, per_sample)) continue;
        *big = node->operand[i];
        *small = node->operand[1 - i];
        return true;
    }
    return false;
}

typedef struct scale_match {
    ir_value x, scale, shift;
    bool found;
} scale_match;

static scale_match match(const ir_graph *g, const ir_node *node) {
    scale_match m = {.shift = IR_NO_VALUE};
    if (node->op != IR_OP_matmul_nt || node->attrs.groups != 1) return m;
    ir_type x = ir_type_of(g, node->operand[0]), w = ir_type_of(g, node->operand[1]);
    if (x.rank < 3) return m;
    int64_t sites = ir_type_elements(x) / x.dim[0] / x.dim[x.rank - 1];
    if (sites < 2 * w.dim[0]) return m;
    ir_value inner = node->operand[0], shift;
    if (split(g, inner, IR_OP_add, false, &inner, &shift))
        m.shift = shift;
    else
        inner = node->operand[0];
    if (!split(g, inner, IR_OP_mul, true, &m.x, &m.scale)) return m;
    ir_type s = ir_type_of(g, m.scale);
    m.found = s.rank == x.rank && s.dim[0] == x.dim[0];
    return m;
}

static ir_value rewrite(ir_graph *to, const ir_graph *from, const ir_node *node,
                        const scale_match *m, const ir_value *map) {
    ir_value w = map[node->operand[1].id];
    ir_value scaled = ir_build(to, IR_OP_matmul_nt_scaled,
                               (ir_value[]){map[m->x.id], w, map[m->scale.id]}, 3, NULL, NULL);
    if (!ir_some(m->shift)) return scaled;
    ir_type shift = ir_type_of(from, m->shift);
    int64_t k = shift.dim[shift.rank - 1], outputs = ir_type_of(from, node->operand[1]).dim[0];
    ir_value row = ir_reshape(to, map[m->shift.id], ir_type_make(IR_F32, 2, (int64_t[]){1, k}));
    ir_value part = ir_build(to, IR_OP_matmul_nt, (ir_value[]){row, w}, 2, NULL, NULL);
    part = ir_reshape(to, part, ir_type_make(IR_F32, 1, (int64_t[]){outputs}));
    return ir_binary(to, IR_OP_add, scaled, part);
}

ir_graph *low_fold_scale(const ir_graph *from) {
    ir_graph *to = ir_graph_new(from->name, from->kind);
    ir_copy_header(to, from);
    ir_value *map = ir_arena_alloc(to->arena, (from->count + 1) * sizeof *map);
    for (size_t i = 0; i < from->count; i++) {
        scale_match m = match(from, &from->nodes[i]);
        map[i] = m.found ? rewrite(to, from, &from->nodes[i], &m, map)
                         : ir_copy_node(to, from, (ir_value){(uint32_t)i}, map);
    }
    ir_copy_results(to, from, map);
    return to;
}
