/* The run directory. */
#include "train.h"

#include "rt_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *cli_run_file(const cli_training *t, const char *name) {
    return ir_arena_printf(t->c->arena, "%s/%s", t->directory, name);
}

bool cli_run_exists(const cli_training *t) {
    return cli_exists(cli_run_file(t, "state.safetensors"));
}

static int failed(cli_training *t, const rt_error *error) {
    return cli_fail(t->c, CLI_RUN_FAILED, "%s", error->text);
}

/* --- writing --- */

int cli_run_save_weights(cli_training *t, const char *name) {
    const ir_plan *plan = t->step.plan;
    ir_arena *scratch = ir_arena_new();
    rt_tensor *tensors = ir_arena_alloc(scratch, (plan->weight_count + 1) * sizeof *tensors);
    for (size_t i = 0; i < plan->weight_count; i++) {
        const ir_buffer *b = &plan->buffers[plan->weights[i].buffer];
        tensors[i] = cli_tensor(plan->weights[i].name, plan->weights[i].type,
                                (const char *)t->step.state + b->offset);
    }
    size_t pairs;
    rt_pair *metadata = cli_facts_pairs(t->c, &t->facts, &pairs);
    rt_error error;
    bool good = rt_tensors_write(cli_run_file(t, name), tensors, plan->weight_count, metadata,
                                 pairs, &error);
    ir_arena_free(scratch);
    return good ? CLI_DONE : failed(t, &error);
}

enum { PLACE_PAIRS = 11 };

/* Floating point numbers are written in hexadecimal, so that they come back bit for bit. */
static size_t place_pairs(const cli_training *t, ir_arena *a, rt_pair *pairs) {
    const cli_place *at = &t->at;
    size_t n = 0;
    pairs[n++] = (rt_pair){"cnx_state", "1"};
    pairs[n++] = (rt_pair){"model", t->facts.model};
    pairs[n++] = (rt_pair){"graph", ir_arena_printf(a, "%016" PRIx64, t->step.source_hash)};
    pairs[n++] = (rt_pair){"cpu", t->step.target->facts.name};
    pairs[n++] = (rt_pair){"data", ir_arena_printf(a, "%" PRId64, rt_data_count(t->data))};
    pairs[n++] = (rt_pair){"epoch", ir_arena_printf(a, "%" PRId64, at->epoch)};
    pairs[n++] = (rt_pair){"batch", ir_arena_printf(a, "%" PRId64, at->batch)};
    pairs[n++] = (rt_pair){"loss", ir_arena_printf(a, "%a", at->loss)};
    pairs[n++] = (rt_pair){"correct", ir_arena_printf(a, "%" PRId64, at->correct)};
    pairs[n++] = (rt_pair){"images", ir_arena_printf(a, "%" PRId64, at->images)};
    pairs[n++] = (rt_pair){"best", ir_arena_printf(a, "%a", at->best)};
    IR_ASSERT(n == PLACE_PAIRS);
    return n;
}

int cli_run_save(cli_training *t) {
    const ir_plan *plan = t->step.plan;
    ir_arena *scratch = ir_arena_new();
    rt_tensor *tensors = ir_arena_alloc(scratch, (plan->buffer_count + 1) * sizeof *tensors);
    size_t count = 0;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class == IR_BUFFER_STATE)
            tensors[count++] =
                cli_tensor(b->name, b->type, (const char *)t->step.state + b->offset);
    }
    rt_pair pairs[PLACE_PAIRS];
    size_t pair_count = place_pairs(t, scratch, pairs);
    rt_error error;
    bool good = rt_tensors_write(cli_run_file(t, "state.safetensors"), tensors, count, pairs,
                                 pair_count, &error);
    ir_arena_free(scratch);
    return good ? CLI_DONE : failed(t, &error);
}

static int write_recipe(cli_training *t) {
    ir_text text = {0};
    fe_print_recipe(&t->step.recipe, &text);
    int code = cli_write_text(t->c, cli_run_file(t, "recipe.cnx"), &text);
    ir_text_free(&text);
    return code;
}

/* So that a run which is killed before its first state begins again with the same weights. */
static int write_from(cli_training *t) {
    ir_text text = {0};
    ir_text_printf(&text, "%s\n", t->from ? t->from : "");
    int code = cli_write_text(t->c, cli_run_file(t, "from.txt"), &text);
    ir_text_free(&text);
    return code;
}

static int lock(cli_training *t) {
    rt_error error;
    t->lock = rt_lock_directory(t->directory, &error);
    return t->lock < 0 ? failed(t, &error) : CLI_DONE;
}

int cli_run_create(cli_training *t) {
    rt_error error;
    if (!rt_make_directory(t->directory, &error)) return failed(t, &error);
    ir_text empty = {0};
    int code = lock(t);
    if (code == CLI_DONE) code = write_from(t);
    if (code == CLI_DONE) code = write_recipe(t);
    if (code == CLI_DONE) code = cli_write_text(t->c, cli_run_file(t, "metrics.jsonl"), &empty);
    return code;
}

/* --- metrics --- */

static void add_members(const cli_training *t, const cli_epoch *e, cli_json *j) {
    cli_json_whole(j, "epoch", t->at.epoch);
    cli_json_whole(j, "step", t->at.epoch * t->steps);
    cli_json_number(j, "train_loss", e->loss);
    if (!t->masked) cli_json_number(j, "train_top1", e->accuracy);
    if (e->tested) {
        cli_json_number(j, "test_loss", e->test_loss);
        cli_json_number(j, "test_top1", e->top1);
        cli_json_number(j, "test_top5", e->top5);
    }
    cli_json_number(j, "lr", e->lr);
    cli_json_bool(j, "best", e->best);
    cli_json_number(j, "images_per_s", e->images_per_s);
    cli_json_number(j, "seconds", e->seconds);
}

int cli_run_add_metrics(cli_training *t, const cli_epoch *e) {
    cli_json line = {0}, event = cli_event("epoch");
    cli_json_begin(&line, NULL, '{');
    add_members(t, e, &line);
    cli_json_end(&line);
    add_members(t, e, &event);
    cli_event_end(t->c, &event);
    rt_error error;
    bool good = rt_file_append_line(cli_run_file(t, "metrics.jsonl"), line.text.data, &error);
    ir_text_free(&line.text);
    return good ? CLI_DONE : failed(t, &error);
}

/* A line per finished epoch: what a killed run wrote after its last state goes. Lines that are lost
 * are no reason to stop: nothing is learnt from them. */
static int cut_metrics(cli_training *t) {
    const char *why, *path = cli_run_file(t, "metrics.jsonl");
    const char *text = cli_read_text(t->c->arena, path, &why);
    if (!text) return cli_fail(t->c, CLI_RUN_FAILED, "%s", why);
    const char *end = text;
    for (int64_t i = 0; i < t->at.epoch; i++) {
        const char *newline = strchr(end, '\n');
        if (!newline) {
            cli_note(t->c, "'%s' has %lld lines of %lld epochs: the others are lost", path,
                     (long long)i, (long long)t->at.epoch);
            break;
        }
        end = newline + 1;
    }
    if (!*end) return CLI_DONE;
    ir_text kept = {0};
    ir_text_append(&kept, text, (size_t)(end - text));
    int code = cli_write_text(t->c, path, &kept);
    ir_text_free(&kept);
    return code;
}

/* --- resuming --- */

const char *cli_run_from(const cli_training *t) {
    const char *why, *text = cli_read_text(t->c->arena, cli_run_file(t, "from.txt"), &why);
    return text ? ir_arena_strndup(t->c->arena, text, strcspn(text, "\n")) : NULL;
}

static int check_from(cli_training *t) {
    const char *was = cli_run_from(t), *is = t->c->options->from;
    if (!is || (was && strcmp(was, is) == 0)) return CLI_DONE;
    const char *began = was && *was ? ir_arena_printf(t->c->arena, "the weights of '%s'", was)
                        : was       ? "random weights"
                                    : "weights that it does not name";
    return cli_fail(t->c, CLI_USER_ERROR,
                    "the run in '%s' began with %s, but --from is '%s'; --resume continues it "
                    "without --from",
                    t->directory, began, is);
}

/* The next line without its comment and the blanks around it; NULL at the end. */
static const char *next_setting(ir_arena *arena, const char **text) {
    while (**text) {
        const char *start = *text + strspn(*text, " \t");
        size_t whole = strcspn(*text, "\n"), length = strcspn(start, "#\n");
        *text += whole + ((*text)[whole] == '\n');
        while (length && (start[length - 1] == ' ' || start[length - 1] == ','))
            length--;
        if (length) return ir_arena_strndup(arena, start, length);
    }
    return NULL;
}

static int check_recipe(cli_training *t) {
    cli *c = t->c;
    const char *why, *path = cli_run_file(t, "recipe.cnx");
    const char *old = cli_read_text(c->arena, path, &why);
    if (!old) return cli_fail(c, CLI_RUN_FAILED, "%s", why);
    ir_text text = {0};
    fe_print_recipe(&t->step.recipe, &text);
    const char *new = ir_arena_strndup(c->arena, text.data, text.length);
    ir_text_free(&text);
    for (;;) {
        const char *was = next_setting(c->arena, &old), *is = next_setting(c->arena, &new);
        if (!was && !is) return CLI_DONE;
        if (was && is && strcmp(was, is) == 0) continue;
        return cli_fail(c, CLI_USER_ERROR,
                        "the run in '%s' has '%s' in its recipe, but now it is '%s'; --resume "
                        "continues the same recipe",
                        t->directory, was ? was : "nothing", is ? is : "nothing");
    }
}

typedef struct place_reader {
    cli_training *t;
    rt_tensors *file;
    const char *path;
    bool good;
} place_reader;

static const char *pair(place_reader *r, const char *key) {
    const char *value = rt_tensors_metadata(r->file, key);
    if (!value && r->good) {
        cli_fail(r->t->c, CLI_RUN_FAILED, "%s: no '%s' in the metadata", r->path, key);
        r->good = false;
    }
    return value ? value : "0";
}

static int64_t whole(place_reader *r, const char *key, int64_t most) {
    const char *text = pair(r, key);
    char *end;
    long long value = strtoll(text, &end, 10);
    if (r->good && (*end || end == text || value < 0 || value > most)) {
        cli_fail(r->t->c, CLI_RUN_FAILED, "%s: '%s' is '%s', expected 0 to %lld", r->path, key,
                 text, (long long)most);
        r->good = false;
    }
    return value;
}

static double number(place_reader *r, const char *key) {
    const char *text = pair(r, key);
    char *end;
    double value = strtod(text, &end);
    if (r->good && (*end || end == text || isnan(value))) {
        cli_fail(r->t->c, CLI_RUN_FAILED, "%s: '%s' is '%s', expected a number", r->path, key,
                 text);
        r->good = false;
    }
    return value;
}

static void read_place(place_reader *r) {
    cli_training *t = r->t;
    int64_t images = t->steps * t->step.batch;
    t->at = (cli_place){.epoch = whole(r, "epoch", t->step.recipe.epochs),
                        .batch = whole(r, "batch", t->steps),
                        .loss = number(r, "loss"),
                        .correct = whole(r, "correct", images),
                        .images = whole(r, "images", images),
                        .best = number(r, "best")};
}

static void check_origin(place_reader *r) {
    const cli_training *t = r->t;
    char graph[32];
    snprintf(graph, sizeof graph, "%016" PRIx64, t->step.source_hash);
    if (r->good && strcmp(pair(r, "graph"), graph) != 0) {
        r->good = false;
        cli_fail(t->c, CLI_USER_ERROR, "the run in '%s' is of another model than '%s' is now",
                 t->directory, t->c->options->model);
    }
    int64_t images = whole(r, "data", INT64_MAX);
    if (r->good && images != rt_data_count(t->data)) {
        r->good = false;
        cli_fail(t->c, CLI_USER_ERROR, "the run in '%s' is on %lld images, but '%s' holds %lld",
                 t->directory, (long long)images, t->c->options->data,
                 (long long)rt_data_count(t->data));
    }
}

/* Other kernels add in another order. */
static void compare_cpu(const place_reader *r) {
    const char *was = rt_tensors_metadata(r->file, "cpu"), *is = r->t->step.target->facts.name;
    if (was && strcmp(was, is) != 0)
        cli_note(r->t->c,
                 "'%s' was trained on %s, now on %s: right, but not the same bits; --cpu %s "
                 "continues exactly",
                 r->t->directory, was, is, was);
}

static void read_tensors(place_reader *r) {
    const ir_plan *plan = r->t->step.plan;
    for (size_t i = 0; i < plan->buffer_count && r->good; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->class != IR_BUFFER_STATE) continue;
        const rt_tensor *have = rt_tensors_find(r->file, b->name);
        rt_tensor want = cli_tensor(b->name, b->type, NULL);
        bool same = have && have->dtype == want.dtype && have->rank == want.rank;
        for (int d = 0; same && d < want.rank; d++)
            same = have->dim[d] == want.dim[d];
        if (same) {
            memcpy((char *)r->t->step.state + b->offset, have->data, (size_t)b->bytes);
            continue;
        }
        r->good = false;
        cli_fail(r->t->c, CLI_RUN_FAILED, "%s: tensor '%s' is %s", r->path, b->name,
                 have ? "of another shape" : "missing");
    }
}

/* Opens the state; false after a message. */
static bool open_state(cli_training *t, place_reader *r) {
    rt_error error;
    *r = (place_reader){.t = t, .path = cli_run_file(t, "state.safetensors"), .good = true};
    r->file = rt_tensors_open(r->path, &error);
    if (!r->file) failed(t, &error);
    return r->file != NULL;
}

int cli_run_check(cli_training *t) {
    place_reader r;
    int code = lock(t);
    if (code == CLI_DONE) code = check_from(t);
    if (code == CLI_DONE) code = check_recipe(t);
    if (code != CLI_DONE) return code;
    if (!open_state(t, &r)) return CLI_RUN_FAILED;
    check_origin(&r);
    if (r.good) compare_cpu(&r);
    rt_tensors_close(r.file);
    return r.good ? CLI_DONE : CLI_USER_ERROR;
}

int cli_run_resume(cli_training *t) {
    place_reader r;
    if (!open_state(t, &r)) return CLI_RUN_FAILED;
    read_place(&r);
    if (r.good) read_tensors(&r);
    rt_tensors_close(r.file);
    return r.good ? cut_metrics(t) : CLI_RUN_FAILED;
}
