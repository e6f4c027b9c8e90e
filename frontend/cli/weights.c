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
    const ir_plan *plan = p->plan;
    *weights = (cli_weights){0};
    weights->values = calloc((size_t)plan->weights_elements + 1, sizeof(float));
    if (!weights->values) return cli_fail(c, CLI_RUN_FAILED, "out of memory for the weights");
    size_t next = 0;
    for (size_t i = 0; i < p->graph->count; i++) {
        const ir_node *node = &p->graph->nodes[i];
        if (node->op != IR_OP_param) continue;
        const ir_weight *w = &plan->weights[next];
        IR_ASSERT(next < plan->weight_count && strcmp(w->name, node->name) == 0);
        if (!rt_init_fill(node->attrs.init, node->attrs.std, seed, (uint32_t)next,
                          weights->values + w->offset, ir_type_elements(w->type)))
            return cli_fail(c, CLI_USER_ERROR, "'%s': unknown init '%s'", node->name,
                            node->attrs.init);
        next++;
    }
    IR_ASSERT(next == plan->weight_count);
    return CLI_DONE;
}

void cli_weights_free(cli_weights *weights) {
    free(weights->values);
    rt_tensors_close(weights->file);
    *weights = (cli_weights){0};
}

/* --- from a file --- */

typedef struct loading {
    cli *c;
    const char *path;
    const ir_plan *plan;
    rt_tensors *file;
    const char **extra; /* names of the file that are no parameters */
    size_t extra_count;
    size_t fitting; /* tensors taken */
    bool good;
} loading;

/* A finding: an error, or with --partial a note. */
static void report(loading *l, const char *hint, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void report(loading *l, const char *hint, const char *format, ...) {
    va_list args;
    ir_text text = {0};
    va_start(args, format);
    ir_text_vprintf(&text, format, args);
    va_end(args);
    if (l->c->options->partial) {
        cli_note(l->c, "%s: %s", l->path, text.data);
    } else {
        ir_error(l->c->diag, (ir_loc){0}, "%s: %s", l->path, text.data);
        if (hint) ir_hint(l->c->diag, "the file holds '%s'", hint);
        l->good = false;
    }
    ir_text_free(&text);
}

static bool is_parameter(const ir_plan *plan, const char *name) {
    for (size_t i = 0; i < plan->weight_count; i++)
        if (strcmp(plan->weights[i].name, name) == 0) return true;
    return false;
}

static void find_extra(loading *l) {
    size_t count = rt_tensors_count(l->file);
    l->extra = ir_arena_alloc(l->c->arena, (count + 1) * sizeof *l->extra);
    for (size_t i = 0; i < count; i++) {
        const char *name = rt_tensors_at(l->file, i)->name;
        if (!is_parameter(l->plan, name)) l->extra[l->extra_count++] = name;
    }
}

/* Equal shapes, dimensions of 1 at the end aside: (O,I) and (O,I,1,1). */
static bool fits(const rt_tensor *have, const rt_tensor *want) {
    int rank = have->rank > want->rank ? have->rank : want->rank;
    for (int d = 0; d < rank; d++) {
        int64_t a = d < have->rank ? have->dim[d] : 1, b = d < want->rank ? want->dim[d] : 1;
        if (a != b) return false;
    }
    return true;
}

static void take(loading *l, size_t i, float *values) {
    rt_tensor want = cli_weight_tensor(l->plan, i, values);
    const rt_tensor *have = rt_tensors_find(l->file, want.name);
    char expected[128], found[128];
    rt_tensor_shape(&want, expected, sizeof expected);
    if (!have) {
        report(l, ir_nearest(want.name, l->extra, l->extra_count), "tensor '%s' %s is missing",
               want.name, expected);
        return;
    }
    if (!fits(have, &want)) {
        report(l, NULL, "tensor '%s' has shape %s, expected %s", want.name,
               rt_tensor_shape(have, found, sizeof found), expected);
        return;
    }
    rt_error error;
    if (rt_tensor_to_f32(have, values + l->plan->weights[i].offset, &error)) {
        l->fitting++;
        return;
    }
    ir_error(l->c->diag, (ir_loc){0}, "%s: tensor '%s': %s", l->path, want.name, error.text);
    l->good = false;
}

static void report_extra(loading *l) {
    const char **names = ir_arena_alloc(l->c->arena, (l->plan->weight_count + 1) * sizeof *names);
    for (size_t i = 0; i < l->plan->weight_count; i++)
        names[i] = l->plan->weights[i].name;
    for (size_t i = 0; i < l->extra_count; i++) {
        char shape[128];
        const rt_tensor *t = rt_tensors_find(l->file, l->extra[i]);
        report(l, NULL, "tensor '%s' %s is no parameter of '%s'", t->name,
               rt_tensor_shape(t, shape, sizeof shape), l->plan->name);
        const char *near = ir_nearest(t->name, names, l->plan->weight_count);
        if (near && !l->c->options->partial) ir_hint(l->c->diag, "the model has '%s'", near);
    }
}

int cli_weights_load(cli *c, const cli_program *p, const char *path, cli_weights *weights) {
    int code = cli_weights_start(c, p, p->recipe.seed > 0 ? (uint64_t)p->recipe.seed : 0, weights);
    if (code != CLI_DONE) return code;
    rt_error error;
    weights->file = rt_tensors_open(path, &error);
    if (!weights->file) return cli_fail(c, CLI_USER_ERROR, "%s", error.text);
    loading l = {.c = c, .path = path, .plan = p->plan, .file = weights->file, .good = true};
    find_extra(&l);
    for (size_t i = 0; i < p->plan->weight_count; i++)
        take(&l, i, weights->values);
    report_extra(&l);
    if (!l.good) return cli_fail_diag(c);
    if (l.fitting == 0 && p->plan->weight_count)
        return cli_fail(c, CLI_USER_ERROR, "%s: no tensor fits '%s'", path, p->plan->name);
    return CLI_DONE;
}
