/* cnxc predict: the most probable classes of images, with the names a trained file carries. */
#include "evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BATCH = 16, DEFAULT_TOP = 5 };

typedef struct predict {
    cli *c;
    cli_program program;
    cli_facts facts;
    int64_t top; /* classes to show */
    cli_json json;
    ir_text text; /* for people */
} predict;

/* --- one image --- */

/* As the model sees it: resized, cropped, normalised. out: (C,S,S) */
static int load_image(predict *p, const char *path, float *out) {
    const cli_facts *f = &p->facts;
    rt_eval_transform how = {.size = f->size, .crop_pct = f->crop_pct, .squash = f->squash};
    rt_image image = {0}, ready = {0};
    rt_error error;
    bool good = rt_image_load(path, f->channels, &image, &error) &&
                rt_image_evaluate(&image, &how, &ready, &error);
    if (good) rt_image_normalize(&ready, f->mean, f->std, out);
    rt_image_free(&image);
    rt_image_free(&ready);
    return good ? CLI_DONE : cli_fail(p->c, CLI_USER_ERROR, "%s", error.text);
}

typedef struct ranked {
    int64_t class;
    double probability;
} ranked;

static int by_probability(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return (x->class > y->class) - (x->class < y->class);
}

/* Softmax, the most probable first; false if a logit is not finite. */
static bool rank(const float *logits, int64_t classes, ranked *out) {
    double most = -INFINITY, sum = 0;
    for (int64_t k = 0; k < classes; k++) {
        if (!isfinite(logits[k])) return false;
        most = fmax(most, (double)logits[k]);
    }
    for (int64_t k = 0; k < classes; k++)
        sum += out[k].probability = exp((double)logits[k] - most);
    for (int64_t k = 0; k < classes; k++) {
        out[k].class = k;
        out[k].probability /= sum;
    }
    qsort(out, (size_t)classes, sizeof *out, by_probability);
    return true;
}

static const char *class_name(const predict *p, int64_t class) {
    return p->facts.class_names ? p->facts.class_names[class] : NULL;
}

static void add_json(predict *p, const char *file, const ranked *order) {
    cli_json *j = &p->json;
    cli_json_begin(j, NULL, '{');
    cli_json_string(j, "file", file);
    cli_json_begin(j, "top", '[');
    for (int64_t k = 0; k < p->top; k++) {
        cli_json_begin(j, NULL, '{');
        cli_json_whole(j, "class", order[k].class);
        cli_json_string(j, "name", class_name(p, order[k].class));
        cli_json_number(j, "probability", order[k].probability);
        cli_json_end(j);
    }
    cli_json_end(j);
    cli_json_end(j);
}

static void add_words(predict *p, const char *file, const ranked *order) {
    ir_text_printf(&p->text, "%s:", file);
    for (int64_t k = 0; k < p->top; k++) {
        const char *name = class_name(p, order[k].class);
        if (name)
            ir_text_printf(&p->text, "%s %s", k ? "," : "", name);
        else
            ir_text_printf(&p->text, "%s class %lld", k ? "," : "", (long long)order[k].class);
        ir_text_printf(&p->text, " %.1f %%", 100 * order[k].probability);
    }
    ir_text_append(&p->text, "\n", 1);
}

/* --- all images --- */

static int add_results(predict *p, const char *const *files, int64_t count, ranked *order) {
    const cli_io *logits = cli_program_io(&p->program, "logits");
    for (int64_t i = 0; i < count; i++) {
        const float *row = (const float *)logits->data + i * p->facts.classes;
        if (!rank(row, p->facts.classes, order))
            return cli_fail(p->c, CLI_RUN_FAILED,
                            "%s: the network gives numbers that are not finite", files[i]);
        if (p->c->options->json)
            add_json(p, files[i], order);
        else
            add_words(p, files[i], order);
    }
    return CLI_DONE;
}

static int run_all(predict *p) {
    const cli_list *files = &p->c->options->files;
    const cli_io *image = cli_program_io(&p->program, "image");
    int64_t batch = p->program.batch, pixels = ir_type_elements(image->type) / batch;
    ranked *order = ir_arena_alloc(p->c->arena, (size_t)p->facts.classes * sizeof *order);
    int code = CLI_DONE;
    for (size_t at = 0; at < files->count && code == CLI_DONE; at += (size_t)batch) {
        int64_t count = (int64_t)(files->count - at) < batch ? (int64_t)(files->count - at) : batch;
        for (int64_t i = 0; i < count && code == CLI_DONE; i++)
            code = load_image(p, files->item[at + (size_t)i], (float *)image->data + i * pixels);
        if (code == CLI_DONE) code = cli_program_step(p->c, &p->program, 0, 1, 0);
        if (code == CLI_DONE) code = add_results(p, files->item + at, count, order);
    }
    return code;
}

static int predict_all(predict *p) {
    const cli_options *o = p->c->options;
    p->top = cli_given(o, CLI_OPTION_top) ? o->top : DEFAULT_TOP;
    if (p->top > p->facts.classes) p->top = p->facts.classes;
    if (o->json) cli_json_begin(&p->json, NULL, '[');
    int code = run_all(p);
    if (o->json) {
        cli_json_end(&p->json);
        ir_text_printf(&p->text, "%s\n", p->json.text.data);
    }
    if (code == CLI_DONE) code = cli_write_text(p->c, NULL, &p->text);
    ir_text_free(&p->json.text);
    ir_text_free(&p->text);
    return code;
}

int cli_predict(cli *c) {
    predict p = {.c = c};
    int64_t files = (int64_t)c->options->files.count;
    cli_want want = {.kind = IR_KIND_INFER, .batch = files < MOST_BATCH ? files : MOST_BATCH};
    int code = cli_program_graph(c, &want, &p.program);
    if (code == CLI_DONE) code = cli_program_plan(c, &p.program);
    if (code == CLI_DONE) code = cli_ready(c, &p.program, c->options->weights, &p.facts);
    if (code == CLI_DONE) code = predict_all(&p);
    cli_program_free(&p.program);
    return code;
}
