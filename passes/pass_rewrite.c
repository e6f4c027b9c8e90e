#include "pass_rewrite.h"

#include <string.h>

bool pass_is_interface(const ir_node *node) {
    return node->op == IR_OP_input || node->op == IR_OP_param || node->op == IR_OP_state;
}

bool *pass_needed(const ir_graph *graph, ir_arena *arena) {
    bool *needed = ir_arena_alloc(arena, (graph->count + 1) * sizeof *needed);
    for (size_t i = 0; i < graph->output_count; i++)
        needed[graph->outputs[i].value.id] = true;
    for (size_t i = 0; i < graph->update_count; i++)
        needed[graph->updates[i].value.id] = true;
    for (size_t i = graph->count; i-- > 0;) {
        const ir_node *node = &graph->nodes[i];
        needed[i] = needed[i] || pass_is_interface(node);
        for (int o = 0; needed[i] && o < node->operand_count; o++)
            needed[node->operand[o].id] = true;
    }
    return needed;
}

static const char *keep(ir_graph *graph, const char *text) {
    return text ? ir_arena_strndup(graph->arena, text, strlen(text)) : NULL;
}

/* New nodes come from where the old one came from. */
static void inherit(ir_graph *to, size_t first, const ir_node *node, ir_value result) {
    for (size_t i = first; i < to->count; i++)
        if (!to->nodes[i].loc.source) to->nodes[i].loc = node->loc;
    if (result.id < first || !node->name) return;
    ir_node *new = &to->nodes[result.id];
    if (!new->name && ir_op_get(new->op)->kind != IR_SOURCE) new->name = keep(to, node->name);
}

static ir_graph *rewrite(const ir_graph *from, pass_rule *rule, void *context, size_t *fired) {
    ir_arena *scratch = ir_arena_new();
    ir_graph *to = ir_graph_new(from->name, from->kind);
    ir_copy_header(to, from);
    const bool *needed = pass_needed(from, scratch);
    ir_value *map = ir_arena_alloc(scratch, (from->count + 1) * sizeof *map);
    for (size_t i = 0; i < from->count; i++) {
        if (!needed[i]) continue;
        ir_node node = from->nodes[i];
        for (int o = 0; o < node.operand_count; o++)
            node.operand[o] = map[node.operand[o].id];
        size_t first = to->count;
        map[i] = rule(to, &node, context);
        if (ir_some(map[i])) {
            inherit(to, first, &node, map[i]);
            ++*fired;
        } else {
            IR_ASSERT(to->count == first);
            map[i] = ir_append(to, &node);
        }
    }
    ir_copy_results(to, from, map);
    ir_arena_free(scratch);
    return to;
}

ir_graph *pass_rewrite(const ir_graph *from, pass_rule *rule, void *context) {
    size_t fired = 0;
    return rewrite(from, rule, context, &fired);
}

ir_graph *pass_rewrite_stable(const ir_graph *from, pass_rule *rule, void *context, int rounds) {
    size_t fired = 0;
    ir_graph *graph = rewrite(from, rule, context, &fired);
    while (fired && --rounds > 0) {
        fired = 0;
        ir_graph *next = rewrite(graph, rule, context, &fired);
        ir_graph_free(graph);
        graph = next;
    }
    return graph;
}
