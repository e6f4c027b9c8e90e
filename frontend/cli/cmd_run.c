/* cnxc run: one pass over given tensors, so that anyone can compare a program with another
 * framework, tensor by tensor. The program is inference, with --train loss and gradients, with
 * --update a whole training step; --reference evaluates its graph with plain loops in float64
 * instead. */
#include "eval.h"
#include "program.h"
#include "weights.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    cli *c;
    cli_program program;
    rt_tensors *inputs; /* the file */
    cli_weights weights;
    rt_tensor *results; /* what the output file gets */
    size_t result_count;
} run;

static const char *shape_text(cli *c, ir_type type) {
    char text[128];
    rt_tensor t = cli_tensor("", type, NULL);
    return ir_arena_printf(c->arena, "%s", rt_tensor_shape(&t, text, sizeof text));
}

/* --- inputs --- */

/* The batch is the inputs' first dimension: all agree, or it is the user's mistake. */
static int find_batch(run *r, int64_t *batch) {
    cli *c = r->c;
    const rt_tensor *first = NULL;
    for (size_t i = 0; i < rt_tensors_count(r->inputs); i++) {
        const rt_tensor *t = rt_tensors_at(r->inputs, i);
        if (t->rank == 0 || t->dim[0] < 1)
            return cli_fail(c, CLI_USER_ERROR, "%s: '%s' has no first dimension to be the batch",
                            c->options->inputs, t->name);
        if (first && t->dim[0] != first->dim[0])
            return cli_fail(c, CLI_USER_ERROR, "%s: '%s' holds %lld samples, but '%s' holds %lld",
                            c->options->inputs, t->name, (long long)t->dim[0], first->name,
                            (long long)first->dim[0]);
        if (!first) first = t;
    }
    if (!first)
        return cli_fail(c, CLI_USER_ERROR, "%s: no tensors; expected the inputs of the model",
                        c->options->inputs);
    if (first->dim[0] > INT32_MAX)
        return cli_fail(c, CLI_USER_ERROR, "%s: a batch of %lld is too large", c->options->inputs,
                        (long long)first->dim[0]);
    *batch = first->dim[0];
    return CLI_DONE;
}

static const ir_node *input_named(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].op == IR_OP_input && strcmp(graph->nodes[i].name, name) == 0)
            return &graph->nodes[i];
    return NULL;
}

/* A label is of no use to inference, but inputs for both kinds of run come as one file. */
static int check_extra(run *r) {
    const ir_graph *graph = r->program.graph;
    const char *names[16];
    size_t count = 0;
    for (size_t i = 0; i < graph->count && count < 16; i++)
        if (graph->nodes[i].op == IR_OP_input) names[count++] = graph->nodes[i].name;
    for (size_t i = 0; i < rt_tensors_count(r->inputs); i++) {
        const char *name = rt_tensors_at(r->inputs, i)->name;
        bool label = graph->kind == IR_KIND_INFER && strcmp(name, "label") == 0;
        if (label || input_named(graph, name)) continue;
        const char *near = ir_nearest(name, names, count);
        ir_error(r->c->diag, (ir_loc){0}, "%s: '%s' is no input of '%s'", r->c->options->inputs,
                 name, graph->name);
        if (near) ir_hint(r->c->diag, "did you mean '%s'?", near);
    }
    return r->c->diag->errors ? cli_fail_diag(r->c) : CLI_DONE;
}

static int check_labels(run *r, const char *name, const int64_t *label, int64_t count) {
    int64_t classes = ir_plan_classes(r->program.plan);
    for (int64_t i = 0; classes && i < count; i++)
        if (label[i] < 0 || label[i] >= classes)
            return cli_fail(r->c, CLI_USER_ERROR,
                            "%s: '%s' [%lld] is %lld, expected a class from 0 to %lld",
                            r->c->options->inputs, name, (long long)i, (long long)label[i],
                            (long long)classes - 1);
    return CLI_DONE;
}

/* --- masks of an autoencoder --- */

/* A row is all -1, if it may be drawn, or 0 at exactly as many patches as the program keeps, else
 * 1. */
static int check_mask(run *r, const ir_node *node, ir_mask wanted, const float *mask) {
    int64_t patches = wanted.tiles, kept = wanted.kept;
    for (int64_t n = 0; n < ir_type_elements(node->type) / patches; n++) {
        int64_t drawn = 0, visible = 0;
        for (int64_t l = 0; l < patches; l++) {
            float value = mask[n * patches + l];
            drawn += value == -1;
            visible += value == 0;
            if (value != 0 && value != 1 && !(value == -1 && wanted.drawn))
                return cli_fail(
                    r->c, CLI_USER_ERROR, "%s: '%s' [%lld, %lld] is %g, expected 0 (kept)%s",
                    r->c->options->inputs, node->name, (long long)n, (long long)l, (double)value,
                    wanted.drawn ? ", 1 (removed), or -1 in the whole row (drawn)"
                                 : " or 1 (removed)");
        }
        if (drawn == patches || (drawn == 0 && visible == kept)) continue;
        if (drawn > 0)
            return cli_fail(r->c, CLI_USER_ERROR,
                            "%s: '%s' row %lld is -1 at %lld of %lld patches, expected all of "
                            "them (drawn) or none",
                            r->c->options->inputs, node->name, (long long)n, (long long)drawn,
                            (long long)patches);
        return cli_fail(r->c, CLI_USER_ERROR,
                        "%s: '%s' row %lld keeps %lld of %lld patches, expected %lld",
                        r->c->options->inputs, node->name, (long long)n, (long long)visible,
                        (long long)patches, (long long)kept);
    }
    return CLI_DONE;
}

/* Copies one input, in the element type of the program, into `data`. */
static int read_input(run *r, const ir_node *node, void *data) {
    cli *c = r->c;
    const rt_tensor *have = rt_tensors_find(r->inputs, node->name);
    ir_mask mask = ir_plan_mask(r->program.plan, node->name);
    if (!have && mask.drawn) {
        cli_program_ask(&(cli_io){.type = node->type, .data = data});
        return CLI_DONE;
    }
    rt_tensor want = cli_tensor(node->name, node->type, NULL);
    const char *expected = shape_text(c, node->type);
    if (!have)
        return cli_fail(c, CLI_USER_ERROR, "%s: input '%s' %s is missing", c->options->inputs,
                        node->name, expected);
    bool same = have->rank == want.rank;
    for (int d = 0; same && d < want.rank; d++)
        same = have->dim[d] == want.dim[d];
    char found[128];
    if (!same)
        return cli_fail(c, CLI_USER_ERROR, "%s: input '%s' has shape %s, expected %s",
                        c->options->inputs, node->name, rt_tensor_shape(have, found, sizeof found),
                        expected);
    rt_error error;
    bool whole = node->type.dtype == IR_I64;
    if (whole ? !rt_tensor_to_i64(have, data, &error) : !rt_tensor_to_f32(have, data, &error))
        return cli_fail(c, CLI_USER_ERROR, "%s: input '%s': %s", c->options->inputs, node->name,
                        error.text);
    if (whole) return check_labels(r, node->name, data, ir_type_elements(node->type));
    if (mask.tiles) return check_mask(r, node, mask, data);
    return CLI_DONE;
}

/* --- compiled --- */

static void add_result(run *r, rt_tensor tensor) {
    r->results[r->result_count++] = tensor;
}

static void make_results(run *r, size_t count) {
    r->results = ir_arena_alloc(r->c->arena, (count + 1) * sizeof *r->results);
}

static int run_compiled(run *r) {
    cli *c = r->c;
    cli_program *p = &r->program;
    int code = cli_program_compile(c, p);
    if (code == CLI_DONE) code = cli_program_memory(c, p);
    if (code == CLI_DONE) code = cli_weights_init(c, p, &r->weights);
    for (size_t i = 0; i < p->io_count && code == CLI_DONE; i++)
        if (!p->io[i].output)
            code = read_input(r, input_named(p->graph, p->io[i].name), p->io[i].data);
    if (code == CLI_DONE) code = cli_program_step(c, p, (float)c->options->lr, 1, c->options->seed);
    if (code != CLI_DONE) return code;
    make_results(r, p->io_count + p->plan->weight_count);
    for (size_t i = 0; i < p->io_count; i++)
        if (p->io[i].output) add_result(r, cli_tensor(p->io[i].name, p->io[i].type, p->io[i].data));
    if (!c->options->update) return CLI_DONE;
    code = cli_weights_gather(c, p, &r->weights); /* a place for the new ones */
    if (code != CLI_DONE) return code;
    cli_program_export(p, r->weights.values);
    for (size_t i = 0; i < p->plan->weight_count; i++)
        add_result(r, cli_weight_tensor(p->plan, i, r->weights.values));
    return CLI_DONE;
}

/* --- reference --- */

static double *widen(cli *c, const void *data, ir_type type) {
    int64_t count = ir_type_elements(type);
    double *wide = ir_arena_alloc(c->arena, (size_t)count * sizeof *wide);
    for (int64_t i = 0; i < count; i++)
        wide[i] = type.dtype == IR_I64 ? (double)((const int64_t *)data)[i]
                                       : (double)((const float *)data)[i];
    return wide;
}

static void add_wide(run *r, const char *name, ir_type type, const double *value) {
    int64_t count = ir_type_elements(type);
    float *narrow = ir_arena_alloc(r->c->arena, (size_t)count * sizeof *narrow);
    for (int64_t i = 0; i < count; i++)
        narrow[i] = (float)value[i];
    add_result(r, cli_tensor(name, type, narrow));
}

/* The value of every source of the graph that has one from outside. */
static int read_sources(run *r, const double **sources) {
    const ir_graph *graph = r->program.graph;
    size_t weight = 0;
    int code = CLI_DONE;
    for (size_t i = 0; i < graph->count && code == CLI_DONE; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op == IR_OP_param) {
            const float *values = r->weights.values + r->program.plan->weights[weight++].offset;
            sources[i] = widen(r->c, values, node->type);
        } else if (node->op == IR_OP_input) {
            void *data = ir_arena_alloc(r->c->arena, (size_t)ir_type_bytes(node->type));
            code = read_input(r, node, data);
            sources[i] = widen(r->c, data, node->type);
        }
    }
    return code;
}

static int run_reference(run *r) {
    const ir_graph *graph = r->program.graph;
    const double **sources = ir_arena_alloc(r->c->arena, (graph->count + 1) * sizeof *sources);
    int code = cli_weights_gather(r->c, &r->program, &r->weights);
    if (code == CLI_DONE) code = read_sources(r, sources);
    if (code != CLI_DONE) return code;
    ir_eval_scalars scalars = {
        .lr = (float)r->c->options->lr, .step = 1, .seed = r->c->options->seed};
    ir_eval_result *result = ir_eval_graph(graph, sources, &scalars);
    make_results(r, graph->output_count + graph->update_count);
    for (size_t i = 0; i < graph->output_count; i++) {
        ir_value value = graph->outputs[i].value;
        add_wide(r, graph->outputs[i].name, ir_type_of(graph, value), result->value[value.id]);
    }
    for (size_t i = 0; i < graph->update_count; i++) {
        const ir_node *target = ir_at(graph, graph->updates[i].target);
        if (target->op == IR_OP_param)
            add_wide(r, target->name, target->type, result->value[graph->updates[i].value.id]);
    }
    ir_eval_free(result);
    return CLI_DONE;
}

/* --- the command --- */

/* Options about machine code mean nothing to the reference. */
static int check_reference(cli *c) {
    if (!c->options->reference) return CLI_DONE;
    return cli_refuse(c, CLI_BIT(cpu) | CLI_BIT(threads) | CLI_BIT(no_pass) | CLI_BIT(perf_map),
                      "--reference");
}

static int prepare(run *r) {
    cli *c = r->c;
    const cli_options *o = c->options;
    ir_kind kind = !o->train ? IR_KIND_INFER : o->update ? IR_KIND_TRAIN : IR_KIND_GRAD;
    cli_want want = {.kind = kind,
                     .fixed_batch = true,
                     .plain_loss = true,
                     .random = cli_given(o, CLI_OPTION_seed),
                     .reference = o->reference};
    int code = check_reference(c);
    if (code != CLI_DONE) return code;
    rt_error error;
    r->inputs = rt_tensors_open(o->inputs, &error);
    if (!r->inputs) return cli_fail(c, CLI_USER_ERROR, "%s", error.text);
    code = find_batch(r, &want.batch);
    if (code == CLI_DONE) code = cli_program_graph(c, &want, &r->program);
    if (code == CLI_DONE) code = check_extra(r);
    if (code == CLI_DONE) code = cli_program_plan(c, &r->program);
    if (code == CLI_DONE) code = cli_weights_load(c, &r->program, o->weights, &r->weights);
    return code;
}

static int write_results(run *r) {
    rt_error error;
    const rt_pair pairs[] = {{"cnx_format", "1"}, {"model", r->program.plan->name}};
    if (rt_tensors_write(r->c->options->outputs, r->results, r->result_count, pairs, 2, &error))
        return CLI_DONE;
    return cli_fail(r->c, CLI_RUN_FAILED, "%s", error.text);
}

int cli_run(cli *c) {
    run r = {.c = c};
    int code = prepare(&r);
    if (code == CLI_DONE) code = c->options->reference ? run_reference(&r) : run_compiled(&r);
    if (code == CLI_DONE) code = write_results(&r);
    cli_weights_free(&r.weights);
    rt_tensors_close(r.inputs);
    cli_program_free(&r.program);
    return code;
}
