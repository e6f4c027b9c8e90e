/* cnxc inspect: what a model is made of, read off its graph before any pass. */
#include "program.h"

#include <string.h>

typedef struct layer {
    const char *name; /* of its parameters, without the last part */
    const char *op;
    ir_type type; /* of the result, batch included */
    int64_t parameters;
    int64_t macs;  /* one image */
    int64_t bytes; /* of the result, one image */
} layer;

typedef struct summary {
    layer *layers;
    size_t count, capacity;
    int64_t parameters, macs;
    int64_t batch;
} summary;

/* The parameter behind an operand, through reshapes and permutes; NULL if there is none. */
static const ir_node *parameter_of(const ir_graph *graph, ir_value value) {
    const ir_node *node = ir_at(graph, value);
    while (node->op == IR_OP_reshape || node->op == IR_OP_permute)
        node = ir_at(graph, node->operand[0]);
    return node->op == IR_OP_param ? node : NULL;
}

/* "stages.0.blocks.1.conv_dw.weight" belongs to layer "stages.0.blocks.1.conv_dw". */
static const char *layer_name(ir_arena *arena, const char *parameter) {
    const char *dot = strrchr(parameter, '.');
    return dot ? ir_arena_strndup(arena, parameter, (size_t)(dot - parameter)) : parameter;
}

static void add_layer(cli *c, const ir_graph *graph, size_t id, bool *counted, summary *sum) {
    const ir_node *node = &graph->nodes[id];
    layer found = {.op = ir_op_get(node->op)->name, .type = node->type};
    for (int o = 0; o < node->operand_count; o++) {
        const ir_node *parameter = parameter_of(graph, node->operand[o]);
        if (!parameter) continue;
        if (!found.name) found.name = layer_name(c->arena, parameter->name);
        size_t place = (size_t)(parameter - graph->nodes);
        if (!counted[place]) found.parameters += ir_type_elements(parameter->type);
        counted[place] = true;
    }
    found.macs = ir_node_cost(graph, (ir_value){(uint32_t)id}).macs / sum->batch;
    found.bytes = ir_type_bytes(node->type) / sum->batch;
    sum->macs += found.macs;
    if (!found.name && !found.macs) return;
    *IR_PUSH(c->arena, sum->layers, sum->count, sum->capacity) = found;
}

static bool moves_parameter(const ir_graph *graph, const ir_node *node) {
    return (node->op == IR_OP_reshape || node->op == IR_OP_permute) &&
           parameter_of(graph, node->operand[0]);
}

static summary summarize(cli *c, const ir_graph *graph, int64_t batch) {
    summary sum = {.batch = batch};
    bool *counted = ir_arena_alloc(c->arena, graph->count + 1);
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op == IR_OP_param && node->attrs.trained)
            sum.parameters += ir_type_elements(node->type);
        if (ir_op_get(node->op)->kind == IR_SOURCE || moves_parameter(graph, node)) continue;
        add_layer(c, graph, i, counted, &sum);
    }
    return sum;
}

static void print_json(const ir_graph *graph, const summary *sum, ir_text *out) {
    cli_json j = {0};
    cli_json_begin(&j, NULL, '{');
    cli_json_string(&j, "model", graph->name);
    cli_json_whole(&j, "parameters", sum->parameters);
    cli_json_whole(&j, "macs", sum->macs);
    cli_json_whole(&j, "batch", sum->batch);
    cli_json_begin(&j, "layers", '[');
    for (size_t i = 0; i < sum->count; i++) {
        const layer *l = &sum->layers[i];
        cli_json_begin(&j, NULL, '{');
        cli_json_string(&j, "name", l->name);
        cli_json_string(&j, "op", l->op);
        cli_json_begin(&j, "shape", '[');
        for (int d = 0; d < l->type.rank; d++)
            cli_json_whole(&j, NULL, l->type.dim[d]);
        cli_json_end(&j);
        cli_json_whole(&j, "parameters", l->parameters);
        cli_json_whole(&j, "macs", l->macs);
        cli_json_whole(&j, "bytes", l->bytes);
        cli_json_end(&j);
    }
    cli_json_end(&j);
    cli_json_end(&j);
    ir_text_printf(out, "%s\n", j.text.data);
    ir_text_free(&j.text);
}

static void print_table(const ir_graph *graph, const summary *sum, ir_text *out) {
    ir_text_printf(out, "%-32s %-15s %-24s %12s %14s %12s\n", "layer", "op", "result", "parameters",
                   "macs", "bytes");
    for (size_t i = 0; i < sum->count; i++) {
        const layer *l = &sum->layers[i];
        ir_text type = {0};
        ir_type_print(&type, l->type);
        ir_text_printf(out, "%-32s %-15s %-24s %12lld %14lld %12lld\n", l->name ? l->name : "-",
                       l->op, type.data, (long long)l->parameters, (long long)l->macs,
                       (long long)l->bytes);
        ir_text_free(&type);
    }
    ir_text_printf(out, "%s: %lld parameters, %lld multiply-accumulates an image\n", graph->name,
                   (long long)sum->parameters, (long long)sum->macs);
}

int cli_inspect(cli *c) {
    cli_program program = {0};
    cli_want want = {.kind = IR_KIND_INFER, .any_kind = true, .batch = 1, .source_only = true};
    int code = cli_program_graph(c, &want, &program);
    if (code == CLI_DONE) {
        ir_text out = {0};
        summary sum = summarize(c, program.graph, program.batch);
        if (c->options->json)
            print_json(program.graph, &sum, &out);
        else
            print_table(program.graph, &sum, &out);
        code = cli_write_text(c, NULL, &out);
        ir_text_free(&out);
    }
    cli_program_free(&program);
    return code;
}
