/* Lowering, from graph to plan, as one straight list. */
#include "lowering.h"

#include <stdlib.h>
#include <string.h>

static const pass_lower_info lower_passes[] = {
#define FUSE(name, doc) {#name, true, doc},
#define CHOICE(name, doc) {#name, false, doc},
#include "lower_passes.def"
#undef FUSE
#undef CHOICE
};

size_t pass_lower_count(void) {
    return sizeof lower_passes / sizeof *lower_passes;
}

const pass_lower_info *pass_lower_get(size_t index) {
    IR_ASSERT(index < pass_lower_count());
    return &lower_passes[index];
}

const pass_lower_info *pass_lower_find(const char *name) {
    for (size_t i = 0; i < pass_lower_count(); i++)
        if (strcmp(lower_passes[i].name, name) == 0) return &lower_passes[i];
    return NULL;
}

static bool is_listed(const char *const *names, const char *pass) {
    for (; names && *names; names++)
        if (strcmp(*names, pass) == 0) return true;
    return false;
}

static bool enabled(const pass_lower_options *options, const char *pass) {
    return !is_listed(options->disabled, pass);
}

bool low_enabled(const low_state *low, const char *pass) {
    return enabled(low->options, pass);
}

bool low_by_sample(const low_state *low) {
    int64_t workers = low->options->workers;
    return low_enabled(low, "depth_first") && low->batch >= workers &&
           (low->batch % workers == 0 || low->batch >= 4 * workers);
}

/* A training step may take one sample through the whole network and back, so that what the backward
 * pass needs stays near one core and is never held for the whole batch. The price is that every
 * product reads its weights once per sample; paid where they are less than what products write. */
static bool samples_go_alone(const low_state *low) {
    const ir_graph *g = low->graph;
    if (g->kind == IR_KIND_INFER || !low_by_sample(low) || !low_enabled(low, "sample_major"))
        return false;
    int64_t weights = 0, written = 0;
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        if (node->op == IR_OP_param) weights += ir_type_bytes(node->type);
        if (low->live[i] && ir_op_get(node->op)->traits & IR_PRODUCT)
            written += ir_type_bytes(node->type) / low->batch;
    }
    return 2 * weights <= written;
}

static void find_roots_and_users(low_state *low) {
    const ir_graph *g = low->graph;
    low->root = ir_arena_alloc(low->scratch, (g->count + 1) * sizeof(int32_t));
    low->users = ir_arena_alloc(low->scratch, (g->count + 1) * sizeof(int32_t *));
    low->user_count = ir_arena_alloc(low->scratch, (g->count + 1) * sizeof(size_t));
    size_t *room = ir_arena_alloc(low->scratch, (g->count + 1) * sizeof(size_t));
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        low->root[i] = node->op == IR_OP_reshape ? low->root[node->operand[0].id] : (int32_t)i;
        if (node->op == IR_OP_reshape || !low->live[i]) continue;
        for (int o = 0; o < node->operand_count; o++) {
            int32_t root = low->root[node->operand[o].id];
            size_t n = low->user_count[root];
            if (n && low->users[root][n - 1] == (int32_t)i) continue;
            *IR_PUSH(low->scratch, low->users[root], low->user_count[root], room[root]) =
                (int32_t)i;
        }
    }
}

/* What outputs and updates need; folding leaves dead nodes behind. */
static void find_live(low_state *low) {
    const ir_graph *g = low->graph;
    low->live = ir_arena_alloc(low->scratch, g->count + 1);
    for (size_t i = 0; i < g->output_count; i++)
        low->live[g->outputs[i].value.id] = true;
    for (size_t i = 0; i < g->update_count; i++)
        low->live[g->updates[i].value.id] = true;
    for (size_t i = g->count; i-- > 0;)
        for (int o = 0; low->live[i] && o < g->nodes[i].operand_count; o++)
            low->live[g->nodes[i].operand[o].id] = true;
}

static void find_results(low_state *low) {
    const ir_graph *g = low->graph;
    low->result = ir_arena_alloc(low->scratch, g->count + 1);
    low->late = ir_arena_alloc(low->scratch, g->count + 1);
    for (size_t i = 0; i < g->output_count; i++)
        low->result[low->root[g->outputs[i].value.id]] = true;
    for (size_t i = 0; i < g->update_count; i++) {
        int32_t root = low->root[g->updates[i].value.id];
        low->result[root] = true;
        low->late[root] = ir_op_get(g->nodes[root].op)->kind != IR_SOURCE;
    }
    for (size_t i = 0; i < g->count; i++)
        for (int o = 0; o < g->nodes[i].operand_count; o++)
            low->late[i] = low->late[i] || low->late[g->nodes[i].operand[o].id];
}

/* What depends on parameters alone is computed once: but not updates, and no output of an inference
 * program, whose init has no outputs to write to. */
static void find_fixed(low_state *low) {
    const ir_graph *g = low->graph;
    low->fixed = ir_arena_alloc(low->scratch, g->count + 1);
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        bool source = ir_op_get(node->op)->kind == IR_SOURCE;
        bool fixed = source ? node->op == IR_OP_param || node->op == IR_OP_constant : true;
        for (int o = 0; o < node->operand_count; o++)
            fixed = fixed && low->fixed[node->operand[o].id];
        if (!source && low->result[i] && g->kind == IR_KIND_INFER) fixed = false;
        low->fixed[i] = fixed && !low->late[i];
    }
}

int32_t low_new_buffer(low_state *low, const char *name, ir_dtype dtype, ir_type type,
                       int64_t elements, ir_buffer_class class) {
    ir_plan *plan = low->plan;
    ir_buffer *b = IR_PUSH(plan->arena, plan->buffers, plan->buffer_count, plan->buffer_capacity);
    *b = (ir_buffer){.name = name,
                     .dtype = dtype,
                     .type = type,
                     .class = class,
                     .bytes = elements * (int64_t)ir_dtype_size(dtype),
                     .index = -1,
                     .first = -1,
                     .last = -1};
    return (int32_t)plan->buffer_count - 1;
}

static const char *keep_name(low_state *low, const char *name) {
    return ir_arena_strndup(low->plan->arena, name, strlen(name));
}

/* Buffers of everything the caller or the state holds. */
static void make_source_buffers(low_state *low) {
    const ir_graph *g = low->graph;
    ir_plan *plan = low->plan;
    int32_t io = 0, scalars[2] = {-1, -1};
    bool infer = g->kind == IR_KIND_INFER;
    for (size_t i = 0; i < g->count; i++) {
        const ir_node *node = &g->nodes[i];
        int64_t elements = ir_type_elements(node->type);
        if (node->op == IR_OP_input) {
            low->buffer[i] = low_new_buffer(low, keep_name(low, node->name), node->type.dtype,
                                            node->type, elements, IR_BUFFER_INPUT);
            plan->buffers[low->buffer[i]].index = io++;
            plan->buffers[low->buffer[i]].mask = ir_mask_of(g, (ir_value){(uint32_t)i});
        } else if (node->op == IR_OP_param) {
            const char *name = keep_name(low, node->name);
            low->buffer[i] = low_new_buffer(low, name, IR_F32, node->type, elements,
                                            infer ? IR_BUFFER_WEIGHTS : IR_BUFFER_STATE);
            ir_weight *w =
                IR_PUSH(plan->arena, plan->weights, plan->weight_count, plan->weight_capacity);
            *w = (ir_weight){.name = name,
                             .type = node->type,
                             .offset = plan->weights_elements,
                             .buffer = low->buffer[i]};
            plan->buffers[low->buffer[i]].offset = plan->weights_elements * 4;
            plan->weights_elements += elements;
        } else if (node->op == IR_OP_state) {
            low->buffer[i] = low_new_buffer(low, keep_name(low, node->name), IR_F32, node->type,
                                            elements, IR_BUFFER_STATE);
        } else if (node->op == IR_OP_lr || node->op == IR_OP_step) {
            int which = node->op == IR_OP_step;
            if (scalars[which] < 0) {
                ir_type type = ir_type_make(which ? IR_I64 : IR_F32, 1, (int64_t[]){which ? 3 : 6});
                scalars[which] = low_new_buffer(low, which ? "scalars" : "lr", type.dtype, type,
                                                which ? 3 : 6, IR_BUFFER_SCALARS);
            }
            low->buffer[i] = scalars[which];
        }
    }
}

static bool is_computed(const low_state *low, int32_t root) {
    return ir_op_get(low->graph->nodes[root].op)->kind != IR_SOURCE;
}

/* A result computed by a kernel is written straight to where the caller or the state wants it. */
static void make_result_buffers(low_state *low) {
    const ir_graph *g = low->graph;
    int32_t io = 0;
    for (size_t i = 0; i < g->count; i++)
        io += g->nodes[i].op == IR_OP_input;
    for (size_t i = 0; i < g->output_count; i++) {
        int32_t root = low->root[g->outputs[i].value.id];
        ir_type type = ir_type_of(g, g->outputs[i].value);
        int32_t b = low_new_buffer(low, keep_name(low, g->outputs[i].name), type.dtype, type,
                                   ir_type_elements(type), IR_BUFFER_OUTPUT);
        low->plan->buffers[b].index = io++;
        if (low->buffer[root] < 0 && is_computed(low, root)) low->buffer[root] = b;
    }
    for (size_t i = 0; i < g->update_count; i++) {
        int32_t root = low->root[g->updates[i].value.id];
        if (low->buffer[root] < 0 && is_computed(low, root))
            low->buffer[root] = low->buffer[g->updates[i].target.id];
    }
}

enum { COPY_PART = 16384 }; /* elements, at least */

static void fill_unit(low_state *low, int32_t dst, double value, low_section section) {
    ir_buffer *b = &low->plan->buffers[dst];
    int64_t elements = b->bytes / (int64_t)ir_dtype_size(b->dtype);
    int64_t step = 4LL * low->machine->lanes;
    low_context ctx = low_begin(low, NULL, "fill");
    ctx.section = section;
    int to = low_buffer_param(&ctx, "out", dst, true, false);
    int p = low_open_parts(&ctx, elements, COPY_PART, step);
    int j = low_loop_part(&ctx, "j", p, (low_steps){elements, step});
    ir_affine at = kb_plus(kb_plus(kb_affine(0), p, 1), j, 1);
    low_store_as(&ctx, kb_access(to, at, 0, 1), IR_FIXED(1), IR_STEP_OF(j),
                 kb_constant(&ctx.k, value));
    while (ctx.k.depth)
        kb_end(&ctx.k);
    low_finish(&ctx);
}

low_unit *low_copy_unit(low_state *low, int32_t src, int32_t dst, low_section section) {
    ir_buffer *b = &low->plan->buffers[dst];
    int64_t elements = b->bytes / (int64_t)ir_dtype_size(b->dtype);
    int64_t step = 4LL * low->machine->lanes;
    low_context ctx = low_begin(low, NULL, "copy");
    ctx.section = section;
    int p = low_open_parts(&ctx, elements, COPY_PART, step);
    int j = low_loop_part(&ctx, "j", p, (low_steps){elements, step});
    int from = low_buffer_param(&ctx, "in", src, false, false);
    int to = low_buffer_param(&ctx, "out", dst, true, false);
    ir_affine at = kb_plus(kb_plus(kb_affine(0), p, 1), j, 1);
    int v = kb_load(&ctx.k, kb_access(from, at, 0, 1), IR_FIXED(1), IR_STEP_OF(j));
    kb_store(&ctx.k, kb_access(to, at, 0, 1), v);
    while (ctx.k.depth)
        kb_end(&ctx.k);
    return low_finish(&ctx);
}

int32_t low_buffer(low_state *low, int32_t root, low_section section) {
    const ir_node *node = &low->graph->nodes[root];
    if (node->op == IR_OP_param && low->graph->kind == IR_KIND_INFER && section != LOW_PROLOGUE) {
        if (low->weight_copy[root] < 0) {
            low->weight_copy[root] =
                low_new_buffer(low, keep_name(low, node->name), IR_F32, node->type,
                               ir_type_elements(node->type), IR_BUFFER_STATE);
            low_copy_unit(low, low->buffer[root], low->weight_copy[root], LOW_PROLOGUE);
        }
        return low->weight_copy[root];
    }
    if (low->buffer[root] < 0) {
        bool keep = low->fixed[root] && low->graph->kind == IR_KIND_INFER;
        const char *name = ir_arena_printf(low->plan->arena, "v%d", (int)root);
        low->buffer[root] =
            low_new_buffer(low, name, node->type.dtype, node->type, ir_type_elements(node->type),
                           keep ? IR_BUFFER_STATE : IR_BUFFER_ARENA);
        if (node->op == IR_OP_constant)
            fill_unit(low, low->buffer[root], node->attrs.value, keep ? LOW_PROLOGUE : section);
    }
    return low->buffer[root];
}

/* Copies a value to a second place where it is wanted; updates come last. */
static void copy_result(low_state *low, ir_value value, int32_t to, bool update) {
    int32_t root = low->root[value.id], home = low_buffer(low, root, LOW_MAIN);
    if (home == to) return;
    low_unit *unit =
        low_copy_unit(low, home, to, update || low->late[root] ? LOW_UPDATE : LOW_MAIN);
    unit->arguments[0].root = root;
}

/* Outputs and updates whose value is a source, or has its home elsewhere, are copied. */
static void copy_results(low_state *low) {
    const ir_graph *g = low->graph;
    int32_t inputs = 0;
    for (size_t n = 0; n < g->count; n++)
        inputs += g->nodes[n].op == IR_OP_input;
    for (size_t i = 0; i < low->plan->buffer_count; i++) {
        const ir_buffer *b = &low->plan->buffers[i];
        if (b->class != IR_BUFFER_OUTPUT) continue;
        copy_result(low, g->outputs[b->index - inputs].value, (int32_t)i, false);
    }
    for (size_t i = 0; i < g->update_count; i++) {
        ir_update u = g->updates[i];
        copy_result(low, u.value, low->buffer[u.target.id], true);
    }
}

static void tile_cluster(low_state *low, const low_cluster *cluster) {
    if (cluster->anchor < 0) {
        low_tile_map(low, cluster);
        return;
    }
    switch (low->graph->nodes[cluster->anchor].op) {
#define LOW_CASE_NONE(name)
#define LOW_CASE_POINTWISE(name)
#define LOW_CASE_REDUCES(name)
#define LOW_CASE_PRODUCT(name)                                                                     \
    case IR_OP_##name:                                                                             \
        if (IR_OP_##name != IR_OP_reshape) pass_tile_##name(low, cluster);                         \
        break;
#define LOW_CASE_WEIGHT_PRODUCT(name) LOW_CASE_PRODUCT(name)
#define LOW_CASE_ROWS(name) LOW_CASE_PRODUCT(name)
#define LOW_CASE_MOVES(name) LOW_CASE_PRODUCT(name)
#define LOW_CASE_RANDOM(name) LOW_CASE_PRODUCT(name)
#define OP(name, kind, operands, attributes, traits, doc) LOW_CASE_##traits(name)
#include "ops.def"
#undef OP
    default: IR_BUG("no tile rule for %s", ir_op_get(low->graph->nodes[cluster->anchor].op)->name);
    }
}

/* A reshape is a name for the memory of its operand. */
void pass_tile_reshape(low_state *low, const low_cluster *cluster) {
    IR_BUG("reshape %d of %zu nodes has a cluster", (int)cluster->anchor, low->graph->count);
}

/* A cluster whose operands' clusters are being tiled. */
typedef struct low_visit {
    int32_t cluster, member, operand; /* the next operand to look at */
} low_visit;

/* The next cluster that `visit` reads and that is not done, or -1. */
static int32_t next_needed(const low_state *low, low_visit *visit, const uint8_t *done) {
    const low_cluster *c = &low->clusters[visit->cluster];
    for (; (size_t)visit->member < c->count; visit->member++, visit->operand = 0) {
        const ir_node *node = &low->graph->nodes[c->member[visit->member]];
        while (visit->operand < node->operand_count) {
            int32_t id = low->cluster_of[low->root[node->operand[visit->operand++].id]];
            if (id >= 0 && !done[id]) return id;
        }
    }
    return -1;
}

/* Tiles clusters in an order in which every one follows those it reads. */
static void tile_all(low_state *low) {
    uint8_t *done = ir_arena_alloc(low->scratch, low->cluster_count + 1);
    low_visit *stack = ir_arena_alloc(low->scratch, (low->cluster_count + 1) * sizeof *stack);
    for (size_t i = 0; i < low->cluster_count; i++) {
        size_t depth = 0;
        if (!low->clusters[i].alive || done[i]) continue;
        done[i] = 1;
        stack[depth++] = (low_visit){.cluster = (int32_t)i};
        while (depth) {
            int32_t next = next_needed(low, &stack[depth - 1], done);
            if (next >= 0) {
                done[next] = 1;
                stack[depth++] = (low_visit){.cluster = next};
            } else {
                tile_cluster(low, &low->clusters[stack[--depth].cluster]);
            }
        }
    }
}

static void dump(const low_state *low, const char *pass) {
    const char *const *after = low->options->dump_after;
    if (!is_listed(after, pass) && !is_listed(after, "all")) return;
    fprintf(stderr, "clusters after %s\n", pass);
    for (size_t i = 0; i < low->cluster_count; i++) {
        if (!low->clusters[i].alive) continue;
        fprintf(stderr, "  %zu:", i);
        for (size_t m = 0; m < low->clusters[i].count; m++) {
            int32_t node = low->clusters[i].member[m];
            fprintf(stderr, " %%%d %s", (int)node, ir_op_get(low->graph->nodes[node].op)->name);
        }
        fprintf(stderr, "\n");
    }
}

static void fuse(low_state *low) {
#define FUSE(name, doc)                                                                            \
    if (low_enabled(low, #name)) {                                                                 \
        pass_lower_##name(low);                                                                    \
        dump(low, #name);                                                                          \
    }
#define CHOICE(name, doc)
#include "lower_passes.def"
#undef FUSE
#undef CHOICE
}

static ir_plan *lower_graph(const ir_graph *graph, const pass_lower_options *options) {
    low_state low = {.graph = graph, .options = options, .machine = options->machine};
    low.scratch = ir_arena_new();
    low.plan = ir_plan_new(graph->name, graph->kind, options->machine);
    low.plan->batch = low.batch = ir_graph_batch(graph);
    low.plan->workers = options->workers;
    low.buffer = ir_arena_alloc(low.scratch, (graph->count + 1) * sizeof(int32_t));
    low.weight_copy = ir_arena_alloc(low.scratch, (graph->count + 1) * sizeof(int32_t));
    memset(low.buffer, 0xff, (graph->count + 1) * sizeof(int32_t));
    memset(low.weight_copy, 0xff, (graph->count + 1) * sizeof(int32_t));
    find_live(&low);
    low.sample_major = samples_go_alone(&low);
    find_roots_and_users(&low);
    find_results(&low);
    find_fixed(&low);
    make_source_buffers(&low);
    make_result_buffers(&low);
    low_make_clusters(&low);
    fuse(&low);
    tile_all(&low);
    copy_results(&low);
    low_schedule(&low);
    low_plan_memory(&low);
    for (size_t i = 0; i < graph->meta_count; i++) {
        size_t room = low.plan->meta_count;
        ir_meta *m = IR_PUSH(low.plan->arena, low.plan->metas, low.plan->meta_count, room);
        *m =
            (ir_meta){keep_name(&low, graph->metas[i].key), keep_name(&low, graph->metas[i].value)};
    }
    ir_plan *plan = low.plan;
    ir_arena_free(low.scratch);
    return plan;
}

ir_plan *pass_lower(const ir_graph *graph, const pass_lower_options *options) {
    ir_graph *split = low_split_axes(graph);
    ir_graph *ready = split;
    if (enabled(options, "fold_scale")) {
        ready = low_fold_scale(split);
        ir_graph_free(split);
    }
    ir_plan *plan = lower_graph(ready, options);
    ir_graph_free(ready);
    return plan;
}
