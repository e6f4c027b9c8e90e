/* Recipes: every field from its default, the recipe with those it is derived from, the command line
 * and -D, in this order. */
#include "fe_elab.h"

#include <stdlib.h>
#include <string.h>

typedef enum field_kind { KIND_COUNT, KIND_NUMBER, KIND_PAIR, KIND_WORD } field_kind;

typedef struct field_info {
    const char *name;
    field_kind kind;
    const char *group;
    enum { USE_ANY, USE_LOSS, USE_STEP, USE_RUN } use;
    const char *default_;
    double least, most;
} field_info;

static const field_info fields[FE_FIELD_COUNT] = {
#define FIELD(name, kind, group, use, default_, least, most, doc)                                  \
    {#name, KIND_##kind, #group, USE_##use, default_, least, most},
#include "fe_recipe.def"
#undef FIELD
};

/* Where the value of a field lies in a recipe. */
static void *field_at(fe_recipe *recipe, int field) {
    switch ((fe_field)field) {
#define FIELD(name, kind, group, use, default_, least, most, doc)                                  \
    case FE_FIELD_##name: return &recipe->name;
#include "fe_recipe.def"
#undef FIELD
    case FE_FIELD_COUNT: break;
    }
    IR_BUG("recipe field %d", field);
}

typedef struct resolver {
    fe_elab *e;
    fe_recipe *recipe;
    const char *origin;    /* of what is set now */
    const ir_source *file; /* of the model; what stands there is stated for it */
    bool command_line;     /* so is what is read now, -D */
    bool good;
} resolver;

/* Records an error; whether it was recorded, so that a hint may follow. */
static bool fail(resolver *r, ir_loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(resolver *r, ir_loc loc, const char *format, ...) {
    va_list args;
    ir_text text = {0};
    size_t errors = r->e->diag->errors;
    va_start(args, format);
    ir_text_vprintf(&text, format, args);
    va_end(args);
    fe_fail(r->e, loc, "%s", text.data);
    ir_text_free(&text);
    r->good = false;
    return r->e->diag->errors > errors;
}

/* ---- one field ---- */

static bool in_range(resolver *r, int field, ir_loc loc, double value) {
    const field_info *f = &fields[field];
    if (value >= f->least && value <= f->most) return true;
    fail(r, loc, "'%s' is %g, expected %g to %g", f->name, value, f->least, f->most);
    return false;
}

static void wrong_kind(resolver *r, int field, ir_loc loc, fe_value value) {
    static const char *const expected[] = {"a whole number", "a number", "a list of two numbers",
                                           "a word"};
    if (value.kind != FE_POISON)
        fail(r, loc, "'%s' is %s, expected %s", fields[field].name, fe_describe(r->e->arena, value),
             expected[fields[field].kind]);
    r->good = false;
}

static void set_pair(resolver *r, int field, ir_loc loc, fe_value value) {
    double *pair = field_at(r->recipe, field);
    bool fits = value.kind == FE_VALUE_LIST && value.list->count == 2 &&
                fe_is_number(value.list->items[0]) && fe_is_number(value.list->items[1]);
    if (!fits) {
        wrong_kind(r, field, loc, value);
        return;
    }
    for (int i = 0; i < 2; i++) {
        pair[i] = fe_number(value.list->items[i]);
        in_range(r, field, loc, pair[i]);
    }
    bool range = strncmp(fields[field].name, "crop_", 5) == 0;
    if (range && pair[0] == 0 && pair[1] > 0)
        fail(r, loc, "'%s' is [0, %g], expected more than 0", fields[field].name, pair[1]);
    if (range && pair[0] > pair[1])
        fail(r, loc, "'%s' is [%g, %g], expected the smaller number first", fields[field].name,
             pair[0], pair[1]);
}

static void unknown_word(resolver *r, int field, ir_loc loc, const char *word) {
    fe_names names = {.arena = r->e->arena};
    ir_text expected = {0};
    for (const char *p = fields[field].default_; *p; p += strcspn(p, " "), p += *p == ' ') {
        fe_names_add(&names, ir_arena_strndup(r->e->arena, p, strcspn(p, " ")));
        ir_text_printf(&expected, "%s%s", names.count > 1 ? " or " : "",
                       names.items[names.count - 1]);
    }
    if (fail(r, loc, "'%s' is '%s', expected %s", fields[field].name, word, expected.data))
        fe_suggest(r->e->diag, &names, word);
    ir_text_free(&expected);
}

static void set_default(resolver *r, int field) {
    const field_info *f = &fields[field];
    void *at = field_at(r->recipe, field);
    char *end;
    r->recipe->origin[field] = "default";
    r->recipe->stated[field] = (ir_loc){0};
    switch (f->kind) {
    case KIND_COUNT: *(int64_t *)at = strtoll(f->default_, NULL, 10); break;
    case KIND_NUMBER: *(double *)at = strtod(f->default_, NULL); break;
    case KIND_PAIR:
        ((double *)at)[0] = strtod(f->default_, &end);
        ((double *)at)[1] = strtod(end, NULL);
        break;
    case KIND_WORD:
        *(const char **)at =
            ir_arena_strndup(r->e->diag->arena, f->default_, strcspn(f->default_, " "));
        break;
    }
}

/* Whether `word` stands in a text of words. */
static bool has_word(const char *words, const char *word) {
    for (const char *p = words; *p; p += strcspn(p, " "), p += *p == ' ') {
        size_t length = strcspn(p, " ");
        if (strlen(word) == length && strncmp(p, word, length) == 0) return true;
    }
    return false;
}

/* The field of words that `field` is an argument of, under a word that was not chosen; or -1. */
static int unused_in(const fe_recipe *recipe, int field) {
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        if (fields[i].kind == KIND_WORD && has_word(fields[i].default_, fields[field].group) &&
            strcmp(fields[field].group, *(const char **)field_at((fe_recipe *)recipe, i)) != 0)
            return i;
    return -1;
}

/* Chooses a word; arguments of other words go back to their defaults. */
static bool set_word(resolver *r, int field, ir_loc loc, const char *word) {
    if (!has_word(fields[field].default_, word)) {
        unknown_word(r, field, loc, word);
        return false;
    }
    *(const char **)field_at(r->recipe, field) =
        ir_arena_strndup(r->e->diag->arena, word, strlen(word));
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        if (unused_in(r->recipe, i) == field) set_default(r, i);
    return true;
}

/* Who sets a field, and where, if that is said for this model. */
static void set_origin(resolver *r, int field, ir_loc loc) {
    bool own = r->command_line || loc.source == r->file;
    r->recipe->origin[field] = r->origin;
    r->recipe->stated[field] = own ? loc : (ir_loc){0};
}

static void set_field(resolver *r, int field, ir_loc loc, fe_value value) {
    set_origin(r, field, loc);
    switch (fields[field].kind) {
    case KIND_COUNT:
        if (value.kind != FE_VALUE_INT)
            wrong_kind(r, field, loc, value);
        else if (in_range(r, field, loc, (double)value.integer))
            *(int64_t *)field_at(r->recipe, field) = value.integer;
        break;
    case KIND_NUMBER:
        if (!fe_is_number(value))
            wrong_kind(r, field, loc, value);
        else if (in_range(r, field, loc, fe_number(value)))
            *(double *)field_at(r->recipe, field) = fe_number(value);
        break;
    case KIND_PAIR: set_pair(r, field, loc, value); break;
    case KIND_WORD:
        if (value.kind == FE_VALUE_TEXT)
            set_word(r, field, loc, value.text);
        else
            wrong_kind(r, field, loc, value);
        break;
    }
}

/* ---- calls: adamw(lr = 0.1), crop(padding = 2) ---- */

static const char *const transforms[] = {"crop", "flip", "random_resized_crop"};
enum { TRANSFORMS = sizeof transforms / sizeof *transforms };

static bool is_transform(const char *name) {
    for (int t = 0; t < TRANSFORMS; t++)
        if (strcmp(transforms[t], name) == 0) return true;
    return false;
}

/* Inside its call, crop_padding is `padding`, and flip, which has the name of its call,
 * `probability`. */
static const char *argument_name(int field) {
    const char *name = fields[field].name;
    if (strcmp(name, fields[field].group) == 0) return "probability";
    return strncmp(name, "crop_", 5) == 0 ? name + 5 : name;
}

/* `NAME = WORD(..)` takes the fields of group WORD and those of group NAME, which all words share.
 * A transform is a NAME without words. */
typedef struct call_groups {
    const char *word, *name;
} call_groups;

static bool in_groups(int field, const call_groups *groups) {
    const char *own = fields[field].group;
    return strcmp(own, groups->word) == 0 || strcmp(own, groups->name) == 0;
}

/* The field for argument `arg`, number `position` of a call, or -1. */
static int find_argument(const call_groups *groups, const fe_arg *arg, size_t position) {
    for (int i = 0; i < FE_FIELD_COUNT; i++) {
        if (!in_groups(i, groups)) continue;
        if (arg->name ? strcmp(argument_name(i), arg->name) == 0 : position-- == 0) return i;
    }
    return -1;
}

static void unknown_argument(resolver *r, const fe_expr *call, const fe_arg *arg,
                             const call_groups *groups) {
    fe_names names = {.arena = r->e->arena};
    if (!arg->name) {
        fail(r, arg->loc, "%s takes no further argument", call->text);
        return;
    }
    for (int k = 0; k < FE_FIELD_COUNT; k++)
        if (in_groups(k, groups)) fe_names_add(&names, argument_name(k));
    if (fail(r, arg->loc, "%s takes no argument '%s'", call->text, arg->name))
        fe_suggest(r->e->diag, &names, arg->name);
}

/* A call states all of its fields: those it does not name have their defaults, whatever a recipe
 * that this one is derived from says. given[field] tells which it named. */
static void set_call(resolver *r, const fe_expr *call, const call_groups *groups, bool *given) {
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        if (in_groups(i, groups)) set_default(r, i);
    for (size_t i = 0; i < call->count; i++) {
        const fe_arg *arg = &call->args[i];
        int field = find_argument(groups, arg, i);
        if (field < 0) {
            unknown_argument(r, call, arg, groups);
        } else if (given[field]) {
            fail(r, arg->loc, "argument '%s' is given twice", argument_name(field));
        } else {
            given[field] = true;
            set_field(r, field, arg->value->loc, fe_eval(r->e, arg->value));
        }
    }
    if (given[FE_FIELD_lr] && r->recipe->base_lr > 0)
        fail(r, call->loc, "'lr' and 'base_lr' are both given, expected one of them");
}

/* A transform with its arguments, of which the first must be there: without it nothing would
 * happen. */
static void set_transform(resolver *r, const fe_expr *call, bool *given) {
    call_groups groups = {call->text, call->text};
    int main = find_argument(&groups, &(fe_arg){0}, 0);
    if (given[main]) {
        fail(r, call->loc, "transform '%s' stands twice", call->text);
        return;
    }
    set_call(r, call, &groups, given);
    if (!given[main])
        fail(r, call->loc, "%s needs the argument '%s'", call->text, argument_name(main));
}

/* A list of transforms replaces the one a recipe is derived from, whole. */
static void set_augment(resolver *r, const fe_arg *arg) {
    static const char expected[] =
        "expected crop(padding = N), flip(P) or random_resized_crop(scale = [A, B])";
    bool given[FE_FIELD_COUNT] = {false};
    if (arg->value->kind != FE_EXPR_LIST) {
        fail(r, arg->value->loc, "'augment' is no list of transforms in [ ]");
        return;
    }
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        if (is_transform(fields[i].group)) set_default(r, i);
    for (size_t i = 0; i < arg->value->count; i++) {
        const fe_expr *item = arg->value->args[i].value;
        if (item->kind != FE_EXPR_CALL) {
            fail(r, item->loc, "a transform is missing; %s", expected);
        } else if (!is_transform(item->text)) {
            const char *near = ir_nearest(item->text, transforms, TRANSFORMS);
            if (fail(r, item->loc, "unknown transform '%s'; %s", item->text, expected) && near)
                ir_hint(r->e->diag, "did you mean '%s'?", near);
        } else {
            set_transform(r, item, given);
        }
    }
}

/* optimizer = adamw(..), or the word alone. */
static void set_word_field(resolver *r, int field, const fe_expr *value) {
    bool given[FE_FIELD_COUNT] = {false};
    if (!set_word(r, field, value->loc, value->text)) return;
    call_groups groups = {value->text, fields[field].name};
    set_call(r, value, &groups, given);
    set_origin(r, field, value->loc);
}

static void set_recipe_field(resolver *r, const fe_arg *arg) {
    if (strcmp(arg->name, "augment") == 0) {
        set_augment(r, arg);
        return;
    }
    fe_names names = {.arena = r->e->arena};
    for (int i = 0; i < FE_FIELD_COUNT; i++) {
        const field_info *f = &fields[i];
        fe_expr_kind kind = arg->value->kind;
        if (strcmp(f->group, "recipe") != 0) continue;
        fe_names_add(&names, f->name);
        if (strcmp(f->name, arg->name) != 0) continue;
        if (f->kind == KIND_WORD && (kind == FE_EXPR_CALL || kind == FE_EXPR_NAME))
            set_word_field(r, i, arg->value);
        else
            set_field(r, i, arg->value->loc, fe_eval(r->e, arg->value));
        return;
    }
    fe_names_add(&names, "augment");
    if (!fail(r, arg->loc, "a recipe has no field '%s'", arg->name)) return;
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        if (strcmp(fields[i].name, arg->name) == 0) {
            ir_hint(r->e->diag, "it is an argument of '%s'", fields[i].group);
            return;
        }
    fe_suggest(r->e->diag, &names, arg->name);
}

/* ---- a recipe ---- */

static void apply_item(resolver *r, const fe_item *item) {
    if (item->base) apply_item(r, fe_find_before(r->e->model, item, item->base));
    r->origin = ir_arena_printf(r->e->diag->arena, "recipe %s", item->name);
    for (size_t i = 0; i < item->arg_count; i++)
        set_recipe_field(r, &item->args[i]);
}

/* finetune_atto of a model called convnextv2_atto. */
static const char *usual_of_model(resolver *r, const char *usual) {
    const char *name = fe_model_name(r->e->model);
    const char *bar = name ? strrchr(name, '_') : NULL;
    return ir_arena_printf(r->e->arena, "%s_%s", usual, bar ? bar + 1 : name ? name : "");
}

static void hint_names(resolver *r, const fe_names *names) {
    ir_text text = {0};
    for (size_t i = 0; i < names->count; i++)
        ir_text_printf(&text, "%s'%s'", i ? ", " : "", names->items[i]);
    ir_hint(r->e->diag, "the file has %s", text.data);
    ir_text_free(&text);
}

/* The recipe asked for; NULL without an error if the file has none. */
static const fe_item *choose(resolver *r) {
    const fe_items *items = &r->e->model->items;
    const char *wanted = r->e->options->recipe;
    const char *usual = r->e->options->usual ? r->e->options->usual : "default";
    const char *special = usual_of_model(r, usual);
    const fe_item *last = NULL, *found = NULL;
    int rank = 0; /* of what was found */
    fe_names names = {.arena = r->e->arena};
    for (size_t i = 0; i < items->count; i++) {
        if (items->items[i].kind != FE_ITEM_RECIPE) continue;
        last = &items->items[i];
        fe_names_add(&names, last->name);
        if (wanted && strcmp(last->name, wanted) == 0) return last;
        const char *names_by_rank[] = {"default", usual, special};
        for (int k = rank; k < 3; k++)
            if (strcmp(last->name, names_by_rank[k]) == 0) found = last, rank = k;
    }
    if (!wanted) return found ? found : last;
    r->good = ir_error(r->e->diag, (ir_loc){0}, "there is no recipe '%s'", wanted);
    const char *near = ir_nearest(wanted, names.items, names.count);
    if (near)
        ir_hint(r->e->diag, "did you mean '%s'?", near);
    else if (last)
        hint_names(r, &names);
    else
        ir_hint(r->e->diag, "the file has no recipes");
    return NULL;
}

/* -D of the learning rate: one of its two ways replaces the other. */
static void define_lr(resolver *r) {
    const fe_define *lr = fe_find_define(r->e->options, "lr");
    const fe_define *base_lr = fe_find_define(r->e->options, "base_lr");
    if (lr && base_lr)
        fail(r, fe_define_loc(r->e, base_lr),
             "'lr' and 'base_lr' are both given, expected one of them");
    if (!lr || base_lr) return;
    set_default(r, FE_FIELD_base_lr);
}

/* Whether a field has an effect on what is made: inference has no loss, gradients no update, and
 * only a training run goes over data. */
static bool is_used(const fe_options *options, int field) {
    static const int most[] = {
        [IR_KIND_INFER] = USE_ANY, [IR_KIND_GRAD] = USE_LOSS, [IR_KIND_TRAIN] = USE_STEP};
    return !options->no_run || (int)fields[field].use <= most[options->kind];
}

static void define_field(resolver *r, int field, const fe_define *define) {
    static const char *const uses[] = {"any program", "programs with a loss", "training steps",
                                       "training runs"};
    const field_info *f = &fields[field];
    ir_loc loc = fe_define_loc(r->e, define);
    fe_value like = f->kind == KIND_WORD ? fe_text("") : fe_poison();
    fe_value value = fe_define_value(r->e, define, like);
    bool parameter = fe_is_parameter(r->e, f->name); /* which the value is for as well */
    int chooser = unused_in(r->recipe, field);
    size_t errors = r->e->diag->errors;
    if (value.kind == FE_POISON)
        r->good = false;
    else if (chooser >= 0)
        fail(r, loc, "'%s' is an argument of %s, but %s is %s", f->name, f->group,
             fields[chooser].name, *(const char **)field_at(r->recipe, chooser));
    else
        set_field(r, field, loc, value);
    if (parameter) r->recipe->stated[field] = (ir_loc){0};
    bool wrong = value.kind == FE_POISON || r->e->diag->errors > errors;
    if (!wrong && !parameter && !is_used(r->e->options, field))
        fail(r, loc, "'%s' has no effect here, only on %s", f->name, uses[f->use]);
}

static void apply_command_line(resolver *r) {
    const fe_options *options = r->e->options;
    ir_loc nowhere = {0};
    r->command_line = true;
    r->origin = "--batch";
    if (options->batch) set_field(r, FE_FIELD_batch, nowhere, fe_int(options->batch));
    r->origin = "--seed";
    if (options->seed && *options->seed > INT64_MAX)
        fail(r, nowhere, "'seed' is %llu, expected at most 9e18",
             (unsigned long long)*options->seed);
    else if (options->seed)
        set_field(r, FE_FIELD_seed, nowhere, fe_int((int64_t)*options->seed));
    r->origin = "-D";
    define_lr(r);
    for (int i = 0; i < FE_FIELD_COUNT; i++) {
        const fe_define *define = fe_find_define(options, fields[i].name);
        if (define) define_field(r, i, define);
    }
    ir_loc ratio = r->recipe->stated[FE_FIELD_crop_ratio];
    bool asks_ratio = ratio.source && fe_find_define(options, "crop_ratio");
    if (r->good && asks_ratio && r->recipe->crop_scale[1] == 0)
        fail(r, ratio, "'crop_ratio' has no effect without 'crop_scale'");
}

bool fe_resolve_recipe(const fe_model *model, const fe_options *options, fe_recipe *recipe,
                       ir_diag *diag) {
    fe_elab *e = fe_elab_new(model, options, diag);
    *recipe = (fe_recipe){.name = "default"};
    if (!e) return false;
    fe_frame frame = {.prefix = ""};
    e->frame = &frame;
    const fe_item *last = fe_last_model(model);
    resolver r = {.e = e, .recipe = recipe, .file = last ? last->loc.source : NULL, .good = true};
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        set_default(&r, i);
    const fe_item *item = choose(&r);
    if (item) recipe->name = ir_arena_strndup(diag->arena, item->name, strlen(item->name));
    if (item) apply_item(&r, item);
    apply_command_line(&r);
    fe_elab_free(e);
    return r.good;
}

double fe_recipe_lr(const fe_recipe *recipe) {
    return recipe->base_lr > 0 ? recipe->base_lr * (double)recipe->batch / 256 : recipe->lr;
}

bool fe_recipe_given(const fe_recipe *recipe, fe_field field) {
    return recipe->origin[field] && strcmp(recipe->origin[field], "default") != 0;
}

void fe_recipe_unused(const fe_recipe *recipe, fe_field field, const char *why, ir_diag *diag) {
    if (recipe->stated[field].source)
        ir_error(diag, recipe->stated[field], "'%s' has no effect: %s", fields[field].name, why);
}

/* ---- printing ---- */

static void print_field(const fe_recipe *recipe, int field, const char *indent, ir_text *out) {
    const void *at = field_at((fe_recipe *)recipe, field);
    bool grouped = strcmp(fields[field].group, "recipe") != 0;
    ir_text_printf(out, "%s%s = ", indent, grouped ? argument_name(field) : fields[field].name);
    switch (fields[field].kind) {
    case KIND_COUNT: ir_text_printf(out, "%lld", (long long)*(const int64_t *)at); break;
    case KIND_NUMBER: fe_print_number(*(const double *)at, out); break;
    case KIND_PAIR:
        ir_text_append(out, "[", 1);
        fe_print_number(((const double *)at)[0], out);
        ir_text_append(out, ", ", 2);
        fe_print_number(((const double *)at)[1], out);
        ir_text_append(out, "]", 1);
        break;
    case KIND_WORD: ir_text_printf(out, "%s", *(const char *const *)at); break;
    }
    ir_text_printf(out, "%s # %s\n", grouped ? "," : " ", recipe->origin[field]);
}

/* WORD(arguments), a line each. */
static void print_call(const fe_recipe *recipe, const call_groups *groups, const char *indent,
                       ir_text *out) {
    char inner[16];
    snprintf(inner, sizeof inner, "%s    ", indent);
    ir_text_printf(out, "%s(\n", groups->word);
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        if (in_groups(i, groups) && !(i == FE_FIELD_lr && recipe->base_lr > 0))
            print_field(recipe, i, inner, out);
    ir_text_printf(out, "%s)", indent);
}

/* Whether a field of the transform was given: otherwise it is not there. */
static bool has_transform(const fe_recipe *recipe, const char *name) {
    for (int i = 0; i < FE_FIELD_COUNT; i++)
        if (strcmp(fields[i].group, name) == 0 && fe_recipe_given(recipe, (fe_field)i)) return true;
    return false;
}

void fe_print_recipe(const fe_recipe *recipe, ir_text *out) {
    ir_text_printf(out, "recipe %s {\n", recipe->name);
    for (int i = 0; i < FE_FIELD_COUNT; i++) {
        if (strcmp(fields[i].group, "recipe") != 0) continue;
        if (fields[i].kind != KIND_WORD) {
            print_field(recipe, i, "    ", out);
            continue;
        }
        const char *word = *(const char *const *)field_at((fe_recipe *)recipe, i);
        ir_text_printf(out, "    # %s\n    %s = ", recipe->origin[i], fields[i].name);
        print_call(recipe, &(call_groups){word, fields[i].name}, "    ", out);
        ir_text_append(out, "\n", 1);
    }
    ir_text_printf(out, "    augment = [");
    bool any = false;
    for (int t = 0; t < TRANSFORMS; t++) {
        if (!has_transform(recipe, transforms[t])) continue;
        ir_text_printf(out, any ? "        " : "\n        ");
        print_call(recipe, &(call_groups){transforms[t], transforms[t]}, "        ", out);
        ir_text_append(out, ",\n", 2);
        any = true;
    }
    ir_text_printf(out, "%s]\n}\n", any ? "    " : "");
}
