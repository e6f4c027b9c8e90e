#include "facts.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char format_version[] = "1";

/* --- from the model --- */

/* `count` numbers with blanks between. */
static bool parse_numbers(const char *text, float *out, int count) {
    for (int i = 0; i < count; i++) {
        char *end;
        out[i] = strtof(text, &end);
        if (end == text || !isfinite(out[i])) return false;
        text = end;
    }
    return text[strspn(text, " ")] == 0;
}

/* mean, std and crop_pct under their keys; NULL where there is nothing to take. */
typedef struct fact_texts {
    const char *where, *mean, *std, *crop_pct, *squash;
} fact_texts;

static int take_texts(cli *c, const fact_texts *t, cli_facts *facts) {
    float crop;
    if (t->mean && !parse_numbers(t->mean, facts->mean, facts->channels))
        return cli_fail(c, CLI_USER_ERROR, "%s: 'mean' is '%s', expected %d numbers", t->where,
                        t->mean, facts->channels);
    if (t->std && !parse_numbers(t->std, facts->std, facts->channels))
        return cli_fail(c, CLI_USER_ERROR, "%s: 'std' is '%s', expected %d numbers", t->where,
                        t->std, facts->channels);
    for (int i = 0; i < facts->channels; i++)
        if (!(facts->std[i] > 0))
            return cli_fail(c, CLI_USER_ERROR, "%s: 'std' is '%s', expected numbers above 0",
                            t->where, t->std);
    if (t->crop_pct) {
        if (!parse_numbers(t->crop_pct, &crop, 1) || !(crop > 0 && crop <= 1))
            return cli_fail(c, CLI_USER_ERROR,
                            "%s: 'crop_pct' is '%s', expected a number above 0 up to 1", t->where,
                            t->crop_pct);
        facts->crop_pct = strtod(t->crop_pct, NULL);
    }
    if (t->squash) {
        facts->squash = strcmp(t->squash, "true") == 0;
        if (!facts->squash && strcmp(t->squash, "false") != 0)
            return cli_fail(c, CLI_USER_ERROR, "%s: 'squash' is '%s', expected true or false",
                            t->where, t->squash);
    }
    return CLI_DONE;
}

/* --- names of classes --- */

/* A JSON list of as many names as there are classes. */
static int take_list(cli *c, const char *where, const char *text, cli_facts *facts) {
    json_t *list = json_loads(text, 0, NULL);
    const char **names = NULL;
    if (json_is_array(list) && (int64_t)json_array_size(list) == facts->classes) {
        names = ir_arena_alloc(c->arena, ((size_t)facts->classes + 1) * sizeof *names);
        for (size_t i = 0; names && i < (size_t)facts->classes; i++) {
            const char *name = json_string_value(json_array_get(list, i));
            if (name)
                names[i] = ir_arena_strndup(c->arena, name, strlen(name));
            else
                names = NULL;
        }
    }
    json_decref(list);
    facts->class_names = names;
    if (names) return CLI_DONE;
    return cli_fail(c, CLI_USER_ERROR, "%s is no JSON list of %lld names", where,
                    (long long)facts->classes);
}

/* The length of the line at `text` without what is blank at its end; *next begins behind it. */
static size_t line_length(const char *text, const char **next) {
    size_t length = strcspn(text, "\n");
    *next = text + length + (text[length] == '\n');
    while (length > 0 && strchr(" \t\r", text[length - 1]))
        length--;
    return length;
}

/* A name a line; empty lines at the end do not count. */
static int take_lines(cli *c, const char *where, const char *text, cli_facts *facts) {
    const char **names = ir_arena_alloc(c->arena, ((size_t)facts->classes + 1) * sizeof *names);
    int64_t line = 0, used = 0;
    for (const char *next; *text; text = next, line++) {
        size_t length = line_length(text, &next);
        if (length == 0) continue;
        if (used < line)
            return cli_fail(c, CLI_USER_ERROR, "%s: name %lld is empty", where,
                            (long long)used + 1);
        if (line < facts->classes) names[line] = ir_arena_strndup(c->arena, text, length);
        used = line + 1;
    }
    if (used != facts->classes)
        return cli_fail(c, CLI_USER_ERROR, "%s: %lld names of classes, but '%s' has %lld", where,
                        (long long)used, facts->model, (long long)facts->classes);
    facts->class_names = names;
    return CLI_DONE;
}

static int take_file(cli *c, const char *path, cli_facts *facts) {
    const char *why, *text = cli_read_text(c->arena, path, &why);
    if (!text) return cli_fail(c, CLI_USER_ERROR, "%s", why);
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3; /* an editor's mark of UTF-8 */
    if (text[strspn(text, " \t\r\n")] == '[') return take_list(c, path, text, facts);
    return take_lines(c, path, text, facts);
}

int cli_facts_names(cli *c, const char *path, cli_facts *facts) {
    enum { IMAGENET = 1000 };
    if (path) return take_file(c, path, facts);
    if (facts->class_names || facts->classes != IMAGENET) return CLI_DONE;
    const char *const *directory = cli_model_directories(c->arena);
    for (; *directory; directory++) {
        path = ir_arena_printf(c->arena, "%s/imagenet_classes.txt", *directory);
        if (cli_exists(path)) return take_file(c, path, facts);
    }
    cli_note(c, "imagenet_classes.txt does not stand beside the models; classes have no names");
    return CLI_DONE;
}

/* --- from the model, as a whole --- */

/* Commands on images give `image` and, to a classifier, `label`, which is of no use to inference,
 * or, to an autoencoder, `mask`. Anything else would silently be zero. */
static int check_inputs(cli *c, const cli_program *p, bool classifies) {
    const char *second = classifies ? "label" : "mask";
    for (size_t i = 0; i < p->io_count; i++) {
        const char *name = p->io[i].name;
        if (p->io[i].output || strcmp(name, "image") == 0 || strcmp(name, second) == 0) continue;
        return cli_fail(c, CLI_USER_ERROR,
                        "'%s' has an input '%s', but '%s' gives only image and %s; 'cnxc run' "
                        "takes any input",
                        p->plan->name, name, cli_command_name(c->options->command), second);
    }
    return CLI_DONE;
}

int cli_facts_of(cli *c, const cli_program *p, cli_facts *facts) {
    const ir_plan *plan = p->plan;
    const ir_buffer *image = ir_plan_buffer(plan, IR_BUFFER_INPUT, "image");
    const ir_buffer *logits = ir_plan_buffer(plan, IR_BUFFER_OUTPUT, "logits");
    *facts = (cli_facts){.model = plan->name, .crop_pct = 1};
    if (!image || image->type.dtype != IR_F32 || image->type.rank != 4 ||
        image->type.dim[2] != image->type.dim[3] ||
        (image->type.dim[1] != 1 && image->type.dim[1] != 3))
        return cli_fail(
            c, CLI_USER_ERROR,
            "'%s' has no input image: f32[N,C,S,S] of 1 or 3 channels, which '%s' needs",
            plan->name, cli_command_name(c->options->command));
    bool classifies = c->options->command != CLI_COMMAND_pretrain &&
                      c->options->command != CLI_COMMAND_reconstruct;
    if (classifies &&
        (!logits || logits->type.rank != 2 || logits->type.dim[0] != image->type.dim[0]))
        return cli_fail(c, CLI_USER_ERROR, "'%s' has no output logits: f32[N,K], which '%s' needs",
                        plan->name, cli_command_name(c->options->command));
    int code = check_inputs(c, p, classifies);
    if (code != CLI_DONE) return code;
    facts->channels = (int)image->type.dim[1];
    facts->size = (int)image->type.dim[2];
    facts->classes = classifies ? logits->type.dim[1] : 0;
    for (int i = 0; i < facts->channels; i++)
        facts->std[i] = 1;
    fact_texts texts = {.where = c->options->model,
                        .mean = ir_plan_meta(plan, "mean"),
                        .std = ir_plan_meta(plan, "std"),
                        .crop_pct = ir_plan_meta(plan, "crop_pct"),
                        .squash = ir_plan_meta(plan, "squash")};
    code = take_texts(c, &texts, facts);
    const char *names = facts->classes ? ir_plan_meta(plan, "class_names") : NULL;
    return code == CLI_DONE && names ? take_lines(c, texts.where, names, facts) : code;
}

/* --- from and to a weights file --- */

/* -D NAME=... was given: what the user says counts more than what a file says. */
static bool defined(const cli *c, const char *name) {
    const cli_list *list = &c->options->define;
    size_t length = strlen(name);
    for (size_t i = 0; i < list->count; i++)
        if (strncmp(list->item[i], name, length) == 0 && list->item[i][length] == '=') return true;
    return false;
}

/* How images were cropped at another size says nothing. */
static bool same_size(const rt_tensors *file, const cli_facts *facts) {
    const char *size = rt_tensors_metadata(file, "image_size");
    return !size || strtol(size, NULL, 10) == facts->size;
}

int cli_facts_update(cli *c, const char *path, const rt_tensors *file, cli_facts *facts) {
    const char *version = rt_tensors_metadata(file, "cnx_format");
    if (!version) return CLI_DONE;
    if (strcmp(version, format_version) != 0)
        return cli_fail(c, CLI_USER_ERROR, "%s: format version is '%s', expected '%s'", path,
                        version, format_version);
    fact_texts texts = {.where = path};
    if (!defined(c, "mean")) texts.mean = rt_tensors_metadata(file, "mean");
    if (!defined(c, "std")) texts.std = rt_tensors_metadata(file, "std");
    if (same_size(file, facts)) {
        if (!defined(c, "crop_pct")) texts.crop_pct = rt_tensors_metadata(file, "crop_pct");
        if (!defined(c, "squash")) texts.squash = rt_tensors_metadata(file, "squash");
    }
    int code = take_texts(c, &texts, facts);
    bool given = facts->class_names && defined(c, "class_names");
    const char *names =
        facts->classes == 0 || given ? NULL : rt_tensors_metadata(file, "class_names");
    if (code != CLI_DONE || !names) return code;
    const char *where = ir_arena_printf(c->arena, "%s: 'class_names'", path);
    return take_list(c, where, names, facts);
}

static const char *numbers(cli *c, const float *values, int count) {
    ir_text text = {0};
    for (int i = 0; i < count; i++)
        ir_text_printf(&text, "%s%.9g", i ? " " : "", (double)values[i]);
    const char *copy = ir_arena_strndup(c->arena, text.data, text.length);
    ir_text_free(&text);
    return copy;
}

static const char *names_text(cli *c, const cli_facts *facts) {
    cli_json j = {0};
    cli_json_begin(&j, NULL, '[');
    for (int64_t i = 0; i < facts->classes; i++)
        cli_json_string(&j, NULL, facts->class_names[i]);
    cli_json_end(&j);
    const char *copy = ir_arena_strndup(c->arena, j.text.data, j.text.length);
    ir_text_free(&j.text);
    return copy;
}

rt_pair *cli_facts_pairs(cli *c, const cli_facts *facts, size_t *count) {
    enum { MOST = 10 };
    rt_pair *pairs = ir_arena_alloc(c->arena, MOST * sizeof *pairs);
    size_t n = 0;
    pairs[n++] = (rt_pair){"cnx_format", format_version};
    pairs[n++] = (rt_pair){"model", facts->model};
    pairs[n++] = (rt_pair){"image_size", ir_arena_printf(c->arena, "%d", facts->size)};
    pairs[n++] = (rt_pair){"mean", numbers(c, facts->mean, facts->channels)};
    pairs[n++] = (rt_pair){"std", numbers(c, facts->std, facts->channels)};
    pairs[n++] = (rt_pair){"crop_pct", ir_arena_printf(c->arena, "%.17g", facts->crop_pct)};
    pairs[n++] = (rt_pair){"squash", facts->squash ? "true" : "false"};
    if (facts->class_names) pairs[n++] = (rt_pair){"class_names", names_text(c, facts)};
    *count = n;
    return pairs;
}

/* --- to images and the loader --- */

bool cli_facts_image(const cli_facts *facts, const char *path, rt_image *out, rt_error *error) {
    rt_eval_transform how = {
        .size = facts->size, .crop_pct = facts->crop_pct, .squash = facts->squash};
    rt_image image = {0};
    bool good = rt_image_load(path, facts->channels, &image, error);
    if (good && !rt_image_evaluate(&image, &how, out, error)) good = rt_fail_in(error, "%s", path);
    rt_image_free(&image);
    return good;
}

rt_loader_options cli_facts_loader(const cli_facts *facts, int64_t batch, int64_t threads) {
    rt_loader_options options = {
        .batch = batch,
        .channels = facts->channels,
        .height = facts->size,
        .width = facts->size,
        .evaluate = {.size = facts->size, .crop_pct = facts->crop_pct, .squash = facts->squash},
        .threads = threads < RT_MAX_LOADER_THREADS ? (int)threads : RT_MAX_LOADER_THREADS};
    memcpy(options.mean, facts->mean, sizeof options.mean);
    memcpy(options.std, facts->std, sizeof options.std);
    return options;
}

void cli_note_data(cli *c, const rt_data *data) {
    char text[1024];
    rt_data_note(data, text, sizeof text);
    if (*text) cli_note(c, "%s", text);
}

static int64_t find_name(const char *const *names, int64_t count, const char *name) {
    for (int64_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

/* Names may differ, but none may stand for another class. */
static int check_names(cli *c, const cli_facts *facts, const rt_data *data) {
    const char *const *names = rt_data_class_names(data), *const *own = facts->class_names;
    int64_t count = rt_data_classes(data), first = -1;
    if (!own) return CLI_DONE;
    for (int64_t k = 0; k < count; k++) {
        if (k < facts->classes && strcmp(names[k], own[k]) == 0) continue;
        int64_t place = find_name(own, facts->classes, names[k]);
        if (place >= 0)
            return cli_fail(c, CLI_USER_ERROR,
                            "class %lld of '%s' is '%s', which is class %lld of '%s'; both must "
                            "have their classes in the same order%s",
                            (long long)k, c->options->data, names[k], (long long)place,
                            facts->model,
                            c->options->command == CLI_COMMAND_eval
                                ? ""
                                : ", or -D 'class_names=[]' leaves the names to the data");
        if (first < 0) first = k;
    }
    if (first >= 0 && first < facts->classes)
        cli_note(c, "classes go by their order: class %lld is '%s' in '%s', '%s' in '%s'",
                 (long long)first, names[first], c->options->data, own[first], facts->model);
    return CLI_DONE;
}

int cli_facts_check_classes(cli *c, const cli_facts *facts, const rt_data *data) {
    if (facts->classes == 0) return CLI_DONE;
    int code = check_names(c, facts, data);
    if (code != CLI_DONE || rt_data_classes(data) == facts->classes) return code;
    return cli_fail(c, CLI_USER_ERROR,
                    "'%s' has %lld classes, but '%s' gives logits for %lld; try -D classes=%lld",
                    c->options->data, (long long)rt_data_classes(data), facts->model,
                    (long long)facts->classes, (long long)rt_data_classes(data));
}
