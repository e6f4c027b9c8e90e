/* Clusters and the fusion rules that grow them.
 *
 * requires     root, users, result of the low_state
 * establishes  every node that computes something is in exactly one cluster, made of parameters
 *              alone as a whole or not at all; the graph of clusters has no cycle
 */
#include "lowering.h"

#include <stdlib.h>
#include <string.h>

bool low_is(const low_state *low, int32_t node, unsigned traits) {
    return (ir_op_get(low->graph->nodes[node].op)->traits & traits) != 0;
}

int32_t low_root(const low_state *low, ir_value value) {
    return low->root[value.id];
}

static bool computes(const ir_node *node) {
    return ir_op_get(node->op)->kind != IR_SOURCE && node->op != IR_OP_reshape;
}

void low_make_clusters(low_state *low) {
    const ir_graph *graph = low->graph;
    low->clusters = ir_arena_alloc(low->scratch, (graph->count + 1) * sizeof *low->clusters);
    low->cluster_of = ir_arena_alloc(low->scratch, (graph->count + 1) * sizeof(int32_t));
    for (size_t i = 0; i < graph->count; i++) {
        low->cluster_of[i] = -1;
        if (!low->live[i] || !computes(&graph->nodes[i])) continue;
        low_cluster *c = &low->clusters[low->cluster_count];
        *IR_PUSH(low->scratch, c->member, c->count, c->capacity) = (int32_t)i;
        c->alive = true;
        c->anchor = low_is(low, (int32_t)i, IR_POINTWISE | IR_REDUCES) ? -1 : (int32_t)i;
        low->cluster_of[i] = (int32_t)low->cluster_count++;
    }
    size_t room = low->cluster_count + 1;
    low->place = ir_arena_alloc(low->scratch, room * sizeof *low->place);
    low->placed = ir_arena_alloc(low->scratch, room * sizeof *low->placed);
    low->seen = ir_arena_alloc(low->scratch, room * sizeof *low->seen);
    low->stack = ir_arena_alloc(low->scratch, room * sizeof *low->stack);
    for (size_t i = 0; i < low->cluster_count; i++)
        low->place[i] = low->placed[i] = (int32_t)i;
}

/* ---- cycles ---- */

/* A path between clusters leads through later and later positions, so a search for one that ends
 * at `from` leaves out everything behind `from`. */
static bool would_cycle(low_state *low, int32_t into, int32_t from) {
    size_t depth = 0;
    IR_ASSERT(low->place[into] < low->place[from]);
    low->searches++;
    low->seen[into] = low->searches;
    low->stack[depth++] = into;
    while (depth) {
        int32_t at = low->stack[--depth];
        const low_cluster *c = &low->clusters[at];
        for (size_t i = 0; i < c->count; i++) {
            int32_t node = c->member[i];
            for (size_t u = 0; u < low->user_count[node]; u++) {
                int32_t next = low->cluster_of[low->users[node][u]];
                if (next == from && at != into) return true;
                if (next < 0 || low->seen[next] == low->searches) continue;
                if (low->place[next] >= low->place[from]) continue;
                low->seen[next] = low->searches;
                low->stack[depth++] = next; /* the farthest is looked at first */
            }
        }
    }
    return false;
}

/* `from` has joined `into`; the last search found all that depends on `into` and stands before
 * `from`: it now follows both. */
static void keep_order(low_state *low, int32_t into, int32_t from) {
    int32_t first = low->place[into], last = low->place[from], at = first;
    size_t later = 0;
    for (int32_t p = first + 1; p < last; p++) {
        int32_t c = low->placed[p];
        if (low->seen[c] == low->searches)
            low->stack[later++] = c;
        else
            low->placed[at++] = c;
    }
    low->placed[at++] = into;
    for (size_t i = 0; i < later; i++)
        low->placed[at++] = low->stack[i];
    low->placed[at] = from;
    for (int32_t p = first; p <= last; p++)
        low->place[low->placed[p]] = p;
}

/* ---- merging ---- */

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static bool has_late(const low_state *low, const low_cluster *c) {
    for (size_t i = 0; i < c->count; i++)
        if (low->late[c->member[i]]) return true;
    return false;
}

/* A member that a kernel of the main part waits for. */
static bool is_awaited(const low_state *low, const low_cluster *c, int32_t into, int32_t from) {
    for (size_t i = 0; i < c->count; i++) {
        int32_t node = c->member[i];
        for (size_t u = 0; u < low->user_count[node]; u++) {
            int32_t user = low->users[node][u], where = low->cluster_of[user];
            if (where != into && where != from && !low->late[user]) return true;
        }
    }
    return false;
}

/* A kernel that updates runs last, hence computes nothing that others wait for. */
static bool would_delay(const low_state *low, int32_t into, int32_t from) {
    const low_cluster *a = &low->clusters[into], *b = &low->clusters[from];
    if (!has_late(low, a) && !has_late(low, b)) return false;
    return is_awaited(low, a, into, from) || is_awaited(low, b, into, from);
}

/* A member of the one reads a member of the other under another shape: through memory, hence after
 * it. */
static bool reads_reshaped(const low_state *low, const low_cluster *reader, int32_t source) {
    for (size_t i = 0; i < reader->count; i++) {
        const ir_node *node = &low->graph->nodes[reader->member[i]];
        for (int o = 0; o < node->operand_count; o++) {
            int32_t root = low_root(low, node->operand[o]);
            if (root == (int32_t)node->operand[o].id || low->cluster_of[root] != source) continue;
            if (!ir_type_same_shape(ir_type_of(low->graph, node->operand[o]),
                                    low->graph->nodes[root].type))
                return true;
        }
    }
    return false;
}

bool low_try_merge(low_state *low, int32_t into, int32_t from) {
    low_cluster *a = &low->clusters[into], *b = &low->clusters[from];
    if (into == from || (a->anchor >= 0 && b->anchor >= 0)) return false;
    if (low->fixed[a->member[0]] != low->fixed[b->member[0]]) return false;
    if (reads_reshaped(low, a, from) || reads_reshaped(low, b, into)) return false;
    if (would_delay(low, into, from) || would_cycle(low, into, from)) return false;
    for (size_t i = 0; i < b->count; i++) {
        *IR_PUSH(low->scratch, a->member, a->count, a->capacity) = b->member[i];
        low->cluster_of[b->member[i]] = into;
    }
    qsort(a->member, a->count, sizeof *a->member, ascending);
    if (b->anchor >= 0) a->anchor = b->anchor;
    b->alive = false;
    keep_order(low, into, from);
    return true;
}

bool low_stored(const low_state *low, int32_t node) {
    if (low->result[node]) return true;
    for (size_t u = 0; u < low->user_count[node]; u++)
        if (low->cluster_of[low->users[node][u]] != low->cluster_of[node]) return true;
    return false;
}

ir_type low_domain(const low_state *low, const low_cluster *cluster) {
    const ir_graph *graph = low->graph;
    if (cluster->anchor >= 0) return graph->nodes[cluster->anchor].type;
    for (size_t i = 0; i < cluster->count; i++) {
        const ir_node *node = &graph->nodes[cluster->member[i]];
        if (low_is(low, cluster->member[i], IR_REDUCES)) return ir_type_of(graph, node->operand[0]);
    }
    return graph->nodes[cluster->member[0]].type;
}

/* The anchor's whole result tile exists at once, with the columns of its last dimension. */
static bool takes_epilogue(const low_state *low, const low_cluster *cluster) {
    if (cluster->anchor < 0) return false;
    const ir_node *node = &low->graph->nodes[cluster->anchor];
    if (low_is(low, cluster->anchor, IR_PRODUCT)) return true;
    return low_is(low, cluster->anchor, IR_ROWS) &&
           ir_type_same_shape(node->type, ir_type_of(low->graph, node->operand[0]));
}

static bool lone_pointwise(const low_state *low, int32_t node) {
    int32_t c = low->cluster_of[node];
    return c >= 0 && low->clusters[c].count == 1 && low_is(low, node, IR_POINTWISE);
}

/* An anchor's tile runs over sites of a sample and columns: an operand changes from site to site as
 * a whole, or not at all. */
static bool fits_anchor(const low_state *low, ir_type domain, const ir_node *user) {
    for (int o = 0; o < user->operand_count; o++) {
        ir_type type = ir_type_of(low->graph, user->operand[o]);
        bool changes = false, stays = false;
        for (int d = 1; d < domain.rank - 1; d++) {
            int own = d - (domain.rank - type.rank);
            if (domain.dim[d] == 1) continue;
            if (own >= 0 && type.dim[own] != 1)
                changes = true;
            else
                stays = true;
        }
        if (changes && stays) return false;
    }
    return true;
}

/* Merges lone pointwise users of the cluster's members into it, as long as any can be. */
static void absorb_users(low_state *low, int32_t id) {
    low_cluster *c = &low->clusters[id];
    ir_type domain = low_domain(low, c);
    for (size_t i = 0; i < c->count; i++) {
        int32_t node = c->member[i];
        if (low_is(low, node, IR_REDUCES)) continue;
        for (size_t u = 0; u < low->user_count[node]; u++) {
            int32_t user = low->users[node][u];
            if (!lone_pointwise(low, user)) continue;
            if (!ir_type_same_shape(low->graph->nodes[user].type, domain)) continue;
            if (c->anchor >= 0 && !fits_anchor(low, domain, &low->graph->nodes[user])) continue;
            if (low_try_merge(low, id, low->cluster_of[user])) i = (size_t)-1;
            if (i == (size_t)-1) break;
        }
    }
}

void pass_lower_fuse_epilogue(low_state *low) {
    for (size_t c = low->cluster_count; c-- > 0;)
        if (low->clusters[c].alive && takes_epilogue(low, &low->clusters[c]))
            absorb_users(low, (int32_t)c);
}

void pass_lower_fuse_pointwise(low_state *low) {
    for (size_t c = 0; c < low->cluster_count; c++) {
        low_cluster *cluster = &low->clusters[c];
        if (cluster->alive && cluster->anchor < 0 && low_is(low, cluster->member[0], IR_POINTWISE))
            absorb_users(low, (int32_t)c);
    }
}

/* Sums a product's kernel can carry along its row loop: over the dimensions its rows run over. */
static bool sums_rows_of_anchor(const low_state *low, const low_cluster *cluster,
                                const ir_node *sum) {
    if (!low_is(low, cluster->anchor, IR_PRODUCT)) return false;
    ir_type domain = low_domain(low, cluster);
    const ir_ints *axes = &sum->attrs.axes;
    if (domain.rank < 3) return false; /* rows are samples, which may go alone */
    int first = 1, last = domain.rank - 2;
    if (axes->count != last - first + 1) return false;
    for (int i = 0; i < axes->count; i++)
        if (axes->item[i] != first + i) return false;
    return true;
}

/* A map kernel carries sums of one set of axes. */
static bool sums_like_others(const low_state *low, const low_cluster *cluster, const ir_node *sum) {
    for (size_t i = 0; i < cluster->count; i++) {
        const ir_node *node = &low->graph->nodes[cluster->member[i]];
        if (!low_is(low, cluster->member[i], IR_REDUCES)) continue;
        if (memcmp(&node->attrs.axes, &sum->attrs.axes, sizeof sum->attrs.axes) != 0) return false;
    }
    return true;
}

static int sums_in(const low_state *low, const low_cluster *cluster) {
    int count = 0;
    for (size_t i = 0; i < cluster->count; i++)
        count += low_is(low, cluster->member[i], IR_REDUCES);
    return count;
}

void pass_lower_fuse_sums(low_state *low) {
    const ir_graph *graph = low->graph;
    for (size_t i = 0; i < graph->count; i++) {
        if (!low->live[i] || !low_is(low, (int32_t)i, IR_REDUCES)) continue;
        const ir_node *sum = &graph->nodes[i];
        /* What one sample goes on with must not wait for a sum over all of them; and no result may
         * depend on how many workers there are. */
        if (sum->attrs.axes.item[0] == 0 && low_batched(low, sum->operand[0])) continue;
        int32_t from = low->cluster_of[i];
        int32_t source = low_root(low, sum->operand[0]);
        int32_t into = low->cluster_of[source];
        if (into < 0 || source != (int32_t)sum->operand[0].id || low->clusters[from].count != 1)
            continue;
        const low_cluster *c = &low->clusters[into];
        if (low_is(low, source, IR_REDUCES) || sums_in(low, c) >= 4) continue;
        if (!ir_type_same_shape(low_domain(low, c), graph->nodes[source].type)) continue;
        bool fits =
            c->anchor >= 0 ? sums_rows_of_anchor(low, c, sum) : sums_like_others(low, c, sum);
        if (fits) low_try_merge(low, into, from);
    }
}

/* A chain of cheap pointwise nodes that only one weight gradient reads, column by column. */
static bool cheap_operand(const low_state *low, const low_cluster *c, int32_t reader) {
    if (c->anchor >= 0 || c->count > 3) return false;
    for (size_t i = 0; i < c->count; i++) {
        int32_t node = c->member[i];
        if (!low_is(low, node, IR_POINTWISE) || low->result[node]) return false;
        ir_op op = low->graph->nodes[node].op;
        if (!fits_anchor(low, low->graph->nodes[node].type, &low->graph->nodes[node])) return false;
        if (op != IR_OP_add && op != IR_OP_mul && op != IR_OP_scale) return false;
        for (size_t u = 0; u < low->user_count[node]; u++) {
            int32_t user = low->users[node][u];
            if (user != reader && low->cluster_of[user] != low->cluster_of[node]) return false;
        }
    }
    return true;
}

void pass_lower_fuse_operand(low_state *low) {
    for (size_t i = 0; i < low->cluster_count; i++) {
        low_cluster *c = &low->clusters[i];
        if (!c->alive || c->anchor < 0 || low->graph->nodes[c->anchor].op != IR_OP_matmul_tn)
            continue;
        const ir_node *node = &low->graph->nodes[c->anchor];
        int32_t x = low_root(low, node->operand[1]);
        int32_t feeds = low->cluster_of[x];
        bool same_shape =
            ir_type_same_shape(low->graph->nodes[x].type, ir_type_of(low->graph, node->operand[1]));
        int32_t dy = low_root(low, node->operand[0]);
        /* The other operand is read from memory: the kernel must not be what writes it. */
        if (feeds < 0 || !same_shape || low->cluster_of[dy] == feeds) continue;
        if (cheap_operand(low, &low->clusters[feeds], c->anchor))
            low_try_merge(low, feeds, (int32_t)i);
    }
}
