/* A model file compiled for a reference case, with the generator's weights and inputs.
 *
 *     ref_program p;
 *     ref_build(&p, &(ref_model){.path = "convnextv2.cnx", .defines = defines, .batch = 3},
 *               IR_KIND_GRAD);
 *     ref_step(&p, 0, 1);
 *     const float *logits = ref_io(&p, "logits")->data;
 *     ref_free(&p);
 *
 * Whatever goes wrong fails the test with a message.
 */
#ifndef REFERENCE_PROGRAM_H
#define REFERENCE_PROGRAM_H

#include "cg_jit.h"
#include "fe_compile.h"
#include "lower.h"
#include "pass.h"
#include "reference_generator.h"
#include "rt_memory.h"
#include "rt_parallel.h"

enum { REF_MAX_DEFINES = 8 };

typedef struct ref_model {
    const char *path;                       /* below models/ */
    fe_define defines[REF_MAX_DEFINES + 1]; /* up to the first without a name */
    const ref_factor *factors;              /* up to {0}, or NULL */
    int64_t batch;
    int64_t kept;    /* patches that `mask` keeps of a sample; 0: no mask */
    double beta2;    /* of AdamW; 0: 0.999 */
    float lr;        /* of AdamW; 0: 1e-3 */
    const char *cpu; /* NULL: native */
    bool densify;    /* the masked-dense form of a tile-sparse model */
} ref_model;

typedef struct ref_tensor {
    const char *name;
    ir_type type;
    void *data;
    bool output;
} ref_tensor;

typedef struct ref_program {
    ir_graph *graph;
    ir_plan *plan;
    cg_jit *jit;
    ir_diag *diag;
    ref_tensor *io; /* inputs, then outputs */
    void **io_data;
    size_t io_count;
    float *first; /* weights before the first step, in the order of plan->weights */
    void *state, *workspace;
    cnx_threads threads;
} ref_program;

static inline void ref_elaborate(ref_program *p, const ref_model *m, ir_kind kind) {
    char path[4096];
    snprintf(path, sizeof path, "%s/models/%s", CNX_TEST_SOURCE_DIR, m->path);
    size_t count = 0;
    while (count < REF_MAX_DEFINES && m->defines[count].name)
        count++;
    fe_options options = {.kind = kind,
                          .batch = m->batch,
                          .plain_loss = true,
                          .defines = m->defines,
                          .define_count = count};
    fe_model *model = fe_load(path, NULL, p->diag);
    ir_graph *source = model ? fe_elaborate(model, &options, NULL, p->diag) : NULL;
    pass_options passes = {.densify = m->densify,
                           .optimizer = {.beta1 = 0.9,
                                         .beta2 = m->beta2 > 0 ? m->beta2 : 0.999,
                                         .eps = 1e-8,
                                         .weight_decay = 0.05}};
    p->graph = source ? pass_run(source, &passes, p->diag) : NULL;
    if (!p->graph) {
        ir_diag_print(p->diag, stderr);
        fail_msg("%s does not compile", m->path);
    }
    ir_graph_free(source);
    fe_model_free(model);
}

static inline void *ref_memory(int64_t bytes) {
    void *memory = rt_memory_alloc(bytes > 0 ? bytes : 1);
    if (!memory) fail_msg("no %lld bytes of memory", (long long)bytes);
    return memory;
}

static inline void ref_find_io(ref_program *p) {
    const ir_plan *plan = p->plan;
    p->io = calloc(plan->buffer_count, sizeof *p->io);
    p->io_data = calloc(plan->buffer_count, sizeof *p->io_data);
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class != IR_BUFFER_INPUT && b->class != IR_BUFFER_OUTPUT) continue;
        void *data = ref_memory(ir_type_bytes(b->type));
        p->io[b->index] = (ref_tensor){b->name, b->type, data, b->class == IR_BUFFER_OUTPUT};
        p->io_data[b->index] = data;
        p->io_count++;
    }
}

static inline ref_tensor *ref_io(const ref_program *p, const char *name) {
    for (size_t i = 0; i < p->io_count; i++)
        if (strcmp(p->io[i].name, name) == 0) return &p->io[i];
    return NULL;
}

/* A tensor of the program as the generator and files see it. */
static inline rt_tensor ref_shape(const char *name, ir_type type) {
    rt_tensor t = {
        .name = name, .dtype = type.dtype == IR_I64 ? RT_I64 : RT_F32, .rank = type.rank};
    for (int d = 0; d < type.rank; d++)
        t.dim[d] = type.dim[d];
    return t;
}

static inline int64_t ref_classes(const ref_program *p) {
    for (size_t i = 0; i < p->graph->output_count; i++)
        if (strcmp(p->graph->outputs[i].name, "logits") == 0)
            return ir_type_of(p->graph, p->graph->outputs[i].value).dim[1];
    fail_msg("a label, but no logits");
    return 0;
}

static inline void ref_fill_inputs(ref_program *p, const ref_model *m) {
    for (size_t i = 0; i < p->io_count && !p->io[i].output; i++) {
        rt_tensor t = ref_shape(p->io[i].name, p->io[i].type);
        if (strcmp(t.name, "label") == 0)
            ref_labels(t.dim[0], ref_classes(p), p->io[i].data);
        else if (strcmp(t.name, "mask") == 0)
            ref_masks(t.dim[0], t.dim[1], m->kept, p->io[i].data);
        else if (!ref_fill(&t, NULL, p->io[i].data))
            fail_msg("no values for input '%s'", t.name);
    }
}

static inline void ref_init(ref_program *p, const ref_model *m) {
    for (size_t i = 0; i < p->plan->weight_count; i++) {
        const ir_weight *w = &p->plan->weights[i];
        rt_tensor t = ref_shape(w->name, w->type);
        if (!ref_fill(&t, m->factors, p->first + w->offset))
            fail_msg("no values for parameter '%s'", t.name);
    }
    int32_t code = cg_jit_init(p->jit, p->state, p->first);
    if (code != CNX_OK) fail_msg("init: %s", cg_error(code));
}

static inline void ref_build(ref_program *p, const ref_model *m, ir_kind kind) {
    *p = (ref_program){.diag = ir_diag_new(), .threads = rt_threads(rt_cores())};
    ref_elaborate(p, m, kind);
    const cg_machine *machine = cg_machine_find(m->cpu ? m->cpu : "native");
    pass_lower_options options = {.machine = &machine->facts, .workers = p->threads.count};
    p->plan = pass_lower(p->graph, &options);
    ir_plan_verify(p->plan);
    p->jit = cg_jit_compile(p->plan, &(cg_jit_options){.machine = machine}, p->diag);
    if (!p->jit) {
        ir_diag_print(p->diag, stderr);
        fail_msg("%s: no machine code", m->path);
    }
    p->state = ref_memory(p->plan->state_bytes);
    p->workspace = ref_memory(p->plan->workspace_bytes);
    p->first = ref_memory(p->plan->weights_elements * (int64_t)sizeof(float));
    ref_find_io(p);
    ref_fill_inputs(p, m);
    ref_init(p, m);
}

/* One run; steps count from 1. */
static inline void ref_step(ref_program *p, float lr, uint64_t step) {
    cnx_scalars scalars = {.lr = lr, .step = step, .seed = 0};
    int32_t code = cg_jit_run(p->jit, &(cg_run){.state = p->state,
                                                .workspace = p->workspace,
                                                .io = p->io_data,
                                                .scalars = &scalars,
                                                .threads = &p->threads});
    if (code != CNX_OK) fail_msg("run: %s", cg_error(code));
}

/* The value of a parameter in the state of a training program. */
static inline const float *ref_now(const ref_program *p, const ir_weight *w) {
    return (const float *)((const char *)p->state + p->plan->buffers[w->buffer].offset);
}

static inline void ref_free(ref_program *p) {
    for (size_t i = 0; i < p->io_count; i++)
        rt_memory_release(p->io[i].data, ir_type_bytes(p->io[i].type));
    rt_memory_release(p->state, p->plan->state_bytes);
    rt_memory_release(p->workspace, p->plan->workspace_bytes);
    rt_memory_release(p->first, p->plan->weights_elements * (int64_t)sizeof(float));
    free(p->io);
    free(p->io_data);
    cg_jit_free(p->jit);
    ir_plan_free(p->plan);
    ir_graph_free(p->graph);
    ir_diag_free(p->diag);
}

#endif
