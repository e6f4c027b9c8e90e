/* cnxc convert: a file of weights under the names of another library.
 *
 * Every tensor goes from the names of the file it is in (found by its names) to those of cnx, and
 * from there to those asked for; its bytes are copied, never converted. What no map knows is an
 * error, or with --partial stays as it is. Nothing is written before all is known to be good, and
 * what is written is whole or absent. */
#include "weights.h"

#include <stdlib.h>
#include <string.h>

typedef struct convert {
    cli *c;
    const char *in, *out;
    rt_namings *maps;
    rt_tensors *file;
    const rt_naming *from, *to;
    rt_naming_style style;
    rt_named *cnx, *results; /* one per tensor, NULL-named where one failed */
    size_t count;
    rt_pair *pairs;
    size_t pair_count;
} convert;

/* --- which maps --- */

/* "hf, official, timm" */
static const char *target_names(convert *v) {
    const char *names = "";
    for (size_t i = 0; i < v->maps->count; i++) {
        const char *target = rt_naming_target(v->maps->item[i]);
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= strcmp(rt_naming_target(v->maps->item[k]), target) == 0;
        if (!again) names = ir_arena_printf(v->c->arena, "%s%s%s", names, i ? ", " : "", target);
    }
    return names;
}

static int check_target(convert *v) {
    for (size_t i = 0; i < v->maps->count; i++)
        if (strcmp(rt_naming_target(v->maps->item[i]), v->c->options->to) == 0) return CLI_DONE;
    return cli_wrong_usage(v->c, "--to is '%s'; expected one of %s", v->c->options->to,
                           target_names(v));
}

static int choose_map(convert *v) {
    rt_error error;
    if (!rt_namings_choose(v->maps, v->file, NULL, &v->from, &error))
        return cli_fail(v->c, CLI_USER_ERROR, "%s: %s", v->in, error.text);
    if (v->from) return CLI_DONE;
    if (v->count == 0) return cli_fail(v->c, CLI_USER_ERROR, "%s: no tensors", v->in);
    return cli_fail(v->c, CLI_USER_ERROR, "%s: its names are none of %s; the first tensor is '%s'",
                    v->in, target_names(v), rt_tensors_at(v->file, 0)->name);
}

/* --- tensors --- */

/* A tensor without a rule: an error, or with --partial a note. */
static void report(convert *v, const rt_naming *map, const rt_tensor *t, bool in_cnx) {
    cli *c = v->c;
    char shape[256];
    rt_tensor_shape(t, shape, sizeof shape);
    if (c->options->partial) {
        cli_note(c, "%s: tensor '%s' %s is not in '%s' and stays as it is", v->in, t->name, shape,
                 rt_naming_source(map));
        return;
    }
    ir_error(c->diag, (ir_loc){0}, "%s: tensor '%s' %s is not in '%s'", v->in, t->name, shape,
             rt_naming_source(map));
    const char *near = cli_nearest_rule(c, map, t->name, in_cnx);
    if (near) ir_hint(c->diag, "the nearest rule is '%s'", near);
}

static int read_tensors(convert *v) {
    cli *c = v->c;
    for (size_t i = 0; i < v->count; i++) {
        const rt_tensor *t = rt_tensors_at(v->file, i);
        rt_error error;
        if (!rt_naming_read(v->from, t, &v->cnx[i], &error)) {
            ir_error(c->diag, (ir_loc){0}, "%s: %s", v->in, error.text);
            v->cnx[i].tensor = *t;
        } else if (!v->cnx[i].known) {
            report(v, v->from, t, false);
        }
    }
    return c->diag->errors ? cli_fail_diag(c) : CLI_DONE;
}

static int write_tensors(convert *v) {
    cli *c = v->c;
    for (size_t i = 0; i < v->count; i++) {
        const rt_named *cnx = &v->cnx[i];
        rt_error error;
        v->results[i] = (rt_named){.tensor = cnx->tensor, .from = &cnx->tensor};
        if (!cnx->known) continue;
        if (!rt_naming_write(v->to, &v->style, &cnx->tensor, &v->results[i], &error))
            return cli_fail(c, CLI_USER_ERROR, "%s: '%s': %s", v->in, cnx->from->name, error.text);
        if (!v->results[i].known) report(v, v->to, &cnx->tensor, true);
    }
    return c->diag->errors ? cli_fail_diag(c) : CLI_DONE;
}

static int by_name(const void *a, const void *b) {
    const rt_named *const *x = a, *const *y = b;
    return strcmp((*x)->tensor.name, (*y)->tensor.name);
}

/* Two names of the file may mean the same tensor. */
static int check_names(convert *v) {
    const rt_named **sorted = ir_arena_alloc(v->c->arena, (v->count + 1) * sizeof *sorted);
    for (size_t i = 0; i < v->count; i++)
        sorted[i] = &v->results[i];
    qsort(sorted, v->count, sizeof *sorted, by_name);
    for (size_t i = 1; i < v->count; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            ir_error(v->c->diag, (ir_loc){0}, "%s: two tensors are '%s': '%s' and '%s'", v->in,
                     sorted[i]->tensor.name,
                     rt_tensors_at(v->file, (size_t)(sorted[i - 1] - v->results))->name,
                     rt_tensors_at(v->file, (size_t)(sorted[i] - v->results))->name);
    return v->c->diag->errors ? cli_fail_diag(v->c) : CLI_DONE;
}

/* --- style and metadata --- */

/* "hf.prefix": how a file was written in a naming is kept, so that the way back finds it. */
static const char *style_key(convert *v, const rt_naming *map, const char *what) {
    return ir_arena_printf(v->c->arena, "%s.%s", rt_naming_target(map), what);
}

static void choose_style(convert *v) {
    v->style = rt_naming_style_for(v->to, v->cnx, v->count);
    if (strcmp(rt_naming_target(v->from), rt_naming_target(v->to)) == 0) return;
    const char *prefix = rt_tensors_metadata(v->file, style_key(v, v->to, "prefix"));
    const char *conv = rt_tensors_metadata(v->file, style_key(v, v->to, "conv"));
    const char *known = prefix ? rt_naming_prefix(v->to, prefix) : NULL;
    if (known) v->style.prefix = known;
    if (conv) v->style.optional = strcmp(conv, "true") == 0;
}

static void add_pair(convert *v, const char *key, const char *value) {
    for (size_t i = 0; i < v->pair_count; i++)
        if (strcmp(v->pairs[i].key, key) == 0) {
            v->pairs[i].value = value;
            return;
        }
    v->pairs[v->pair_count++] = (rt_pair){key, value};
}

/* What the file says already, and what other libraries ask for. */
static void make_metadata(convert *v) {
    size_t count = rt_tensors_pair_count(v->file);
    rt_naming_style style = rt_naming_style_of(v->from, v->file);
    v->pairs = ir_arena_alloc(v->c->arena, (count + 3) * sizeof *v->pairs);
    for (size_t i = 0; i < count; i++) {
        const rt_pair *pair = rt_tensors_pair_at(v->file, i);
        add_pair(v, pair->key, pair->value);
    }
    add_pair(v, "format", "pt");
    if (rt_naming_has_prefixes(v->from)) add_pair(v, style_key(v, v->from, "prefix"), style.prefix);
    if (rt_naming_has_conv(v->from))
        add_pair(v, style_key(v, v->from, "conv"), style.optional ? "true" : "false");
}

/* --- the command --- */

static int open_all(convert *v) {
    cli *c = v->c;
    rt_error error;
    v->maps = cli_open_namings(c, &error);
    if (!v->maps) return cli_fail(c, CLI_USER_ERROR, "%s", error.text);
    int code = check_target(v);
    if (code != CLI_DONE) return code;
    v->file = cli_open_tensors(v->in, &error);
    if (!v->file) return cli_fail(c, CLI_USER_ERROR, "%s", error.text);
    v->count = rt_tensors_count(v->file);
    v->cnx = calloc(v->count + 1, sizeof *v->cnx);
    v->results = calloc(v->count + 1, sizeof *v->results);
    if (v->cnx && v->results) return choose_map(v);
    return cli_fail(c, CLI_RUN_FAILED, "out of memory for the names");
}

static int write_file(convert *v) {
    rt_tensor *tensors = ir_arena_alloc(v->c->arena, (v->count + 1) * sizeof *tensors);
    for (size_t i = 0; i < v->count; i++)
        tensors[i] = v->results[i].tensor;
    rt_error error;
    make_metadata(v);
    if (!rt_tensors_write(v->out, tensors, v->count, v->pairs, v->pair_count, &error))
        return cli_fail(v->c, CLI_RUN_FAILED, "%s", error.text);
    cli_note(v->c, "%s: %zu tensors, from the names of %s to those of %s", v->out, v->count,
             rt_naming_source(v->from), rt_naming_source(v->to));
    return CLI_DONE;
}

static void release(convert *v) {
    for (size_t i = 0; v->cnx && i < v->count; i++)
        rt_named_free(&v->cnx[i]);
    for (size_t i = 0; v->results && i < v->count; i++)
        rt_named_free(&v->results[i]);
    free(v->cnx);
    free(v->results);
    rt_tensors_close(v->file);
    rt_namings_free(v->maps);
}

int cli_convert(cli *c) {
    convert v = {.c = c, .in = c->options->model, .out = c->options->files.item[0]};
    int code = open_all(&v);
    if (code == CLI_DONE) code = read_tensors(&v);
    if (code == CLI_DONE) {
        v.to = rt_namings_for(v.maps, c->options->to, v.cnx, v.count);
        IR_ASSERT(v.to);
        choose_style(&v);
        code = write_tensors(&v);
    }
    if (code == CLI_DONE) code = check_names(&v);
    if (code == CLI_DONE) code = write_file(&v);
    release(&v);
    return code;
}
