/* Makes equal nodes one: same op, attributes and operands, hence the same values.
 *
 * Inputs, parameters and states have names and never merge; constants, lr and step do. Two random
 * nodes merge only with the same stream, shape and rate, when they would draw the same numbers.
 *
 * requires     nothing
 * establishes  no two nodes compute the same by the same op from the same operands
 * breaks       nothing
 */
#include "pass.h"
#include "pass_rewrite.h"

#include <string.h>

typedef struct cse_table {
    uint32_t *slot; /* id + 1 of a node of `to`, 0: free */
    size_t mask;    /* slots - 1, a power of two minus 1 */
} cse_table;

static uint64_t hash_ints(uint64_t hash, const ir_ints *ints) {
    return ir_hash(hash, ints->item, (size_t)ints->count * sizeof ints->item[0]);
}

static uint64_t hash_attrs(uint64_t hash, const ir_attrs *attrs) {
#define HASH_INT(name) ir_hash(hash, &attrs->name, sizeof attrs->name)
#define HASH_FLOAT(name) HASH_INT(name)
#define HASH_BOOL(name) HASH_INT(name)
#define HASH_TEXT(name) attrs->name ? ir_hash(hash, attrs->name, strlen(attrs->name)) : hash
#define HASH_INTS(name) hash_ints(hash, &attrs->name)
#define ATTR(name, kind) hash = HASH_##kind(name);
#include "attrs.def"
#undef ATTR
    return hash;
}

static bool same_ints(const ir_ints *a, const ir_ints *b) {
    return a->count == b->count &&
           memcmp(a->item, b->item, (size_t)a->count * sizeof a->item[0]) == 0;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Bits of floats are compared: 0 and -0 are different constants, NaN equals itself. */
static bool same_attrs(const ir_attrs *a, const ir_attrs *b) {
#define SAME_INT(name) a->name == b->name
#define SAME_FLOAT(name) memcmp(&a->name, &b->name, sizeof a->name) == 0
#define SAME_BOOL(name) a->name == b->name
#define SAME_TEXT(name) same_text(a->name, b->name)
#define SAME_INTS(name) same_ints(&a->name, &b->name)
#define ATTR(name, kind)                                                                           \
    if (!(SAME_##kind(name))) return false;
#include "attrs.def"
#undef ATTR
    return true;
}

/* a + b and b + a are the same to the last bit. */
static void sort_operands(ir_node *node) {
    if (node->op != IR_OP_add && node->op != IR_OP_mul) return;
    if (node->operand[0].id <= node->operand[1].id) return;
    ir_value first = node->operand[0];
    node->operand[0] = node->operand[1];
    node->operand[1] = first;
}

static bool same_node(ir_node a, ir_node b) {
    if (a.op != b.op || a.operand_count != b.operand_count || !ir_type_equal(a.type, b.type))
        return false;
    sort_operands(&a);
    sort_operands(&b);
    for (int o = 0; o < a.operand_count; o++)
        if (a.operand[o].id != b.operand[o].id) return false;
    return same_attrs(&a.attrs, &b.attrs);
}

static uint64_t hash_node(ir_node node) {
    sort_operands(&node);
    uint64_t hash = ir_hash(IR_HASH_SEED, &node.op, sizeof node.op);
    for (int o = 0; o < node.operand_count; o++)
        hash = ir_hash(hash, &node.operand[o].id, sizeof node.operand[o].id);
    return hash_attrs(hash, &node.attrs);
}

static ir_value rule(ir_graph *to, const ir_node *node, void *context) {
    cse_table *table = context;
    if (pass_is_interface(node)) return IR_NO_VALUE;
    size_t at = hash_node(*node) & table->mask;
    for (; table->slot[at]; at = (at + 1) & table->mask)
        if (same_node(to->nodes[table->slot[at] - 1], *node))
            return (ir_value){table->slot[at] - 1};
    table->slot[at] = (uint32_t)to->count + 1; /* the node is copied there */
    return IR_NO_VALUE;
}

ir_graph *pass_cse(const ir_graph *in, const pass_context *context) {
    (void)context;
    ir_arena *scratch = ir_arena_new();
    size_t slots = 16;
    while (slots < 2 * in->count)
        slots *= 2;
    cse_table table = {.slot = ir_arena_alloc(scratch, slots * sizeof(uint32_t)),
                       .mask = slots - 1};
    ir_graph *graph = pass_rewrite(in, rule, &table);
    ir_arena_free(scratch);
    return graph;
}
