/* Compares a program with a file of tests/reference/data, in the measures of the design: outputs
 * max|a-b| / max|b|, gradients and updates ||a-b|| / ||b|| per tensor. A tensor that only one side
 * has is an error. Where the file holds a sketch, norms are estimated from it (see ref_sketch).
 *
 *     ref_check("v2", &model, true, ref_tight);          all of it, or in parts:
 *
 *     ref_report report = {.name = "v2"};
 *     ref_compare_outputs(&report, file, &program);          logits, loss, pred, grad.*
 *     ref_compare_steps(&report, file, &train_program, lr);  losses, update.*
 *     ref_judge(&report, ref_tight);                     prints one line; fails beyond the limits
 */
#ifndef REFERENCE_COMPARE_H
#define REFERENCE_COMPARE_H

#include "reference_program.h"
#include "worst.h"

typedef enum ref_kind {
    REF_OUTPUT,
    REF_LOSS,
    REF_GRADIENT,
    REF_LOSSES,
    REF_UPDATE,
    REF_KINDS
} ref_kind;

typedef struct ref_limits {
    double at_most[REF_KINDS];
} ref_limits;

/* What issues ask for, and what f32 gives at small width (see docs/parity.md). */
static const ref_limits ref_asked = {{1e-4, 1e-4, 1e-3, 1e-4, 1e-3}};
static const ref_limits ref_tight = {{1e-5, 1e-5, 1e-4, 1e-5, 1e-3}};

typedef struct ref_report {
    const char *name;
    double worst[REF_KINDS];
    char where[REF_KINDS][128];
    int compared[REF_KINDS];
} ref_report;

static inline void ref_note(ref_report *r, ref_kind kind, const char *name, double error) {
    r->compared[kind]++;
    if (isnan(r->worst[kind]) || error <= r->worst[kind]) return;
    r->worst[kind] = error; /* a NaN is larger than anything */
    snprintf(r->where[kind], sizeof r->where[kind], "%s", name);
}

static inline double *ref_read(const rt_tensor *t) {
    int64_t count = rt_tensor_elements(t);
    float *narrow = malloc((size_t)(count + 1) * sizeof *narrow);
    double *wide = malloc((size_t)(count + 1) * sizeof *wide);
    rt_error error;
    if (!rt_tensor_to_f32(t, narrow, &error)) fail_msg("%s: %s", t->name, error.text);
    for (int64_t i = 0; i < count; i++)
        wide[i] = narrow[i];
    free(narrow);
    return wide;
}

/* max|a-b| / max|b| */
static inline double ref_max_error(const double *a, const double *b, int64_t count) {
    double most = 0, error = 0;
    for (int64_t i = 0; i < count; i++) {
        error = worst_of(error, fabs(a[i] - b[i]));
        most = fmax(most, fabs(b[i]));
    }
    return error == 0 ? 0 : error / most;
}

/* ||a-b|| / ||b|| */
static inline double ref_norm_error(const double *a, const double *b, int64_t count) {
    double sum = 0, error = 0;
    for (int64_t i = 0; i < count; i++) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        sum += b[i] * b[i];
    }
    return error == 0 ? 0 : sqrt(error / sum);
}

/* The same of a tensor and the sketch of another: the estimate, or the difference of norms. */
static inline double ref_sketch_error(const char *name, const double *a, int64_t count,
                                      const double *sketch) {
    double own[1 + REF_PROJECTIONS], sum = 0;
    ref_sketch(name, a, count, own);
    for (int k = 1; k <= REF_PROJECTIONS; k++)
        sum += (own[k] - sketch[k]) * (own[k] - sketch[k]);
    double error = worst_of(sqrt(sum / REF_PROJECTIONS), fabs(own[0] - sketch[0]));
    return error == 0 ? 0 : error / sketch[0];
}

/* A tensor as large as a parameter: in full or as a sketch, whichever the file holds. */
static inline void ref_compare_large(ref_report *r, ref_kind kind, const rt_tensors *file,
                                     const char *name, const double *value, int64_t count) {
    char full[512];
    snprintf(full, sizeof full, "sketch.%s", name);
    const rt_tensor *whole = rt_tensors_find(file, name), *part = rt_tensors_find(file, full);
    if (!whole && !part) fail_msg("%s: the file has no '%s'", r->name, name);
    if (whole && rt_tensor_elements(whole) != count)
        fail_msg("%s: '%s' has another size in the file", r->name, name);
    double *other = ref_read(whole ? whole : part);
    ref_note(r, kind, name,
             whole ? ref_norm_error(value, other, count)
                   : ref_sketch_error(name, value, count, other));
    free(other);
}

static inline double *ref_widen(const float *value, int64_t count) {
    double *wide = malloc((size_t)(count + 1) * sizeof *wide);
    for (int64_t i = 0; i < count; i++)
        wide[i] = value[i];
    return wide;
}

static inline void ref_compare_output(ref_report *r, ref_kind kind, const rt_tensor *t,
                                      const double *value, int64_t count) {
    if (rt_tensor_elements(t) != count)
        fail_msg("%s: '%s' has another size in the file", r->name, t->name);
    double *other = ref_read(t);
    ref_note(r, kind, t->name, ref_max_error(value, other, count));
    free(other);
}

/* How many tensors of the file begin with a prefix, in full or sketched. */
static inline int ref_count(const rt_tensors *file, const char *prefix) {
    int count = 0;
    for (size_t i = 0; i < rt_tensors_count(file); i++) {
        const char *name = rt_tensors_at(file, i)->name;
        if (strncmp(name, "sketch.", 7) == 0) name += 7;
        count += strncmp(name, prefix, strlen(prefix)) == 0;
    }
    return count;
}

static inline void ref_compare_outputs(ref_report *r, const rt_tensors *file,
                                       const ref_program *p) {
    for (size_t i = 0; i < p->io_count; i++) {
        const ref_tensor *io = &p->io[i];
        if (!io->output) continue;
        int64_t count = ir_type_elements(io->type);
        double *value = ref_widen(io->data, count);
        const rt_tensor *t = rt_tensors_find(file, io->name);
        ref_kind kind = strncmp(io->name, "grad.", 5) == 0 ? REF_GRADIENT
                        : strcmp(io->name, "loss") == 0    ? REF_LOSS
                                                           : REF_OUTPUT;
        if (kind == REF_GRADIENT || !t)
            ref_compare_large(r, kind, file, io->name, value, count);
        else
            ref_compare_output(r, kind, t, value, count);
        free(value);
    }
    int expected = p->plan->kind == IR_KIND_GRAD ? ref_count(file, "grad.") : 0;
    if (r->compared[REF_GRADIENT] != expected)
        fail_msg("%s: %d gradients, the file has %d", r->name, r->compared[REF_GRADIENT], expected);
}

/* Ten steps of a training program. */
static inline void ref_compare_steps(ref_report *r, const rt_tensors *file, ref_program *p,
                                     float lr) {
    const rt_tensor *t = rt_tensors_find(file, "losses");
    if (!t) fail_msg("%s: the file has no 'losses'", r->name);
    double *losses = ref_read(t);
    for (int64_t s = 0; s < t->dim[0]; s++) {
        ref_step(p, lr, (uint64_t)s + 1);
        double loss = *(const float *)ref_io(p, "loss")->data;
        ref_note(r, REF_LOSSES, "losses", fabs(loss - losses[s]) / fabs(losses[s]));
    }
    free(losses);
    int updates = 0;
    for (size_t i = 0; i < p->plan->weight_count; i++) {
        const ir_weight *w = &p->plan->weights[i];
        int64_t count = ir_type_elements(w->type);
        const float *now = ref_now(p, w);
        double *update = malloc((size_t)(count + 1) * sizeof *update);
        for (int64_t k = 0; k < count; k++)
            update[k] = (double)now[k] - (double)p->first[w->offset + k];
        char name[512];
        snprintf(name, sizeof name, "update.%s", w->name);
        ref_compare_large(r, REF_UPDATE, file, name, update, count);
        free(update);
        updates++;
    }
    if (updates != ref_count(file, "update."))
        fail_msg("%s: %d parameters, the file has %d", r->name, updates,
                 ref_count(file, "update."));
}

/* One line of what was found; true if all of it is within the limits. */
static inline bool ref_judge(const ref_report *r, ref_limits limits) {
    static const char *const words[REF_KINDS] = {"outputs", "loss", "gradients", "losses",
                                                 "weights"};
    bool good = true;
    printf("parity %-24s", r->name);
    for (int k = 0; k < REF_KINDS; k++) {
        if (!r->compared[k]) continue;
        printf(" %s %.1e", words[k], r->worst[k]);
        if (r->worst[k] <= limits.at_most[k]) continue;
        good = false;
        printf(" (%s, at most %.0e)", r->where[k], limits.at_most[k]);
    }
    printf("\n");
    fflush(stdout);
    return good;
}

static inline rt_tensors *ref_open(const char *name) {
    char path[4096];
    rt_error error;
    snprintf(path, sizeof path, "%s/tests/reference/data/%s.safetensors", CNX_TEST_SOURCE_DIR,
             name);
    rt_tensors *file = rt_tensors_open(path, &error);
    if (!file) fail_msg("%s", error.text);
    return file;
}

/* The logits of an inference program. */
static inline void ref_compare_logits(ref_report *r, const rt_tensor *expected,
                                      const ref_model *model) {
    ref_program p;
    ref_build(&p, model, IR_KIND_INFER);
    ref_step(&p, 0, 1);
    const ref_tensor *logits = ref_io(&p, "logits");
    int64_t count = ir_type_elements(logits->type);
    double *found = ref_widen(logits->data, count);
    ref_compare_output(r, REF_OUTPUT, expected, found, count);
    free(found);
    ref_free(&p);
}

/* A model against the file `name`: outputs and gradients; ten steps; where the file has them, the
 * logits of inference (batch norm infers with its running statistics). */
static inline bool ref_check(const char *name, const ref_model *model, bool steps,
                             ref_limits limits) {
    rt_tensors *file = ref_open(name);
    const rt_tensor *logits = rt_tensors_find(file, "eval.logits");
    ref_report report = {.name = name};
    ref_program p;
    ref_build(&p, model, IR_KIND_GRAD);
    ref_step(&p, 0, 1);
    ref_compare_outputs(&report, file, &p);
    ref_free(&p);
    if (steps) {
        ref_build(&p, model, IR_KIND_TRAIN);
        ref_compare_steps(&report, file, &p, model->lr > 0 ? model->lr : 1e-3f);
        ref_free(&p);
    }
    if (logits) ref_compare_logits(&report, logits, model);
    rt_tensors_close(file);
    return ref_judge(&report, limits);
}

#endif
