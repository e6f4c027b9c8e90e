/* The graph: SSA values with static types, in one flat array, in topological order.
 *
 * A value is the index of the node that computes it; every op has exactly one result. Nodes are
 * appended by ir_build, which checks arity, fills attribute defaults and infers the type through
 * the op's shape hook. Passes never edit in place: they copy into a new graph with a value map.
 *
 * A graph is a program of one kind:
 *   infer   inputs -> outputs (logits)
 *   grad    inputs -> outputs (loss, logits, grad.<parameter> ...); no update
 *   train   inputs -> outputs (loss, logits) and updates of parameters and state
 * Outputs are named. Updates say that after the step `target` (a param or state node) holds
 * `value`; all reads of the target see the old value.
 *
 * Invariants (ir_verify): operands precede their users; types equal what the shape hooks infer;
 * names of inputs, params, states and outputs are unique; every update's types agree; tables come
 * from kept_tiles over a mask of their grid, and tile-sparse operands of one node share a table.
 *
 *     ir_graph *g = ir_graph_new("net", IR_KIND_INFER);
 *     ir_value x = ir_input(g, "image", ir_type_make(IR_F32, 4, (int64_t[]){1, 3, 224, 224}));
 *     ir_value y = ir_build(g, IR_OP_permute, (ir_value[]){x}, 1,
 *                           &(ir_attrs){.order = IR_INTS(0, 2, 3, 1)}, NULL);
 */
#ifndef IR_GRAPH_H
#define IR_GRAPH_H

#include "diag.h"
#include "types.h"

enum { IR_FORMAT_VERSION = 1, IR_MAX_OPERANDS = 6 };

typedef struct ir_ints {
    int32_t count; /* 0: not given */
    int64_t item[IR_MAX_RANK];
} ir_ints;
#define IR_INTS(...)                                                                               \
    ((ir_ints){.count = (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),             \
               .item = {__VA_ARGS__}})

typedef enum ir_attr {
#define ATTR(name, kind) IR_ATTR_##name,
#include "attrs.def"
#undef ATTR
    IR_ATTR_COUNT
} ir_attr;

typedef enum ir_attr_kind {
    IR_ATTR_INT,
    IR_ATTR_FLOAT,
    IR_ATTR_BOOL,
    IR_ATTR_TEXT,
    IR_ATTR_INTS
} ir_attr_kind;

/* One field per attribute; `set` says which were given or filled from defaults. */
typedef struct ir_attrs {
#define IR_FIELD_INT(name) int64_t name;
#define IR_FIELD_FLOAT(name) double name;
#define IR_FIELD_BOOL(name) bool name;
#define IR_FIELD_TEXT(name) const char *name;
#define IR_FIELD_INTS(name) ir_ints name;
#define ATTR(name, kind) IR_FIELD_##kind(name)
#include "attrs.def"
#undef ATTR
#undef IR_FIELD_INT
#undef IR_FIELD_FLOAT
#undef IR_FIELD_BOOL
#undef IR_FIELD_TEXT
#undef IR_FIELD_INTS
    uint64_t set; /* bit IR_ATTR_x: attribute x has a value */
} ir_attrs;
#define IR_SET(name) ((uint64_t)1 << IR_ATTR_##name)

typedef enum ir_op {
#define OP(name, kind, operands, attributes, traits, doc) IR_OP_##name,
#include "ops.def"
#undef OP
    IR_OP_COUNT
} ir_op;

typedef enum ir_op_kind { IR_SOURCE, IR_COMPOSITE, IR_PRIMITIVE } ir_op_kind;
typedef enum ir_trait {
    IR_NONE = 0,
    IR_POINTWISE = 1,
    IR_PRODUCT = 2,
    IR_REDUCES = 4,
    IR_ROWS = 8,
    IR_MOVES = 16,
    IR_RANDOM = 32,
    IR_WEIGHT_PRODUCT = 64
} ir_trait;

typedef struct ir_op_info {
    const char *name; /* "matmul_nt" */
    ir_op_kind kind;
    const char *operands;   /* "x w b?" */
    const char *attributes; /* "eps=1e-6" */
    unsigned traits;        /* ir_trait bits */
    const char *doc;
} ir_op_info;

typedef struct ir_value {
    uint32_t id;
} ir_value; /* index into nodes; IR_NO_VALUE: none */
#define IR_NO_VALUE ((ir_value){UINT32_MAX})
static inline bool ir_some(ir_value value) {
    return value.id != UINT32_MAX;
}

typedef struct ir_node {
    ir_op op;
    ir_type type; /* of the result */
    int32_t operand_count;
    ir_value operand[IR_MAX_OPERANDS];
    ir_attrs attrs;
    const char *name; /* sources: the tensor's name; others: label or NULL */
    ir_loc loc;       /* where the user wrote it, if anywhere */
} ir_node;

typedef enum ir_kind { IR_KIND_INFER, IR_KIND_GRAD, IR_KIND_TRAIN } ir_kind;
extern const char *const ir_kind_names[]; /* "infer", "grad", "train" */

typedef struct ir_output {
    const char *name;
    ir_value value;
} ir_output;
typedef struct ir_update {
    ir_value target;
    ir_value value;
} ir_update;
typedef struct ir_meta {
    const char *key;
    const char *value;
} ir_meta; /* "mean" "0.485 0.456 0.406" */

typedef struct ir_graph {
    ir_arena *arena;  /* owns everything below */
    const char *name; /* identifier: of the model */
    ir_kind kind;
    ir_node *nodes; /* topological order */
    size_t count, capacity;
    ir_output *outputs;
    size_t output_count, output_capacity;
    ir_update *updates;
    size_t update_count, update_capacity;
    ir_meta *metas; /* facts that travel with the model: classes, mean, std, image size */
    size_t meta_count, meta_capacity;
} ir_graph;

const ir_op_info *ir_op_get(ir_op op);
/* Fewest and most operands. */
void ir_op_arity(ir_op op, int *least, int *most);
bool ir_op_find(const char *name, ir_op *op);
const char *ir_attr_name(ir_attr attr);
ir_attr_kind ir_attr_kind_of(ir_attr attr);
bool ir_attr_find(const char *name, ir_attr *attr);
/* Whether `op` takes `attr`; *required and *default_text (NULL if required) say how. */
bool ir_op_takes(ir_op op, ir_attr attr, bool *required, const char **default_text);

ir_graph *ir_graph_new(const char *name, ir_kind kind);
void ir_graph_free(ir_graph *graph);

/* Appends a node. `attrs` may be NULL; attributes count as given when their bit in `set` is on or
 * the field is non-zero. On a wrong shape or attribute records an error in `diag` at `loc` and
 * returns IR_NO_VALUE; with diag NULL (passes), such an error is a compiler bug. */
ir_value ir_build_at(ir_graph *graph, ir_diag *diag, ir_loc loc, ir_op op, const ir_value *operands,
                     int operand_count, const ir_attrs *attrs, const char *name);
ir_value ir_build(ir_graph *graph, ir_op op, const ir_value *operands, int operand_count,
                  const ir_attrs *attrs, const char *name);
/* Appends a source: input or state of this type, or a param with attributes (init, std). */
ir_value ir_source_node(ir_graph *graph, ir_op op, const char *name, ir_type type,
                        const ir_attrs *attrs);
ir_value ir_input(ir_graph *graph, const char *name, ir_type type);
/* Short forms used by expand and gradient rules. */
ir_value ir_unary(ir_graph *graph, ir_op op, ir_value a);
ir_value ir_binary(ir_graph *graph, ir_op op, ir_value a, ir_value b);
ir_value ir_scale(ir_graph *graph, ir_value x, double factor);
ir_value ir_reshape(ir_graph *graph, ir_value x, ir_type shape_of);
ir_value ir_broadcast(ir_graph *graph, ir_value x, ir_type shape_of);
ir_value ir_sum(ir_graph *graph, ir_value x, ir_ints axes, bool keep);
ir_value ir_constant(ir_graph *graph, ir_type type, double value);

void ir_add_output(ir_graph *graph, const char *name, ir_value value);
void ir_add_update(ir_graph *graph, ir_value target, ir_value value);
void ir_set_meta(ir_graph *graph, const char *key, const char *value);
const char *ir_get_meta(const ir_graph *graph, const char *key); /* NULL if absent */
const char *ir_find_meta(const ir_meta *metas, size_t count, const char *key);
/* How many samples a run takes: dimension 0 of the largest input, 1 if there is none. Others may
 * stand among the inputs, so whoever relies on it looks at dimension 0 of what it works on. */
int64_t ir_graph_batch(const ir_graph *graph);

static inline const ir_node *ir_at(const ir_graph *graph, ir_value value) {
    IR_ASSERT(value.id < graph->count);
    return &graph->nodes[value.id];
}
static inline ir_type ir_type_of(const ir_graph *graph, ir_value value) {
    return ir_at(graph, value)->type;
}

/* The table of kept tiles that a tile-sparse value was gathered with; IR_NO_VALUE if it is dense or
 * was made from nothing gathered. */
ir_value ir_sparse_table(const ir_graph *graph, ir_value value);
/* Whether two tables list the same tiles whatever the masks hold. */
bool ir_same_table(const ir_graph *graph, ir_value a, ir_value b);

/* What an input holds that lists the kept tiles of every sample: rows of `tiles` numbers, `kept` of
 * them 0, the others 1; or, if `drawn`, negative all over, which asks for random ones. */
typedef struct ir_mask {
    int64_t tiles, kept; /* 0: the input is no mask */
    bool drawn;
} ir_mask;
ir_mask ir_mask_of(const ir_graph *graph, ir_value input);

/* Copies the texts among the attributes into the graph's arena. */
void ir_keep_texts(ir_graph *graph, ir_attrs *attrs);

/* Appends a copy of a node whose operands are values of `to`. */
ir_value ir_append(ir_graph *to, const ir_node *node);
/* Copies one node of `from` into `to` with operands mapped through `map` (indexed by old id). */
ir_value ir_copy_node(ir_graph *to, const ir_graph *from, ir_value value, const ir_value *map);
/* Copies the metas. */
void ir_copy_header(ir_graph *to, const ir_graph *from);
/* Copies outputs and updates mapped through `map`. */
void ir_copy_results(ir_graph *to, const ir_graph *from, const ir_value *map);

/* Text form: prints deterministically and parses back to the identical text (text_print.c,
 * text_parse.c). */
void ir_graph_print(const ir_graph *graph, ir_text *out);
ir_graph *ir_graph_parse(const ir_source *source, ir_diag *diag); /* NULL after an error */
/* Checks every invariant; reports into diag (a user's .cnxir) or returns false. */
bool ir_verify(const ir_graph *graph, ir_diag *diag);

/* Multiply-accumulates (of products and windows, 0 of others) and bytes touched by one node. */
typedef struct ir_cost {
    int64_t macs;
    int64_t bytes;
} ir_cost;
ir_cost ir_node_cost(const ir_graph *graph, ir_value value);

#endif
