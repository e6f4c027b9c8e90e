/* cnxc predict: the most probable classes of images, with their names. An image that cannot be read
 * is reported and left out; the others get their result, and the exit code is that of an error. */
#include "evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BATCH = 16, DEFAULT_TOP = 5 };

typedef struct predict {
    cli *c;
    cli_program program;
    cli_facts facts;
    int64_t top;    /* classes to show */
    int64_t broken; /* images that cannot be read */
    cli_json json;
    ir_text text; /* for people */
} predict;

/* --- images --- */

/* An image on its way into the batch; tasks of a parallel-for. */
typedef struct picture {
    const char *file;
    float *out; /* (C,S,S), as the model sees it: resized, cropped, normalised */
    bool good;
    rt_error error; /* if not */
} picture;

typedef struct loading {
    const cli_facts *facts;
    picture *pictures;
} loading;

static void load_one(void *argument, int64_t task, int64_t worker) {
    const loading *l = argument;
    picture *p = &l->pictures[task];
    rt_image image = {0};
    (void)worker;
    p->good = cli_facts_image(l->facts, p->file, &image, &p->error);
    if (p->good) rt_image_normalize(&image, l->facts->mean, l->facts->std, p->out);
    rt_image_free(&image);
}

/* Fills the program's input with as many images as fit; rows without one are zero. Those that
 * cannot be read are reported; their number is added to p->broken. */
static void load_batch(predict *p, picture *pictures, const char *const *files, int64_t count) {
    const cli_io *image = cli_program_io(&p->program, "image");
    int64_t pixels = ir_type_elements(image->type) / p->program.batch;
    const cnx_threads *pool = &p->program.pool;
    loading l = {.facts = &p->facts, .pictures = pictures};
    memset(image->data, 0, (size_t)ir_type_bytes(image->type));
    for (int64_t i = 0; i < count; i++)
        pictures[i] = (picture){.file = files[i], .out = (float *)image->data + i * pixels};
    pool->parallel_for(pool->context, count, pool->count, load_one, &l);
    for (int64_t i = 0; i < count; i++) {
        if (pictures[i].good) continue;
        cli_fail(p->c, CLI_USER_ERROR, "%s", pictures[i].error.text);
        p->broken++;
    }
}

/* --- what one image is --- */

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
            ir_text_printf(&p->text, "%s %s", k ? ";" : "", name);
        else
            ir_text_printf(&p->text, "%s class %lld", k ? ";" : "", (long long)order[k].class);
        ir_text_printf(&p->text, " %.1f %%", 100 * order[k].probability);
    }
    ir_text_append(&p->text, "\n", 1);
}

/* --- all images --- */

static int add_results(predict *p, const picture *pictures, int64_t count, ranked *order) {
    const cli_io *logits = cli_program_io(&p->program, "logits");
    for (int64_t i = 0; i < count; i++) {
        const char *file = pictures[i].file;
        if (!pictures[i].good) continue;
        if (!rank((const float *)logits->data + i * p->facts.classes, p->facts.classes, order))
            return cli_fail(p->c, CLI_RUN_FAILED,
                            "%s: the network gives numbers that are not finite", file);
        if (p->c->options->json)
            add_json(p, file, order);
        else
            add_words(p, file, order);
    }
    return CLI_DONE;
}

/* Writes what there is, so that many images do not wait for the last one. */
static int flush(predict *p) {
    ir_text *text = p->c->options->json ? &p->json.text : &p->text;
    int code = text->length ? cli_write_text(p->c, NULL, text) : CLI_DONE;
    text->length = 0;
    return code;
}

static int run_all(predict *p) {
    const cli_list *files = &p->c->options->files;
    int64_t batch = p->program.batch, all = (int64_t)files->count;
    picture *pictures = ir_arena_alloc(p->c->arena, (size_t)batch * sizeof *pictures);
    ranked *order = ir_arena_alloc(p->c->arena, (size_t)p->facts.classes * sizeof *order);
    int code = CLI_DONE;
    for (int64_t at = 0; at < all && code == CLI_DONE; at += batch) {
        int64_t count = all - at < batch ? all - at : batch;
        load_batch(p, pictures, files->item + at, count);
        code = cli_program_step(p->c, &p->program, 0, 1, 0);
        if (code == CLI_DONE) code = add_results(p, pictures, count, order);
        if (code == CLI_DONE) code = flush(p);
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
        ir_text_append(&p->json.text, "\n", 1);
    }
    int written = flush(p);
    ir_text_free(&p->json.text);
    ir_text_free(&p->text);
    if (code == CLI_DONE) code = written;
    return code == CLI_DONE && p->broken ? CLI_USER_ERROR : code;
}

/* As many images at once as make batches of nearly the same size. */
static int64_t batch_for(int64_t files) {
    int64_t batches = (files + MOST_BATCH - 1) / MOST_BATCH;
    return (files + batches - 1) / batches;
}

int cli_predict(cli *c) {
    predict p = {.c = c};
    cli_weights weights = {0};
    cli_want want = {.kind = IR_KIND_INFER, .batch = batch_for((int64_t)c->options->files.count)};
    int code = cli_program_graph(c, &want, &p.program);
    if (code == CLI_DONE) code = cli_program_plan(c, &p.program);
    if (code == CLI_DONE) code = cli_load(c, &p.program, c->options->weights, &p.facts, &weights);
    if (code == CLI_DONE) code = cli_facts_names(c, c->options->classes, &p.facts);
    if (code == CLI_DONE) code = cli_ready(c, &p.program, &weights);
    if (code == CLI_DONE) code = predict_all(&p);
    cli_weights_free(&weights);
    cli_program_free(&p.program);
    return code;
}
