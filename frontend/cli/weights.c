/* The values of weights: first ones, all in a block, or one by one into a program. */
#include "weights.h"

#include "rt_init.h"

#include <stdlib.h>
#include <string.h>

static rt_dtype file_type(ir_dtype dtype) {
    switch (dtype) {
    case IR_F32: return RT_F32;
    case IR_BF16: return RT_BF16;
    case IR_I64: return RT_I64;
    case IR_I32: return RT_I32;
    case IR_DTYPE_COUNT: break;
    }
    IR_BUG("element type %d", (int)dtype);
}

rt_tensor cli_tensor(const char *name, ir_type type, const void *data) {
    rt_tensor t = {.name = name, .dtype = file_type(type.dtype), .rank = type.rank, .data = data};
    memcpy(t.dim, type.dim, (size_t)type.rank * sizeof *t.dim);
    return t;
}

rt_tensor cli_weight_tensor(const ir_plan *plan, size_t i, const float *values) {
    const ir_weight *w = &plan->weights[i];
    return cli_tensor(w->name, w->type, values + w->offset);
}

/* --- first values --- */

int cli_weights_start(cli *c, const cli_program *p, uint64_t seed, cli_weights *weights) {
    size_t count = p->plan->weight_count, next = 0;
    *weights = (cli_weights){.seed = seed};
    weights->from = ir_arena_alloc(c->arena, (count + 1) * sizeof *weights->from);
    weights->params = ir_arena_alloc(c->arena, (count + 1) * sizeof *weights->params);
    for (size_t i = 0; i < p->graph->count; i++) {
        const ir_node *node = &p->graph->nodes[i];
        if (node->op != IR_OP_param) continue;
        IR_ASSERT(next < count && strcmp(p->plan->weights[next].name, node->name) == 0);
        weights->params[next++] = node;
    }
    IR_ASSERT(next == count);
    return CLI_DONE;
}

void cli_weights_free(cli_weights *weights) {
    free(weights->values);
    for (size_t i = 0; i < weights->named_count; i++)
        rt_named_free(&weights->named[i]);
    free(weights->named);
    rt_namings_free(weights->maps);
    rt_tensors_close(weights->file);
    *weights = (cli_weights){0};
}

/* --- one weight, all weights --- */

static int read_weight(cli *c, const ir_plan *plan, const cli_weights *weights, size_t i,
                       float *out) {
    const ir_node *node = weights->params[i];
    rt_error error;
    if (weights->from[i]) {
        if (rt_tensor_to_f32(weights->from[i], out, &error)) return CLI_DONE;
        return cli_fail(c, CLI_USER_ERROR, "%s", error.text);
    }
    if (rt_init_fill(node->attrs.init, node->attrs.std, weights->seed, (uint32_t)i, out,
                     ir_type_elements(plan->weights[i].type)))
        return CLI_DONE;
    return cli_fail(c, CLI_USER_ERROR, "'%s': unknown init '%s'", node->name, node->attrs.init);
}

static int read_all(cli *c, const ir_plan *plan, const cli_weights *weights, float *values) {
    int code = CLI_DONE;
    for (size_t i = 0; i < plan->weight_count && code == CLI_DONE; i++)
        code = read_weight(c, plan, weights, i, values + plan->weights[i].offset);
    return code;
}

int cli_weights_gather(cli *c, const cli_program *p, cli_weights *weights) {
    if (weights->values) return CLI_DONE;
    weights->values = calloc((size_t)p->plan->weights_elements + 1, sizeof(float));
    if (!weights->values) return cli_fail(c, CLI_RUN_FAILED, "out of memory for the weights");
    return read_all(c, p->plan, weights, weights->values);
}

/* --- into a program --- */

typedef struct filling {
    cli *c;
    cli_program *p;
    const cli_weights *weights;
    float *values;      /* a place for all of them, of which few are taken at a time */
    int32_t *weight_of; /* per buffer: its weight, or -1 */
    int64_t *last;      /* per weight: the last region that reads it */
    uint8_t *here;      /* per weight: it is in `values` */
} filling;

static int64_t weight_bytes(const ir_plan *plan, size_t i) {
    return ir_type_elements(plan->weights[i].type) * (int64_t)sizeof(float);
}

static void find_weights(filling *f) {
    const ir_plan *plan = f->p->plan;
    size_t next = 0;
    for (size_t b = 0; b < plan->buffer_count; b++) {
        f->weight_of[b] = -1;
        if (plan->buffers[b].class != IR_BUFFER_WEIGHTS) continue;
        int64_t element = plan->buffers[b].offset / (int64_t)sizeof(float);
        for (size_t n = 0; f->weight_of[b] < 0 && n < plan->weight_count; n++) {
            if (plan->weights[next].offset == element) f->weight_of[b] = (int32_t)next;
            next = (next + 1) % plan->weight_count;
        }
        IR_ASSERT(f->weight_of[b] >= 0);
    }
}

/* Calls `visit` for every weight that a region reads. */
static int each_weight(filling *f, size_t region, int (*visit)(filling *f, size_t w, size_t r)) {
    const ir_plan *plan = f->p->plan;
    const ir_region *r = &plan->init[region];
    int code = CLI_DONE;
    for (size_t k = 0; k < r->call_count; k++)
        for (size_t a = 0; a < plan->kernels[r->calls[k].kernel].param_count; a++) {
            int32_t w = f->weight_of[r->calls[k].arguments[a].buffer];
            if (w >= 0 && code == CLI_DONE) code = visit(f, (size_t)w, region);
        }
    return code;
}

static int note_last(filling *f, size_t w, size_t region) {
    f->last[w] = (int64_t)region;
    return CLI_DONE;
}

static int fetch(filling *f, size_t w, size_t region) {
    (void)region;
    if (f->here[w]) return CLI_DONE;
    f->here[w] = 1;
    return read_weight(f->c, f->p->plan, f->weights, w, f->values + f->p->plan->weights[w].offset);
}

static int forget(filling *f, size_t w, size_t region) {
    if (f->last[w] != (int64_t)region) return CLI_DONE;
    int64_t offset = f->p->plan->weights[w].offset * (int64_t)sizeof(float);
    rt_memory_drop(f->values, offset, weight_bytes(f->p->plan, w));
    return CLI_DONE;
}

static int run_init(filling *f, size_t first, size_t last) {
    cg_init init = {.state = f->p->state, .weights = f->values, .threads = &f->p->pool};
    int32_t code = cg_jit_init_regions(f->p->jit, &init, first, last);
    return code == CNX_OK ? CLI_DONE : cli_fail(f->c, CLI_RUN_FAILED, "init: %s", cg_error(code));
}

static int run_init_by_region(filling *f) {
    const ir_plan *plan = f->p->plan;
    int code = CLI_DONE;
    find_weights(f);
    for (size_t r = 0; r < plan->init_count; r++)
        each_weight(f, r, note_last);
    for (size_t r = 0; r < plan->init_count && code == CLI_DONE; r++) {
        code = each_weight(f, r, fetch);
        if (code == CLI_DONE) code = run_init(f, r, r + 1);
        if (code == CLI_DONE) code = each_weight(f, r, forget);
    }
    return code;
}

int cli_weights_init(cli *c, cli_program *p, const cli_weights *weights) {
    const ir_plan *plan = p->plan;
    filling f = {.c = c, .p = p, .weights = weights};
    if (plan->kind != IR_KIND_INFER) { /* the state begins with the weights themselves */
        f.values = p->state;
        int code = read_all(c, plan, weights, f.values);
        return code == CLI_DONE ? run_init(&f, 0, plan->init_count) : code;
    }
    int64_t bytes = plan->weights_elements * (int64_t)sizeof(float);
    ir_arena *scratch = ir_arena_new();
    f.weight_of = ir_arena_alloc(scratch, (plan->buffer_count + 1) * sizeof *f.weight_of);
    f.last = ir_arena_alloc(scratch, (plan->weight_count + 1) * sizeof *f.last);
    f.here = ir_arena_alloc(scratch, plan->weight_count + 1);
    f.values = rt_memory_reserve(bytes);
    int code = f.values ? run_init_by_region(&f)
                        : cli_fail(c, CLI_RUN_FAILED, "out of memory for the weights");
    rt_memory_release(f.values, bytes);
    ir_arena_free(scratch);
    return code;
}
