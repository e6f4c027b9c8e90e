/* Recipes: how a model is trained, with every number decided.
 *
 * The fields stand in fe_recipe.def, one row each; the struct, the parser of `recipe NAME { .. }`,
 * the names that -D accepts, defaults and the printer come from it. A field is set by, in order of
 * rank: -D (or --batch, --seed), the recipe, the recipe it is derived from, the default.
 *
 *     recipe default {
 *         optimizer = adamw(lr = 0.004, weight_decay = 0.05)
 *         schedule = cosine(warmup_epochs = 1)
 *         epochs = 8
 *         augment = [crop(padding = 2), flip(0.5)]
 *     }
 */
#ifndef FE_RECIPE_H
#define FE_RECIPE_H

#include "diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds of fields, as C types. PAIR: two numbers. WORD: one of the words of the row. */
#define FE_TYPE_COUNT(name) int64_t name;
#define FE_TYPE_NUMBER(name) double name;
#define FE_TYPE_PAIR(name) double name[2];
#define FE_TYPE_WORD(name) const char *name;

typedef enum fe_field {
#define FIELD(name, kind, group, use, default_, least, most, doc) FE_FIELD_##name,
#include "fe_recipe.def"
#undef FIELD
    FE_FIELD_COUNT
} fe_field;

typedef struct fe_recipe {
    const char *name; /* of the recipe; "default" if the file has none */
#define FIELD(name, kind, group, use, default_, least, most, doc) FE_TYPE_##kind(name)
#include "fe_recipe.def"
#undef FIELD
    const char *origin[FE_FIELD_COUNT]; /* "default", "recipe NAME", "-D", "--batch", "--seed" */
    /* Where -D or a recipe in the model's own file states it for this model; else no source. */
    ir_loc stated[FE_FIELD_COUNT];
} fe_recipe;

/* The peak learning rate: `lr`, or base_lr x batch / 256 if base_lr is set. */
double fe_recipe_lr(const fe_recipe *recipe);
/* Whether the file, -D or the command line decided a field. */
bool fe_recipe_given(const fe_recipe *recipe, fe_field field);
/* For a field that has no effect: an error where it is stated for this model, with the reason; one
 * that comes with a recipe for models in general is no mistake. */
void fe_recipe_unused(const fe_recipe *recipe, fe_field field, const char *why, ir_diag *diag);

#endif
