/* Which tensor of a file is which weight, and everything that does not fit. */
#include "weights.h"

#include <stdlib.h>
#include <string.h>

typedef struct loading {
    cli *c;
    const char *path;
    const ir_plan *plan;
    cli_weights *weights;
    const rt_naming *naming; /* of the file; NULL: names are the model's */
    rt_named **sorted;       /* the file's tensors, by cnx's names */
    const char **params;     /* names of plan->weights, sorted */
    const char **extra;      /* names (in cnx) of those that are no parameters */
    size_t extra_count;
    bool encoder;    /* fine-tuning: the decoder is passed over, the head starts anew */
    const char *grn; /* fine-tuning: "leave_out", "fresh", or "" */
    size_t passed_over;
} loading;

/* --- findings --- */

/* An error, or with --partial a note. */
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
        if (hint) ir_hint(l->c->diag, "%s", hint);
    }
    ir_text_free(&text);
}

/* The tensor's name in cnx, and the one that stands in the file if that is another. */
static const char *label(loading *l, const rt_named *named) {
    const char *name = named->tensor.name, *own = named->from->name;
    if (strcmp(name, own) == 0) return ir_arena_printf(l->c->arena, "'%s'", name);
    return ir_arena_printf(l->c->arena, "'%s' ('%s' in the file)", name, own);
}

static const char *shape_of(loading *l, const rt_tensor *t) {
    char text[256];
    return ir_arena_printf(l->c->arena, "%s", rt_tensor_shape(t, text, sizeof text));
}

/* --- names --- */

static int by_text(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void sort_params(loading *l) {
    size_t count = l->plan->weight_count;
    l->params = ir_arena_alloc(l->c->arena, (count + 1) * sizeof *l->params);
    for (size_t i = 0; i < count; i++)
        l->params[i] = l->plan->weights[i].name;
    qsort(l->params, count, sizeof *l->params, by_text);
}

static bool is_parameter(const void *context, const char *name) {
    const loading *l = context;
    return bsearch(&name, l->params, l->plan->weight_count, sizeof *l->params, by_text) != NULL;
}

/* Names as they are, or the map that makes more of them parameters. */
static bool choose_naming(loading *l, rt_error *error) {
    const rt_tensors *file = l->weights->file;
    size_t count = rt_tensors_count(file), fitting = 0;
    for (size_t i = 0; i < count; i++)
        fitting += is_parameter(l, rt_tensors_at(file, i)->name);
    if (fitting == count && count == l->plan->weight_count) return true;
    if (fitting > 0 && !cli_find_namings(l->c)) return true; /* cnxc stands alone */
    const rt_naming *naming;
    rt_wanted wanted = {.is = is_parameter, .context = l};
    l->weights->maps = cli_open_namings(l->c, error);
    if (!l->weights->maps || !rt_namings_choose(l->weights->maps, file, &wanted, &naming, error))
        return false;
    if (naming && rt_naming_fitting(naming, file, &wanted) > fitting) l->naming = naming;
    return true;
}

/* --- the file's tensors --- */

static int by_name(const void *a, const void *b) {
    const rt_named *const *x = a, *const *y = b;
    return strcmp((*x)->tensor.name, (*y)->tensor.name);
}

/* Gives every tensor its name in cnx; one of a shape that its rule does not know is left out. */
static int name_tensors(loading *l) {
    cli_weights *w = l->weights;
    size_t count = rt_tensors_count(w->file);
    w->named = calloc(count + 1, sizeof *w->named);
    if (!w->named) return cli_fail(l->c, CLI_RUN_FAILED, "out of memory for the weights");
    for (size_t i = 0; i < count; i++) {
        const rt_tensor *t = rt_tensors_at(w->file, i);
        rt_named *named = &w->named[w->named_count];
        rt_error error;
        *named = (rt_named){.tensor = *t, .from = t, .known = true};
        if (!l->naming || rt_naming_read(l->naming, t, named, &error))
            w->named_count++;
        else
            report(l, NULL, "%s", error.text);
    }
    return CLI_DONE;
}

static void sort_tensors(loading *l) {
    cli_weights *w = l->weights;
    l->sorted = ir_arena_alloc(l->c->arena, (w->named_count + 1) * sizeof(rt_named *));
    for (size_t i = 0; i < w->named_count; i++)
        l->sorted[i] = &w->named[i];
    qsort(l->sorted, w->named_count, sizeof(rt_named *), by_name);
    for (size_t i = 1; i < w->named_count; i++)
        if (by_name(&l->sorted[i - 1], &l->sorted[i]) == 0)
            ir_error(l->c->diag, (ir_loc){0}, "%s: tensors '%s' and '%s' are both '%s'", l->path,
                     l->sorted[i - 1]->from->name, l->sorted[i]->from->name,
                     l->sorted[i]->tensor.name);
}

/* --- fine-tuning --- */

static bool begins(const char *name, const char *start) {
    return strncmp(name, start, strlen(start)) == 0;
}

static bool is_grn(const char *name) {
    return strstr(name, ".mlp.grn.") != NULL;
}

/* A tensor of the file that fine-tuning does not need. */
static bool passes_over(const loading *l, const char *name) {
    static const char *const decoder[] = {"proj.", "mask_token", "decoder.", "pred."};
    if (!l->encoder) return false;
    for (size_t i = 0; i < sizeof decoder / sizeof *decoder; i++)
        if (begins(name, decoder[i])) return true;
    return strcmp(l->grn, "leave_out") == 0 && is_grn(name);
}

/* A weight that fine-tuning starts by its rule. */
static bool starts_anew(const loading *l, const char *name, bool there) {
    if (!l->encoder) return false;
    if (begins(name, "head.fc.") || (begins(name, "head.") && !there)) return true;
    return strcmp(l->grn, "fresh") == 0 && is_grn(name);
}

static void find_extra(loading *l) {
    size_t count = l->weights->named_count;
    l->extra = ir_arena_alloc(l->c->arena, (count + 1) * sizeof *l->extra);
    for (size_t i = 0; i < count; i++) {
        const char *name = l->sorted[i]->tensor.name;
        if (is_parameter(l, name)) continue;
        if (passes_over(l, name))
            l->passed_over++;
        else
            l->extra[l->extra_count++] = name;
    }
}

static const rt_named *find_tensor(const loading *l, const char *name) {
    rt_named wanted = {.tensor = {.name = name}};
    const rt_named *key = &wanted;
    rt_named **found = l->weights->named_count ? bsearch(&key, l->sorted, l->weights->named_count,
                                                         sizeof(rt_named *), by_name)
                                               : NULL;
    return found ? *found : NULL;
}

/* --- weights --- */

/* Equal shapes, dimensions of 1 aside: (O,I) and (O,I,1,1), (K) and (1,K). */
static bool fits(const rt_tensor *have, const rt_tensor *want) {
    int h = 0, w = 0;
    for (;;) {
        while (h < have->rank && have->dim[h] == 1)
            h++;
        while (w < want->rank && want->dim[w] == 1)
            w++;
        if (h == have->rank || w == want->rank) return h == have->rank && w == want->rank;
        if (have->dim[h++] != want->dim[w++]) return false;
    }
}

/* Weight i makes one row for each class, as far as the model says how many there are. */
static bool is_head(const loading *l, const rt_tensor *want, size_t i) {
    const char *classes = ir_plan_meta(l->plan, "classes");
    return classes && i + 2 >= l->plan->weight_count && want->rank > 0 &&
           want->dim[0] == strtoll(classes, NULL, 10);
}

static const char *hint_of_missing(loading *l, const rt_tensor *want, size_t i) {
    const char *near = ir_nearest(want->name, l->extra, l->extra_count);
    if (near) return ir_arena_printf(l->c->arena, "the file holds '%s'", near);
    return is_head(l, want, i) ? "a file without a head: --partial starts with a new one" : NULL;
}

static const char *hint_of_shape(loading *l, const rt_tensor *have, const rt_tensor *want,
                                 size_t i) {
    rt_tensor cut = *have;
    if (have->rank == 0 || !is_head(l, want, i)) return NULL;
    cut.dim[0] = want->dim[0];
    if (!fits(&cut, want)) return NULL;
    return ir_arena_printf(l->c->arena,
                           "a head for %lld classes: -D classes=%lld takes it, --partial starts "
                           "with a new one",
                           (long long)have->dim[0], (long long)have->dim[0]);
}

/* Whether its elements can be read as f32. */
static bool check_dtype(loading *l, const rt_tensor *have) {
    rt_tensor none = *have;
    rt_error error;
    none.rank = 1;
    none.dim[0] = 0;
    if (rt_tensor_to_f32(&none, NULL, &error)) return true;
    return ir_error(l->c->diag, (ir_loc){0}, "%s: %s", l->path, error.text);
}

/* Finds weight i in the file; true if it is there and fits. */
static bool take(loading *l, size_t i) {
    rt_tensor want = cli_weight_tensor(l->plan, i, NULL);
    const rt_named *have = find_tensor(l, want.name);
    if (starts_anew(l, want.name, have != NULL)) return false;
    if (!have) {
        report(l, hint_of_missing(l, &want, i), "tensor '%s' %s is missing", want.name,
               shape_of(l, &want));
        return false;
    }
    if (!fits(&have->tensor, &want)) {
        report(l, hint_of_shape(l, &have->tensor, &want, i), "tensor %s has shape %s, expected %s",
               label(l, have), shape_of(l, have->from), shape_of(l, &want));
        return false;
    }
    if (!check_dtype(l, &have->tensor)) return false;
    l->weights->from[i] = &have->tensor;
    return true;
}

static void report_extra(loading *l) {
    for (size_t i = 0; i < l->extra_count; i++) {
        const rt_named *named = find_tensor(l, l->extra[i]);
        const char *near, *hint = NULL;
        near = ir_nearest(named->tensor.name, l->params, l->plan->weight_count);
        if (near) hint = ir_arena_printf(l->c->arena, "the model has '%s'", near);
        if (!named->known) near = cli_nearest_rule(l->c, l->naming, named->from->name, false);
        if (!named->known && near)
            hint = ir_arena_printf(l->c->arena, "the nearest name in '%s' is '%s'",
                                   rt_naming_source(l->naming), near);
        report(l, hint, "tensor %s %s is no parameter of '%s'", label(l, named),
               shape_of(l, named->from), l->plan->name);
    }
}

/* Whether any tensor has the name of a parameter; else one message says more than hundreds. */
static bool knows_any(const loading *l) {
    for (size_t i = 0; i < l->weights->named_count; i++)
        if (is_parameter(l, l->sorted[i]->tensor.name)) return true;
    return l->plan->weight_count == 0;
}

static int fail_without(const loading *l) {
    const rt_tensors *file = l->weights->file;
    if (rt_tensors_count(file) == 0)
        return cli_fail(l->c, CLI_USER_ERROR, "%s: no tensor fits '%s': the file has none", l->path,
                        l->plan->name);
    return cli_fail(l->c, CLI_USER_ERROR,
                    "%s: no tensor fits '%s': the file has '%s', the model '%s'", l->path,
                    l->plan->name, rt_tensors_at(file, 0)->name, l->plan->weights[0].name);
}

static int match(loading *l) {
    size_t fitting = 0;
    rt_error error;
    sort_params(l);
    if (!choose_naming(l, &error)) return cli_fail(l->c, CLI_USER_ERROR, "%s", error.text);
    int code = name_tensors(l);
    if (code != CLI_DONE) return code;
    sort_tensors(l);
    if (l->c->diag->errors) return cli_fail_diag(l->c);
    if (!knows_any(l)) return fail_without(l);
    find_extra(l);
    for (size_t i = 0; i < l->plan->weight_count; i++)
        fitting += take(l, i);
    report_extra(l);
    if (l->c->diag->errors) return cli_fail_diag(l->c);
    if (fitting == 0 && l->plan->weight_count)
        return cli_fail(l->c, CLI_USER_ERROR, "%s: no tensor fits '%s'", l->path, l->plan->name);
    return CLI_DONE;
}

/* The file is open, and every weight knows its rule. */
static int start(cli *c, const cli_program *p, const char *path, cli_weights *weights) {
    int code = cli_weights_start(c, p, p->recipe.seed > 0 ? (uint64_t)p->recipe.seed : 0, weights);
    if (code != CLI_DONE) return code;
    rt_error error;
    weights->file = cli_open_tensors(path, &error);
    return weights->file ? CLI_DONE : cli_fail(c, CLI_USER_ERROR, "%s", error.text);
}

int cli_weights_load(cli *c, const cli_program *p, const char *path, cli_weights *weights) {
    int code = start(c, p, path, weights);
    if (code != CLI_DONE) return code;
    loading l = {.c = c, .path = path, .plan = p->plan, .weights = weights, .grn = ""};
    return match(&l);
}

/* What the model says about GRN in fine-tuning. */
static int grn_of(cli *c, const ir_plan *plan, const char **grn) {
    const char *meta = ir_plan_meta(plan, "finetune_grn");
    *grn = meta ? meta : "";
    if (!**grn || strcmp(*grn, "leave_out") == 0 || strcmp(*grn, "fresh") == 0) return CLI_DONE;
    return cli_fail(c, CLI_USER_ERROR,
                    "%s: meta 'finetune_grn' is '%s', expected leave_out or fresh",
                    c->options->model, *grn);
}

int cli_weights_load_encoder(cli *c, const cli_program *p, const char *path, cli_weights *weights) {
    const char *grn;
    int code = start(c, p, path, weights);
    if (code == CLI_DONE) code = grn_of(c, p->plan, &grn);
    if (code != CLI_DONE) return code;
    loading l = {
        .c = c, .path = path, .plan = p->plan, .weights = weights, .encoder = true, .grn = grn};
    code = match(&l);
    if (code == CLI_DONE)
        cli_note(c, "'%s': encoder taken, %zu tensors of the file passed over, head.fc starts anew",
                 path, l.passed_over);
    return code;
}
