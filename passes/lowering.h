/* Inside lowering: clusters, units and the emission context shared by the tile rules (tile_*.c).
 *
 * A unit is one kernel with its arguments, the step between a cluster and a call in a region. Most
 * clusters give one unit; products give extra ones that pack weights. Units know whether they work
 * sample by sample (their outermost parallel loop is over the batch and everything batched is
 * addressed by it): schedule may run such units depth-first.
 *
 * The emission context holds the kernel being built and the domain: the shape over which it
 * iterates, its dimensions merged into groups, an affine index for each group, and which groups run
 * along the rows and columns of the tile. low_value() gives the tile of a graph value at the
 * current place: computed in registers if the value belongs to the cluster, loaded otherwise.
 */
#ifndef PASS_LOWERING_H
#define PASS_LOWERING_H

#include "kernel_build.h"
#include "lower.h"

typedef struct low_cluster {
    int32_t *member; /* node ids, ascending */
    size_t count, capacity;
    int32_t anchor; /* the node that is no pointwise op and no sum, or -1 */
    bool alive;     /* false once merged into another */
} low_cluster;

typedef enum low_section { LOW_PROLOGUE, LOW_MAIN, LOW_UPDATE } low_section;

typedef struct low_argument {
    int32_t buffer;
    int32_t root;   /* the graph value it stands for, or -1 */
    int64_t offset; /* bytes */
    bool written;
    bool sliced;      /* addressed by the unit's sample loop, one slice per sample */
    bool elementwise; /* read only at the element that is stored at the same place */
} low_argument;

typedef struct low_unit {
    ir_kernel kernel;
    low_argument *arguments; /* one per kernel parameter */
    size_t argument_count;
    low_section section;
    bool sample_local; /* tasks = batch * q, outermost loop over samples */
    bool done;         /* scheduled */
} low_unit;

typedef struct low_pack { /* a weight packed for products or windows, made once per layout */
    int32_t value;        /* root of the weight: read under other shapes, it is another layout */
    int form;             /* enum in tile_matmul.c, tile_window.c */
    int32_t scale;        /* root of the per-sample scale, or -1 */
    int64_t groups;
    int64_t k, cols; /* of one group; taps and channels of a window */
    int64_t panel;   /* columns of a panel, or 0 */
    int32_t buffer;  /* -1 until it is packed */
} low_pack;

/* The statements that hold the tiles of values in the current block of one kernel. Forgetting them
 * all is a new generation. */
typedef struct low_memo {
    int32_t *stmt;         /* per node */
    uint32_t *made;        /* per node: the generation that stmt belongs to */
    uint32_t current;      /* generation */
    struct low_memo *next; /* free: in use by no context */
} low_memo;

typedef struct low_state {
    const ir_graph *graph;
    const pass_lower_options *options;
    const ir_machine *machine;
    ir_arena *scratch; /* dies with the lowering */
    ir_plan *plan;
    bool sample_major; /* products stream their weights per sample (lower.c) */
    int64_t batch;     /* ir_graph_batch: what units that work sample by sample agree on */
    int32_t *root;     /* per node: the node whose buffer it shares (through reshapes) */
    int32_t **users;   /* per root: nodes that read it, ascending */
    size_t *user_count;
    bool *live;          /* per node: an output or update needs it */
    bool *fixed;         /* per node: depends on parameters and constants only */
    bool *result;        /* per root: an output or the value of an update */
    bool *late;          /* per node: an update's value, or made of one: computed last */
    int32_t *cluster_of; /* per node: its cluster, or -1 (sources, reshapes) */
    low_cluster *clusters;
    size_t cluster_count;
    int32_t *place;  /* per cluster: its position in an order in which readers come later */
    int32_t *placed; /* per position: the cluster */
    uint32_t *seen;  /* per cluster: the last search that reached it */
    int32_t *stack;  /* of a search, room for every cluster */
    uint32_t searches;
    low_memo *memos;      /* free ones */
    int32_t *buffer;      /* per root: its plan buffer, or -1 */
    int32_t *weight_copy; /* infer, per param: STATE buffer with its copy, or -1 */
    low_unit *units;
    size_t unit_count, unit_capacity;
    low_pack *packs;
    size_t pack_count, pack_capacity;
} low_state;

typedef struct low_context {
    low_state *low;
    const low_cluster *cluster;
    kb_kernel k;
    low_argument *arguments;
    size_t argument_count, argument_capacity;
    low_memo *memo;
    ir_type domain;
    int groups;
    int group_first[IR_MAX_RANK], group_last[IR_MAX_RANK]; /* dimensions of each group */
    int64_t group_size[IR_MAX_RANK];
    ir_affine index[IR_MAX_RANK]; /* of each group, at the tile's first element */
    int row_group, col_group;     /* -1: the tile has one row */
    ir_extent rows, cols;
    int sample_loop;   /* loop over dimension 0 of the domain, or -1 */
    bool sample_local; /* sample_loop runs over the batch: its slices are those of other units */
    int section;       /* low_section if the caller knows it, or -1 */
    int correction[2]; /* 1 - beta^step of the Adam moments, or 0 before low_prelude */
} low_context;

/* fold_scale.c, split_axes.c: graph to graph, before clusters are made */
ir_graph *low_fold_scale(const ir_graph *graph);
ir_graph *low_split_axes(const ir_graph *graph);

/* lower.c: shared state */
bool low_enabled(const low_state *low, const char *pass);
/* Whether there are samples enough to keep every worker busy with its own. */
bool low_by_sample(const low_state *low);
bool low_is(const low_state *low, int32_t node, unsigned traits);
int32_t low_root(const low_state *low, ir_value value);
/* The buffer of a value as read or written by a unit of this section; made on first use. */
int32_t low_buffer(low_state *low, int32_t root, low_section section);
int32_t low_new_buffer(low_state *low, const char *name, ir_dtype dtype, ir_type type,
                       int64_t elements, ir_buffer_class class);

/* Appends a unit that copies one buffer into another of its size. */
low_unit *low_copy_unit(low_state *low, int32_t src, int32_t dst, low_section section);

/* low_cluster.c */
void low_make_clusters(low_state *low);
/* Whether `from` may be merged into `into` (which feeds it) without making a cycle; merges. */
bool low_try_merge(low_state *low, int32_t into, int32_t from);
bool low_stored(const low_state *low, int32_t node); /* read outside its cluster, or a result */
ir_type low_domain(const low_state *low, const low_cluster *cluster);
#define FUSE(name, doc) void pass_lower_##name(low_state *low);
#define CHOICE(name, doc)
#include "lower_passes.def"
#undef FUSE
#undef CHOICE

/* low_emit.c: contexts and values */
low_context low_begin(low_state *low, const low_cluster *cluster, const char *name);
/* Ends the kernel and appends the unit. */
low_unit *low_finish(low_context *ctx);
/* Sets the groups: one per boundary; `ends` lists each group's last dimension, ascending. */
void low_set_groups(low_context *ctx, ir_type domain, int count, const int *ends);
/* Merges as many dimensions as all `types` allow; split[d] forbids merging d with d + 1. */
void low_collapse(low_context *ctx, ir_type domain, const ir_type *types, size_t count,
                  const bool *split);
typedef struct low_steps {
    int64_t size, step;
} low_steps;

/* Opens a loop over `count` samples; the unit becomes sample-local if they are the batch. */
void low_loop_samples(low_context *ctx, int64_t count);
/* The same over a group, which is all of dimension 0. */
void low_open_samples(low_context *ctx, int group);
/* Whether the schedule runs all tasks of a sample in a row, on one worker: more gain nothing. */
bool low_in_a_row(const low_context *ctx);
/* Where the loops so far give few tasks, cuts `size` into parallel parts of at least `least`, whole
 * units but the last; returns the loop over parts, or -1 if it stays whole. */
enum { LOW_ENOUGH_TASKS = 8, LOW_PARTS = 16 };
int low_open_parts(low_context *ctx, int64_t size, int64_t least, int64_t unit);
/* A loop over `size`, or over the current part of it where there are parts. */
int low_loop_part(low_context *ctx, const char *name, int part, low_steps over);
bool low_batched(const low_state *low, ir_value value); /* dimension 0 is the batch */
int64_t low_stride(const low_context *ctx, ir_type type, int group);
ir_access low_access(const low_context *ctx, ir_type type, int param);
int low_param(low_context *ctx, ir_value value, bool written, bool elementwise);
int low_buffer_param(low_context *ctx, const char *name, int32_t buffer, bool written, bool sliced);
int low_value(low_context *ctx, ir_value value);
int low_value_as(low_context *ctx, ir_value value, ir_type type); /* its shape against the domain */
/* A fold of rows (or columns) of a value counts every one of them, though the value be made of what
 * is the same in all: constants, broadcast operands. */
int low_fold(low_context *ctx, ir_tile_op fold, int value);
void low_bind(low_context *ctx, int32_t node, int stmt); /* the anchor's tile */
void low_forget(low_context *ctx);                       /* a block ended: forget its tiles */
/* Stores a tile, broadcast to (rows, cols). */
void low_store_as(low_context *ctx, ir_access access, ir_extent rows, ir_extent cols, int value);
/* Stores every stored pointwise member and the anchor if stored. */
void low_store_members(low_context *ctx);
/* Column sums of the cluster: begin before the row loop opens its body, add inside, store after. */
typedef struct low_sums {
    int count;
    int32_t node[8];
    int start[8]; /* where a reduction begins: 0, or below everything */
    int carry[8];
} low_sums;
low_sums low_sums_find(const low_context *ctx);
/* Makes the numbers that reductions start from, where the loops that carry them are not yet open.
 */
void low_sums_start(low_context *ctx, low_sums *sums);
void low_sums_begin(low_context *ctx, low_sums *sums, ir_extent cols);
void low_sums_add(low_context *ctx, const low_sums *sums);
void low_sums_store(low_context *ctx, const low_sums *sums);

/* tile_matmul.c: the register tile with the fewest predicted cycles for rows x cols over k */
typedef struct low_tile {
    int64_t rows, cols;
} low_tile;
low_tile low_choose_tile(const ir_machine *m, int64_t rows, int64_t cols, int64_t k);
/* tile_matmul.c: the buffer of what is packed like `key`, -1 if nothing is; valid until the next
 * call */
int32_t *low_find_pack(low_state *low, low_pack key);
/* tile_rows.c: (batch | sites between | last dimension), or (rows | columns) for rank 2 */
void low_row_groups(low_context *ctx, ir_type domain);
/* tile_window.c: the weight (C,1,kh,kw) of a window packed tap-major, (kh kw, C) */
int32_t low_packed_taps(low_state *low, ir_value w);
/* tile_weight_grad.c: the anchor's value = sum of the rows of partial (samples, elements) */
void low_sum_partials(low_state *low, int32_t partial, int32_t anchor);

/* scalar_rules.c: the tile of a pointwise node from the tiles of its operands */
/* Computes what depends on the step alone, once per task, before the serial loops open. */
void low_prelude(low_context *ctx);
int low_scalar_rule(low_context *ctx, const ir_node *node, const int *operand);

/* tile_*.c: one rule per op that is not pointwise */
void low_tile_map(low_state *low, const low_cluster *cluster);
#define LOW_TILE_NONE(name)
#define LOW_TILE_POINTWISE(name)
#define LOW_TILE_REDUCES(name)
#define LOW_TILE_PRODUCT(name) void pass_tile_##name(low_state *low, const low_cluster *cluster);
#define LOW_TILE_WEIGHT_PRODUCT(name) LOW_TILE_PRODUCT(name)
#define LOW_TILE_ROWS(name) LOW_TILE_PRODUCT(name)
#define LOW_TILE_MOVES(name) LOW_TILE_PRODUCT(name)
#define LOW_TILE_RANDOM(name) LOW_TILE_PRODUCT(name)
#define OP(name, kind, operands, attributes, traits, doc) LOW_TILE_##traits(name)
#include "ops.def"
#undef OP

/* update_order.c */
typedef struct low_update_order {
    size_t *unit;
    size_t count, capacity;
} low_update_order;
low_update_order low_order_updates(low_state *low);
/* plan_schedule.c, plan_merge.c, plan_memory.c */
void low_schedule(low_state *low);
/* Renumbers unit_region (per unit: its main region, or -1) along. */
void low_merge_regions(low_state *low, int32_t *unit_region);
void low_plan_memory(low_state *low);

#endif
