/* Which table lists the tiles of a tile-sparse value, and whether all that meet have the same.
 *
 * A type says how many tiles are kept, not which ones; that follows from the graph. gather_tiles
 * names its table, every other op passes on the table of its operands. The values of a table are
 * places in an image, so a table must be one of kept_tiles, over a mask with a number for every
 * tile of the grid: nothing looks at the numbers when a program runs. */
#include "hooks.h"

enum { UNKNOWN = -1 };

static int table_operand(ir_op op) {
    switch ((int)op) {
    case IR_OP_gather_tiles:
    case IR_OP_scatter_tiles: return 1;
    case IR_OP_sparse_conv:
    case IR_OP_sparse_window:
    case IR_OP_sparse_window_dx:
    case IR_OP_sparse_window_dw: return 2;
    }
    return -1;
}

/* What `node` passes on, `known` for all values before it. A dense value passes on what its first
 * operand does, so that a sparse tensor may be viewed as dense images and back. */
static int32_t table_after(const ir_graph *graph, const ir_node *node, const int32_t *known) {
    if (node->op == IR_OP_gather_tiles) return (int32_t)node->operand[1].id;
    if (node->operand_count == 0) return UNKNOWN;
    if (!node->type.sparsity.kept || node->op == IR_OP_reshape) return known[node->operand[0].id];
    for (int o = 0; o < node->operand_count; o++) {
        uint32_t id = node->operand[o].id;
        if (graph->nodes[id].type.sparsity.kept && known[id] != UNKNOWN) return known[id];
    }
    return UNKNOWN;
}

static int32_t *tables_before(const ir_graph *graph, size_t count, ir_arena *arena) {
    int32_t *table = ir_arena_alloc(arena, (count + 1) * sizeof *table);
    for (size_t i = 0; i < count; i++)
        table[i] = table_after(graph, &graph->nodes[i], table);
    return table;
}

ir_value ir_sparse_table(const ir_graph *graph, ir_value value) {
    if (!ir_type_of(graph, value).sparsity.kept) return IR_NO_VALUE;
    ir_arena *arena = ir_arena_new();
    int32_t id = tables_before(graph, value.id + 1, arena)[value.id];
    ir_arena_free(arena);
    return id == UNKNOWN ? IR_NO_VALUE : (ir_value){(uint32_t)id};
}

bool ir_same_table(const ir_graph *graph, ir_value a, ir_value b) {
    const ir_node *x = ir_at(graph, a), *y = ir_at(graph, b);
    return a.id == b.id || (x->op == IR_OP_kept_tiles && y->op == IR_OP_kept_tiles &&
                            x->operand[0].id == y->operand[0].id &&
                            x->attrs.kept == y->attrs.kept && x->attrs.removed == y->attrs.removed);
}

ir_mask ir_mask_of(const ir_graph *graph, ir_value input) {
    for (size_t i = input.id + 1; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op != IR_OP_random_mask && node->op != IR_OP_kept_tiles) continue;
        ir_value from = node->operand[0];
        while (ir_at(graph, from)->op == IR_OP_reshape)
            from = ir_at(graph, from)->operand[0];
        if (from.id != input.id) continue;
        int64_t tiles = ir_type_of(graph, node->operand[0]).dim[1], kept = node->attrs.kept;
        if (node->op == IR_OP_kept_tiles && node->attrs.removed) kept = tiles - kept;
        return (ir_mask){tiles, kept, node->op == IR_OP_random_mask};
    }
    return (ir_mask){0};
}

/* The table that `node` is given: made by kept_tiles, for this grid. */
static bool check_table(const ir_graph *graph, const ir_node *node, ir_diag *diag) {
    const char *name = ir_op_get(node->op)->name;
    const ir_node *table = ir_at(graph, node->operand[table_operand(node->op)]);
    if (table->op != IR_OP_kept_tiles) {
        const char *quote = table->name ? "'" : "";
        return ir_error(diag, node->loc,
                        "%s: the table is %s %s%s%s, expected the result of kept_tiles", name,
                        ir_op_get(table->op)->name, quote, table->name ? table->name : "", quote);
    }
    ir_sparsity s = ir_type_of(graph, node->operand[0]).sparsity;
    if (node->op == IR_OP_gather_tiles) s = node->type.sparsity;
    if (node->op == IR_OP_scatter_tiles) {
        const int64_t *grid = node->attrs.grid.item;
        if (s.kept && (s.grid_h != grid[0] || s.grid_w != grid[1]))
            return ir_error(diag, node->loc, "%s: grid is [%lld,%lld], expected that of x, [%d,%d]",
                            name, (long long)grid[0], (long long)grid[1], s.grid_h, s.grid_w);
        s.grid_h = (int32_t)grid[0];
        s.grid_w = (int32_t)grid[1];
    }
    int64_t tiles = ir_type_of(graph, table->operand[0]).dim[1];
    const ir_node *mask = ir_at(graph, table->operand[0]);
    int64_t listed = table->attrs.kept, zeros = table->attrs.removed ? tiles - listed : listed;
    if (mask->op == IR_OP_random_mask && mask->attrs.kept != zeros)
        return ir_error(
            diag, table->loc,
            "kept_tiles: kept is %lld, expected %lld of a mask that keeps %lld of %lld",
            (long long)listed,
            (long long)(table->attrs.removed ? tiles - mask->attrs.kept : mask->attrs.kept),
            (long long)mask->attrs.kept, (long long)tiles);
    if (tiles == (int64_t)s.grid_h * s.grid_w) return true;
    ir_error(diag, node->loc,
             "%s: the table's mask has %lld tiles, expected %lld for a grid of %dx%d", name,
             (long long)tiles, (long long)s.grid_h * s.grid_w, s.grid_h, s.grid_w);
    return false;
}

/* All sparse operands of a node hold the same tiles. */
static bool check_operands(const ir_graph *graph, const ir_node *node, const int32_t *known,
                           ir_diag *diag) {
    int given = table_operand(node->op), first = -1;
    int32_t table = given < 0 ? UNKNOWN : (int32_t)node->operand[given].id;
    for (int o = 0; o < node->operand_count; o++) {
        uint32_t id = node->operand[o].id;
        if (!graph->nodes[id].type.sparsity.kept || known[id] == UNKNOWN) continue;
        if (table == UNKNOWN) {
            table = known[id];
            first = o;
        } else if (!ir_same_table(graph, (ir_value){(uint32_t)table},
                                  (ir_value){(uint32_t)known[id]})) {
            if (first < 0)
                ir_error(diag, node->loc,
                         "%s: operand %d holds the tiles of another table than the one given",
                         ir_op_get(node->op)->name, o + 1);
            else
                ir_error(diag, node->loc,
                         "%s: operands %d and %d hold the tiles of different masks, expected "
                         "those of one",
                         ir_op_get(node->op)->name, first + 1, o + 1);
            ir_hint(diag, "scatter_tiles puts tiles back into images, where they can meet");
            return false;
        }
    }
    return true;
}

bool ir_check_tables(const ir_graph *graph, ir_diag *diag) {
    bool good = true;
    int32_t *known = tables_before(graph, graph->count, diag->arena);
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        good = (table_operand(node->op) < 0 || check_table(graph, node, diag)) &&
               check_operands(graph, node, known, diag) && good;
    }
    return good;
}
