/* A loss that is not finite: where it began, and files to look at it again.
 *
 * The forward program is evaluated once more with plain loops in float64, on the weights of before
 * the step; the first op with a value that f32 cannot hold is the one to name. */
#include "train.h"

#include "eval.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double search_limit = 3e10; /* multiply-accumulates; plain loops are slow */

static bool affordable(const ir_graph *graph) {
    double macs = 0;
    int64_t bytes = 0;
    for (size_t i = 0; i < graph->count; i++) {
        macs += (double)ir_node_cost(graph, (ir_value){(uint32_t)i}).macs;
        bytes += 2 * ir_type_bytes(graph->nodes[i].type);
    }
    int64_t room = rt_memory_free();
    return macs < search_limit && (room <= 0 || bytes < room / 2);
}

static double *widen(ir_arena *arena, const void *data, ir_type type) {
    int64_t count = ir_type_elements(type);
    double *wide = ir_arena_alloc(arena, (size_t)count * sizeof *wide);
    for (int64_t i = 0; i < count; i++)
        wide[i] = type.dtype == IR_I64 ? (double)((const int64_t *)data)[i]
                                       : (double)((const float *)data)[i];
    return wide;
}

static const double **sources_of(const cli_training *t, const ir_graph *graph, ir_arena *arena) {
    const double **sources = ir_arena_alloc(arena, (graph->count + 1) * sizeof *sources);
    size_t weight = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op == IR_OP_param)
            sources[i] =
                widen(arena, t->weights + t->step.plan->weights[weight++].offset, node->type);
        else if (node->op == IR_OP_input)
            sources[i] = widen(arena, cli_program_io(&t->step, node->name)->data, node->type);
    }
    return sources;
}

static bool overflows(const double *value, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(value[i]) <= FLT_MAX)) return true;
    return false;
}

/* "parameter 'x'", "input 'image'" or "gelu at net.cnx:12:9, label stages.0.blocks.1". */
static void describe(const ir_node *node, ir_text *out) {
    if (ir_op_get(node->op)->kind == IR_SOURCE) {
        ir_text_printf(out, "%s '%s'", node->op == IR_OP_param ? "parameter" : "input",
                       node->name ? node->name : "");
        return;
    }
    ir_text_printf(out, "%s", ir_op_get(node->op)->name);
    if (node->name) ir_text_printf(out, " '%s'", node->name);
    if (!node->loc.source) return;
    int line, column;
    ir_loc_line(node->loc, &line, &column);
    ir_text_printf(out, " at %s:%d:%d", node->loc.source->file, line, column);
}

static void find_first(cli_training *t, uint64_t step, ir_text *out) {
    ir_graph *graph = t->step.source;
    if (!affordable(graph)) {
        ir_text_printf(out, "not searched, since the model is too large for plain loops");
        return;
    }
    ir_arena *scratch = ir_arena_new();
    const double **sources = sources_of(t, graph, scratch);
    for (size_t i = 0; i < graph->count; i++) /* so that every value is kept */
        ir_add_output(graph, "", (ir_value){(uint32_t)i});
    ir_eval_scalars scalars = {.step = step, .seed = t->seed};
    ir_eval_result *result = ir_eval_graph(graph, sources, &scalars);
    size_t first = graph->count;
    for (size_t i = graph->count; i-- > 0;)
        if (overflows(result->value[i], ir_type_elements(graph->nodes[i].type))) first = i;
    if (first < graph->count)
        describe(&graph->nodes[first], out);
    else
        ir_text_printf(out, "none in float64: a sum of the compiled program overflows in f32");
    ir_eval_free(result);
    ir_arena_free(scratch);
}

static bool write_files(cli_training *t, rt_error *error) {
    const ir_plan *plan = t->step.plan;
    rt_tensor *tensors = ir_arena_alloc(t->c->arena, (plan->weight_count + 8) * sizeof *tensors);
    size_t pairs, inputs = 0;
    rt_pair *metadata = cli_facts_pairs(t->c, &t->facts, &pairs);
    for (size_t i = 0; i < plan->weight_count; i++)
        tensors[i] = cli_weight_tensor(plan, i, t->weights);
    if (!rt_tensors_write(cli_run_file(t, "failed.safetensors"), tensors, plan->weight_count,
                          metadata, pairs, error))
        return false;
    for (size_t i = 0; i < t->step.io_count; i++) {
        const cli_io *io = &t->step.io[i];
        if (!io->output && inputs < 8) tensors[inputs++] = cli_tensor(io->name, io->type, io->data);
    }
    return rt_tensors_write(cli_run_file(t, "failed_inputs.safetensors"), tensors, inputs, NULL, 0,
                            error);
}

int cli_training_failed(cli_training *t, uint64_t step, float loss) {
    cli *c = t->c;
    rt_error error;
    ir_text first = {0};
    find_first(t, step, &first);
    bool written = write_files(t, &error);
    cli_fail(c, CLI_RUN_FAILED,
             "the loss of step %llu (epoch %lld) is %f; first op that is not "
             "finite: %s",
             (unsigned long long)step, (long long)t->at.epoch + 1, (double)loss, first.data);
    ir_text_free(&first);
    if (!written) return cli_fail(c, CLI_RUN_FAILED, "%s", error.text);
    cli_note(c, "weights and images of this step: %s and %s", cli_run_file(t, "failed.safetensors"),
             cli_run_file(t, "failed_inputs.safetensors"));
    return CLI_RUN_FAILED;
}
