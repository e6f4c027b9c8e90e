/* Convolutions of tile-sparse tensors, for the two cases in which kept tiles stay kept tiles:
 *
 *   stride 1, odd window     submanifold: results at kept sites, sums over kept neighbours
 *   stride = window          patches inside a tile; the tile shrinks by the stride
 *
 * Depthwise windows expand to sparse_window. Other submanifold convolutions take every tile with a
 * halo of its kept neighbours, zeros elsewhere, and are dense from there on; patches are dense at
 * once. */
#include "op_util.h"

#include <stdlib.h>

#define IN(i) (node->operand[i])

static bool is_patches(const ir_attrs *attrs, ir_type w) {
    return attrs->stride.item[0] == w.dim[2] && attrs->stride.item[1] == w.dim[3] &&
           w.dim[2] == w.dim[3];
}

static bool check_window(const ir_shape_args *args, ir_type x, ir_type w) {
    const ir_ints *stride = &args->attrs->stride;
    if (stride->count != 2) return ir_shape_error(args, "stride takes two numbers");
    if (is_patches(args->attrs, w)) {
        if (x.dim[2] % w.dim[2] == 0) return true;
        return ir_shape_error(args, "tiles of %lld sites do not divide into patches of %lld",
                              (long long)x.dim[2], (long long)w.dim[2]);
    }
    bool depthwise = w.dim[1] == 1 && w.dim[0] == x.dim[4] && args->attrs->groups == x.dim[4];
    if (depthwise && w.dim[3] > OP_WIDEST_WINDOW)
        return ir_shape_error(args, "window is %lldx%lld, expected a width of at most %d",
                              (long long)w.dim[2], (long long)w.dim[3], OP_WIDEST_WINDOW);
    if (stride->item[0] != 1 || stride->item[1] != 1 || w.dim[2] % 2 == 0 || w.dim[3] % 2 == 0 ||
        (!depthwise && w.dim[2] != w.dim[3]))
        return ir_shape_error(args,
                              "window %lldx%lld with stride %lldx%lld on tiles; expected an "
                              "odd window (square unless depthwise) with stride 1, or a stride "
                              "equal to the window",
                              (long long)w.dim[2], (long long)w.dim[3], (long long)stride->item[0],
                              (long long)stride->item[1]);
    return true;
}

OP_SHAPE(sparse_conv) {
    ir_type x = args->type[0], w = args->type[1], table = args->type[2];
    int64_t groups = args->attrs->groups;
    if (!x.sparsity.kept || x.rank != 5)
        return ir_shape_error(args, "input is %s, expected tile-sparse (N,kept,tile,tile,C)",
                              op_shape(x).text);
    if (table.rank != 2 || table.dim[0] != x.dim[0] || table.dim[1] != x.dim[1])
        return ir_shape_error(args, "table is %s, expected (%lld,%lld)", op_shape(table).text,
                              (long long)x.dim[0], (long long)x.dim[1]);
    if (w.rank != 4 || groups < 1 || x.dim[4] % groups || w.dim[0] % groups ||
        w.dim[1] != x.dim[4] / groups)
        return ir_shape_error(args,
                              "weight is %s, expected (O,%lld/groups,kh,kw) and %lld groups "
                              "that divide both",
                              op_shape(w).text, (long long)x.dim[4], (long long)groups);
    if (!check_window(args, x, w)) return false;
    *out = x;
    if (is_patches(args->attrs, w)) out->dim[2] = out->dim[3] = x.dim[2] / w.dim[2];
    out->dim[4] = w.dim[0];
    if (args->count < 4 || (args->type[3].rank == 1 && args->type[3].dim[0] == w.dim[0]))
        return true;
    return ir_shape_error(args, "bias is %s, expected (%lld)", op_shape(args->type[3]).text,
                          (long long)w.dim[0]);
}

/* Input channels of one tap against all outputs of their groups. */
static void add_tap(const ir_eval_args *args, const double *in, int64_t tap, double *out) {
    ir_type w = args->type[1];
    int64_t cg = w.dim[1], og = w.dim[0] / args->node->attrs.groups, taps = w.dim[2] * w.dim[3];
    for (int64_t o = 0; o < w.dim[0]; o++)
        for (int64_t c = 0; c < cg; c++)
            out[o] += in[o / og * cg + c] * args->in[1][(o * cg + c) * taps + tap];
}

/* One site of the result at (oy,ox) of the whole image. */
static void eval_site(const ir_eval_args *args, const int64_t *slot, const double *sample,
                      const int64_t place[2], double *out) {
    ir_type x = args->type[0], w = args->type[1];
    const ir_sparsity *s = &x.sparsity;
    bool patches = is_patches(&args->node->attrs, w);
    int64_t tile = x.dim[2], height = s->grid_h * tile, width = s->grid_w * tile;
    for (int64_t tap = 0; tap < w.dim[2] * w.dim[3]; tap++) {
        int64_t ky = tap / w.dim[3], kx = tap % w.dim[3];
        int64_t y = patches ? place[0] * w.dim[2] + ky : place[0] + ky - w.dim[2] / 2;
        int64_t c = patches ? place[1] * w.dim[3] + kx : place[1] + kx - w.dim[3] / 2;
        if (y < 0 || c < 0 || y >= height || c >= width) continue;
        int64_t k = slot[y / tile * s->grid_w + c / tile];
        if (k < 0) continue;
        add_tap(args, sample + ((k * tile + y % tile) * tile + c % tile) * x.dim[4], tap, out);
    }
}

OP_EVAL(sparse_conv) {
    ir_type x = args->type[0], y = args->node->type;
    const ir_sparsity *s = &x.sparsity;
    int64_t tiles = (int64_t)s->grid_h * s->grid_w, tile = y.dim[2], at = 0;
    int64_t *slot = malloc((size_t)tiles * sizeof *slot);
    if (!slot) IR_BUG("out of memory");
    for (int64_t n = 0; n < y.dim[0]; n++) {
        const double *table = args->in[2] + n * y.dim[1];
        const double *sample = args->in[0] + n * op_span(x, 1, 5);
        for (int64_t l = 0; l < tiles; l++)
            slot[l] = -1;
        for (int64_t k = 0; k < y.dim[1]; k++)
            slot[(int64_t)table[k]] = k;
        for (int64_t k = 0; k < y.dim[1]; k++)
            for (int64_t i = 0; i < tile * tile; i++, at += y.dim[4]) {
                int64_t l = (int64_t)table[k];
                int64_t place[2] = {l / s->grid_w * tile + i / tile,
                                    l % s->grid_w * tile + i % tile};
                for (int64_t o = 0; args->count > 3 && o < y.dim[4]; o++)
                    args->out[at + o] = args->in[3][o];
                eval_site(args, slot, sample, place, args->out + at);
            }
    }
    free(slot);
}

static ir_value build1(ir_graph *graph, ir_op op, ir_value x, const ir_attrs *attrs) {
    return ir_build(graph, op, &x, 1, attrs, NULL);
}

/* The weight as a matrix (O, kh kw C/groups), in the order of unfolded windows. */
static ir_value weight_matrix(ir_graph *graph, ir_value w) {
    ir_type type = ir_type_of(graph, w);
    ir_attrs order = {.order = IR_INTS(0, 2, 3, 1), .set = IR_SET(order)};
    if (type.dim[2] * type.dim[3] > 1) w = build1(graph, IR_OP_permute, w, &order);
    return ir_reshape(graph, w,
                      ir_type_make(IR_F32, 2, (int64_t[]){type.dim[0], op_span(type, 1, 4)}));
}

/* x (N,kept,t,t,C): patches as rows, (N,kept,t/s,t/s,s s C), by one permutation of lines. */
static ir_value patch_rows(ir_graph *graph, ir_value x, int64_t s) {
    ir_type t = ir_type_of(graph, x), rows = t;
    int64_t lines = t.dim[1] * t.dim[2] / s, across = t.dim[3] / s;
    x = ir_reshape(graph, x,
                   ir_type_make(IR_F32, 5, (int64_t[]){t.dim[0], lines, s, across, s * t.dim[4]}));
    ir_attrs order = {.order = IR_INTS(0, 1, 3, 2, 4), .set = IR_SET(order)};
    x = build1(graph, IR_OP_permute, x, &order);
    rows.dim[2] = t.dim[2] / s;
    rows.dim[3] = across;
    rows.dim[4] = s * s * t.dim[4];
    return ir_reshape(graph, x, rows);
}

/* Every tile, with a halo where the window is wider than its stride, as an image of its own; its
 * windows as rows, packed again. */
static ir_value unfolded_tiles(ir_graph *graph, const ir_node *node, ir_value x) {
    ir_type t = ir_type_of(graph, x), w = ir_type_of(graph, IN(1)), rows = node->type;
    const ir_attrs *a = &node->attrs;
    int64_t halo = is_patches(a, w) ? 0 : w.dim[2] / 2, side = t.dim[2] + 2 * halo;
    if (halo) {
        ir_attrs place = {.grid = IR_INTS(t.sparsity.grid_h, t.sparsity.grid_w),
                          .border = halo,
                          .set = IR_SET(grid) | IR_SET(border)};
        x = ir_build(graph, IR_OP_scatter_tiles, (ir_value[]){x, IN(2)}, 2, &place, NULL);
        place.tile = side;
        place.spacing = t.dim[2];
        place.set |= IR_SET(tile) | IR_SET(spacing);
        x = ir_build(graph, IR_OP_gather_tiles, (ir_value[]){x, IN(2)}, 2, &place, NULL);
    }
    x = ir_reshape(graph, x,
                   ir_type_make(IR_F32, 4, (int64_t[]){t.dim[0] * t.dim[1], side, side, t.dim[4]}));
    ir_attrs unfold = {.kernel = IR_INTS(w.dim[2], w.dim[3]),
                       .stride = a->stride,
                       .pad = IR_INTS(0, 0),
                       .groups = a->groups,
                       .set = IR_SET(kernel) | IR_SET(stride) | IR_SET(pad) | IR_SET(groups)};
    x = build1(graph, IR_OP_unfold, x, &unfold);
    rows.dim[4] = op_span(w, 2, 4) * t.dim[4];
    return ir_reshape(graph, x, rows);
}

OP_EXPAND(sparse_conv) {
    ir_type x = ir_type_of(graph, IN(0)), w = ir_type_of(graph, IN(1));
    const ir_attrs *a = &node->attrs;
    bool single = op_span(w, 2, 4) == 1, patches = is_patches(a, w);
    ir_value rows = IN(0), y;
    if (!patches && a->groups == x.dim[4] && w.dim[0] == x.dim[4]) {
        y = ir_build(graph, IR_OP_sparse_window, (ir_value[]){IN(0), IN(1), IN(2)}, 3, NULL, NULL);
    } else {
        if (!single)
            rows = patches && a->groups == 1 ? patch_rows(graph, rows, w.dim[2])
                                             : unfolded_tiles(graph, node, rows);
        ir_attrs product = {.groups = a->groups, .set = IR_SET(groups)};
        y = ir_build(graph, IR_OP_matmul_nt, (ir_value[]){rows, weight_matrix(graph, IN(1))}, 2,
                     &product, NULL);
    }
    return node->operand_count > 3 ? ir_binary(graph, IR_OP_add, y, IN(3)) : y;
}
