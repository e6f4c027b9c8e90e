/* Tile-sparse tensors: which tiles are kept, moving tiles out of and into dense images, and
 * depthwise windows on kept tiles only.
 *
 * A grid of gh x gw tiles lies over an image. `mask` (N,gh gw) is 1 where a tile is removed;
 * exactly `kept` are 0 in every row. `table` (N,kept) i32 holds the kept tiles' numbers in raster
 * order and is shared by all tensors of the same mask. A sparse tensor is packed,
 * (N,kept,tile,tile,C).
 *
 *     scatter_tiles   image(n, place(table[n,k]) + (y,x), c) += x(n,k,y,x,c)     zero elsewhere
 *     gather_tiles    y(n,k,y,x,c) = image(n, place(table[n,k]) + (y,x), c)
 *
 * Tiles stand `spacing` apart in an image with `border` pixels around the grid; a tile larger than
 * the spacing takes a halo of its neighbours on all sides, as a convolution needs it. A sparse
 * window sums over the taps whose site is kept (submanifold convolution, Graham & van der Maaten
 * 2017): the same as a dense window over the scattered image, at kept sites. */
#include "op_util.h"

#include <stdlib.h>
#include <string.h>

#define OPERAND(i) (ir_at(graph, y)->operand[i])

/* ---- masks and tables ---- */

/* A mask of which `kept` tiles are taken. */
static bool check_mask(const ir_shape_args *args) {
    ir_type mask = args->type[0];
    int64_t kept = args->attrs->kept;
    if (mask.rank != 2)
        return ir_shape_error(args, "mask is %s, expected (N,tiles)", op_shape(mask).text);
    int64_t most = mask.dim[1] < INT32_MAX ? mask.dim[1] : INT32_MAX;
    if (kept >= 1 && kept <= most) return true;
    return ir_shape_error(args, "kept is %lld of %lld tiles, expected 1 to %lld", (long long)kept,
                          (long long)mask.dim[1], (long long)most);
}

OP_SHAPE(random_mask) {
    *out = args->type[0];
    return check_mask(args);
}

static double noise(const ir_eval_args *args, int64_t sample, int64_t tile) {
    uint64_t seed = args->scalars->seed;
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, word[4];
    uint32_t counter[4] = {(uint32_t)tile, (uint32_t)sample, (uint32_t)args->node->attrs.stream,
                           (uint32_t)args->scalars->step};
    ir_philox(key, counter, word);
    return (double)(word[0] >> 8) * 0x1p-24;
}

/* A row whose first element is negative is drawn: the `kept` tiles with the smallest noise stay. */
OP_EVAL(random_mask) {
    int64_t samples = args->type[0].dim[0], tiles = args->type[0].dim[1];
    for (int64_t n = 0; n < samples; n++) {
        const double *given = args->in[0] + n * tiles;
        for (int64_t l = 0; l < tiles; l++) {
            int64_t rank = 0;
            double own = noise(args, n, l);
            for (int64_t o = 0; o < tiles; o++) {
                double other = noise(args, n, o);
                rank += other < own || (other == own && o < l);
            }
            double drawn = rank < args->node->attrs.kept ? 0 : 1;
            args->out[n * tiles + l] = given[l] < 0 ? drawn : given[l];
        }
    }
}
OP_NO_GRAD(random_mask)

OP_SHAPE(kept_tiles) {
    *out = ir_type_make(IR_I32, 2, (int64_t[]){args->type[0].dim[0], args->attrs->kept});
    return check_mask(args);
}

/* The tile in place k: how many tiles have at most k listed ones before and including them. Never
 * beyond the last tile, whatever the mask. */
OP_EVAL(kept_tiles) {
    int64_t samples = args->type[0].dim[0], tiles = args->type[0].dim[1];
    int64_t kept = args->node->attrs.kept;
    for (int64_t n = 0; n < samples; n++) {
        const double *mask = args->in[0] + n * tiles;
        int64_t k = 0;
        for (int64_t l = 0; l < tiles && k < kept; l++)
            if ((mask[l] != 0) == args->node->attrs.removed) args->out[n * kept + k++] = (double)l;
        for (; k < kept; k++)
            args->out[n * kept + k] = (double)(tiles - 1);
    }
}
OP_NO_GRAD(kept_tiles)

/* ---- moving tiles ---- */

typedef struct tiling {
    int64_t n, kept, tile, channels;
    int64_t spacing, offset; /* of tiles; of tile (0,0) from the image's corner */
    int64_t grid_h, grid_w, height, width;
    bool channels_first;
} tiling;

/* The tiles of a packed shape in an image of this grid, spacing and border. */
static bool describe(const ir_shape_args *args, ir_type packed, ir_type table, tiling *t) {
    const ir_attrs *a = args->attrs;
    const ir_ints *grid = &a->grid;
    int64_t most = IR_MAX_GRID;
    if (packed.rank != 5 || packed.dim[2] != packed.dim[3])
        return ir_shape_error(args, "tiles are %s, expected (N,kept,tile,tile,C)",
                              op_shape(packed).text);
    if (table.rank != 2 || table.dtype != IR_I32 || table.dim[0] != packed.dim[0] ||
        table.dim[1] != packed.dim[1])
        return ir_shape_error(args, "table is %s %s, expected i32 (%lld,%lld)",
                              ir_dtype_name(table.dtype), op_shape(table).text,
                              (long long)packed.dim[0], (long long)packed.dim[1]);
    if (grid->count != 2 || grid->item[0] < 1 || grid->item[1] < 1 || grid->item[0] > most ||
        grid->item[1] > most || grid->item[0] * grid->item[1] < table.dim[1])
        return ir_shape_error(args, "grid must be two numbers with room for %lld tiles",
                              (long long)table.dim[1]); /* whose numbers: sparse_table.c */
    *t = (tiling){.n = packed.dim[0],
                  .kept = packed.dim[1],
                  .tile = packed.dim[2],
                  .channels = packed.dim[4],
                  .grid_h = grid->item[0],
                  .grid_w = grid->item[1]};
    t->spacing = a->spacing ? a->spacing : t->tile;
    t->channels_first = args->op == IR_OP_gather_tiles && a->channels_first;
    int64_t halo = t->tile - t->spacing;
    if (t->spacing < 1 || t->spacing > most || halo < 0 || halo % 2 || a->border < halo / 2 ||
        a->border > most)
        return ir_shape_error(args, "tiles of %lld, %lld apart, with a border of %lld do not fit",
                              (long long)t->tile, (long long)t->spacing, (long long)a->border);
    t->offset = a->border - halo / 2;
    t->height = t->grid_h * t->spacing + 2 * a->border;
    t->width = t->grid_w * t->spacing + 2 * a->border;
    return true;
}

static ir_type image_of(const tiling *t) {
    if (t->channels_first)
        return ir_type_make(IR_F32, 4, (int64_t[]){t->n, t->channels, t->height, t->width});
    return ir_type_make(IR_F32, 4, (int64_t[]){t->n, t->height, t->width, t->channels});
}

static ir_type packed_of(const ir_shape_args *args, ir_type image, ir_type table) {
    int64_t tile = args->attrs->tile;
    int64_t channels = image.dim[args->attrs->channels_first ? 1 : 3];
    ir_type packed =
        ir_type_make(IR_F32, 5, (int64_t[]){image.dim[0], table.dim[1], tile, tile, channels});
    packed.sparsity = (ir_sparsity){(int32_t)args->attrs->grid.item[0],
                                    (int32_t)args->attrs->grid.item[1], (int32_t)table.dim[1]};
    return packed;
}

OP_SHAPE(gather_tiles) {
    ir_type image = args->type[0], table = args->type[1];
    tiling t;
    if (image.rank != 4 || table.rank != 2 || image.dtype != IR_F32 || args->attrs->tile < 1 ||
        args->attrs->tile > IR_MAX_GRID)
        return ir_shape_error(args, "image is %s, table %s, expected 4 and 2 dimensions",
                              op_shape(image).text, op_shape(table).text);
    *out = packed_of(args, image, table);
    if (!ir_type_valid(*out))
        return ir_shape_error(args, "tiles of %s are too large", op_shape(image).text);
    if (!describe(args, *out, table, &t)) return false;
    if (!ir_type_same_shape(image_of(&t), image))
        return ir_shape_error(args, "image is %s, expected %s", op_shape(image).text,
                              op_shape(image_of(&t)).text);
    return true;
}

OP_SHAPE(scatter_tiles) {
    tiling t;
    if (!describe(args, args->type[0], args->type[1], &t)) return false;
    *out = image_of(&t);
    return true;
}

/* Copies tiles out of the image, or adds them to it. */
static void move(const ir_eval_args *args, ir_type packed, bool gather) {
    tiling t;
    ir_shape_args shape = {.op = args->node->op, .attrs = &args->node->attrs};
    describe(&shape, packed, args->type[1], &t);
    int64_t at = 0, line = t.channels_first ? t.width : t.width * t.channels;
    int64_t pixel = t.channels_first ? 1 : t.channels;
    int64_t channel = t.channels_first ? t.height * t.width : 1;
    for (int64_t n = 0; n < t.n; n++)
        for (int64_t k = 0; k < t.kept; k++) {
            int64_t place = (int64_t)args->in[1][n * t.kept + k];
            int64_t top = place / t.grid_w * t.spacing + t.offset;
            int64_t left = place % t.grid_w * t.spacing + t.offset;
            for (int64_t y = 0; y < t.tile; y++)
                for (int64_t x = 0; x < t.tile; x++)
                    for (int64_t c = 0; c < t.channels; c++, at++) {
                        int64_t i = n * t.height * t.width * t.channels + (top + y) * line +
                                    (left + x) * pixel + c * channel;
                        if (gather)
                            args->out[at] = args->in[0][i];
                        else
                            args->out[i] += args->in[0][at];
                    }
        }
}

OP_EVAL(gather_tiles) {
    move(args, args->node->type, true);
}
OP_EVAL(scatter_tiles) {
    move(args, args->type[0], false);
}

OP_GRAD(gather_tiles) {
    ir_value table = OPERAND(1);
    ir_attrs attrs = ir_at(graph, y)->attrs;
    bool channels_first = attrs.channels_first;
    attrs.tile = 0;
    attrs.channels_first = false;
    attrs.set &= ~(IR_SET(tile) | IR_SET(channels_first));
    dx[0] = ir_build(graph, IR_OP_scatter_tiles, (ir_value[]){dy, table}, 2, &attrs, NULL);
    ir_attrs order = {.order = IR_INTS(0, 3, 1, 2), .set = IR_SET(order)};
    if (channels_first) dx[0] = ir_build(graph, IR_OP_permute, &dx[0], 1, &order, NULL);
}
OP_GRAD(scatter_tiles) {
    ir_value x = OPERAND(0), table = OPERAND(1);
    ir_attrs attrs = ir_at(graph, y)->attrs;
    attrs.tile = ir_type_of(graph, x).dim[2];
    attrs.set |= IR_SET(tile);
    dx[0] = ir_build(graph, IR_OP_gather_tiles, (ir_value[]){dy, table}, 2, &attrs, NULL);
}

/* ---- windows ---- */

static bool check_sparse(const ir_shape_args *args, ir_type x, ir_type table) {
    if (!x.sparsity.kept || x.rank != 5 || x.dim[2] != x.dim[3])
        return ir_shape_error(args, "tensor is %s, expected tile-sparse (N,kept,tile,tile,C)",
                              op_shape(x).text);
    if (table.rank != 2 || table.dim[0] != x.dim[0] || table.dim[1] != x.dim[1])
        return ir_shape_error(args, "table is %s, expected (%lld,%lld)", op_shape(table).text,
                              (long long)x.dim[0], (long long)x.dim[1]);
    return true;
}

static bool check_window(const ir_shape_args *args, ir_type *out) {
    ir_type x = *out = args->type[0];
    return check_sparse(args, x, args->type[2]) && op_check_taps(args, x.dim[4], args->type[1]);
}

OP_SHAPE(sparse_window) {
    return check_window(args, out);
}
OP_SHAPE(sparse_window_dx) {
    return check_window(args, out);
}
OP_SHAPE(sparse_window_dw) {
    ir_type dy = args->type[0], x = args->type[1];
    const ir_ints *kernel = &args->attrs->kernel;
    if (!check_sparse(args, x, args->type[2])) return false;
    if (!ir_type_same_shape(dy, x))
        return ir_shape_error(args, "gradient is %s, tensor is %s", op_shape(dy).text,
                              op_shape(x).text);
    if (!op_check_kernel(args)) return false;
    *out = ir_type_make(IR_F32, 4, (int64_t[]){x.dim[4], 1, kernel->item[0], kernel->item[1]});
    return true;
}

/* The packed index of a site of the whole image, or -1 if its tile is removed. */
typedef struct site_map {
    const int64_t *slot;
    int64_t grid_h, grid_w, tile;
} site_map;

static int64_t site(const site_map *m, int64_t y, int64_t x) {
    if (y < 0 || x < 0 || y >= m->grid_h * m->tile || x >= m->grid_w * m->tile) return -1;
    int64_t k = m->slot[y / m->tile * m->grid_w + x / m->tile];
    return k < 0 ? -1 : (k * m->tile + y % m->tile) * m->tile + x % m->tile;
}

/* Calls `visit` for every kept site and tap whose neighbour is kept. */
typedef void visit_pair(const ir_eval_args *args, int64_t here, int64_t there, int64_t tap);

static void visit_pairs(const ir_eval_args *args, int64_t kh, int64_t kw, visit_pair *visit) {
    ir_type t = args->type[0];
    const ir_sparsity *s = args->type[1].sparsity.kept ? &args->type[1].sparsity : &t.sparsity;
    int64_t tiles = (int64_t)s->grid_h * s->grid_w, tile = t.dim[2], sites = t.dim[1] * tile * tile;
    int64_t *slot = malloc((size_t)tiles * sizeof *slot);
    if (!slot) IR_BUG("out of memory");
    site_map map = {slot, s->grid_h, s->grid_w, tile};
    for (int64_t n = 0; n < t.dim[0]; n++) {
        const double *table = args->in[2] + n * t.dim[1];
        for (int64_t l = 0; l < tiles; l++)
            slot[l] = -1;
        for (int64_t k = 0; k < t.dim[1]; k++)
            slot[(int64_t)table[k]] = k;
        for (int64_t i = 0; i < sites; i++) {
            int64_t l = (int64_t)table[i / (tile * tile)];
            int64_t y = l / map.grid_w * tile + i / tile % tile,
                    x = l % map.grid_w * tile + i % tile;
            for (int64_t tap = 0; tap < kh * kw; tap++) {
                int64_t other = site(&map, y + tap / kw - kh / 2, x + tap % kw - kw / 2);
                if (other >= 0) visit(args, n * sites + i, n * sites + other, tap);
            }
        }
    }
    free(slot);
}

static void add_forward(const ir_eval_args *args, int64_t here, int64_t there, int64_t tap) {
    int64_t c = args->type[0].dim[4], taps = args->type[1].dim[2] * args->type[1].dim[3];
    for (int64_t i = 0; i < c; i++)
        args->out[here * c + i] += args->in[0][there * c + i] * args->in[1][i * taps + tap];
}
static void add_backward(const ir_eval_args *args, int64_t here, int64_t there, int64_t tap) {
    int64_t c = args->type[0].dim[4], taps = args->type[1].dim[2] * args->type[1].dim[3];
    for (int64_t i = 0; i < c; i++)
        args->out[there * c + i] += args->in[0][here * c + i] * args->in[1][i * taps + tap];
}
static void add_weight(const ir_eval_args *args, int64_t here, int64_t there, int64_t tap) {
    int64_t c = args->type[0].dim[4], taps = op_span(args->node->type, 2, 4);
    for (int64_t i = 0; i < c; i++)
        args->out[i * taps + tap] += args->in[0][here * c + i] * args->in[1][there * c + i];
}

OP_EVAL(sparse_window) {
    visit_pairs(args, args->type[1].dim[2], args->type[1].dim[3], add_forward);
}
OP_EVAL(sparse_window_dx) {
    visit_pairs(args, args->type[1].dim[2], args->type[1].dim[3], add_backward);
}
OP_EVAL(sparse_window_dw) {
    visit_pairs(args, args->node->type.dim[2], args->node->type.dim[3], add_weight);
}

static ir_value window(ir_graph *graph, ir_op op, ir_value x, ir_value w, ir_value table) {
    return ir_build(graph, op, (ir_value[]){x, w, table}, 3, NULL, NULL);
}

static ir_value weight_gradient(ir_graph *graph, ir_value dy, ir_value x, ir_value w,
                                ir_value table) {
    ir_type type = ir_type_of(graph, w);
    ir_attrs attrs = {.kernel = IR_INTS(type.dim[2], type.dim[3]), .set = IR_SET(kernel)};
    return ir_build(graph, IR_OP_sparse_window_dw, (ir_value[]){dy, x, table}, 3, &attrs, NULL);
}

OP_GRAD(sparse_window) {
    ir_value x = OPERAND(0), w = OPERAND(1), table = OPERAND(2);
    dx[0] = window(graph, IR_OP_sparse_window_dx, dy, w, table);
    dx[1] = weight_gradient(graph, dy, x, w, table);
}
OP_GRAD(sparse_window_dx) { /* y = sparse_window_dx(a, w): its own adjoint is sparse_window */
    ir_value a = OPERAND(0), w = OPERAND(1), table = OPERAND(2);
    dx[0] = window(graph, IR_OP_sparse_window, dy, w, table);
    dx[1] = weight_gradient(graph, a, dy, w, table);
}
OP_GRAD(sparse_window_dw) { /* y(c,t) = sum_p a(p,c) x(p+t,c) */
    ir_value a = OPERAND(0), x = OPERAND(1), table = OPERAND(2);
    dx[0] = window(graph, IR_OP_sparse_window, x, dy, table);
    dx[1] = window(graph, IR_OP_sparse_window_dx, a, dy, table);
}
