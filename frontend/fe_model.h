/* A loaded model: the items of all its files in the order in which they were used, checked by name.
 */
#ifndef FE_MODEL_H
#define FE_MODEL_H

#include "fe_ast.h"
#include "fe_compile.h"

enum {
    FE_MAX_FILES = 64,
    FE_MAX_ALL_BYTES = 1 << 22, /* of all files together */
    FE_MAX_ITEMS = 4096,
    FE_MAX_NAMES = 512
};

struct fe_model {
    ir_arena *arena;
    fe_items items;    /* no FE_ITEM_USE among them */
    uint32_t *table;   /* hash table over kind and name: index of the first such item + 1 */
    size_t table_size; /* a power of two */
};

/* Builds the table, once all items are known. */
void fe_index_items(fe_model *model);
/* The first item of this kind and name, if it stands among the first `count` items, or NULL. */
const fe_item *fe_find_item(const fe_model *model, size_t count, fe_item_kind kind,
                            const char *name);
/* The item of this kind and name that `item` may refer to: one before it. */
const fe_item *fe_find_before(const fe_model *model, const fe_item *item, const char *name);
/* The model that is compiled: the last one, or NULL. */
const fe_item *fe_last_model(const fe_model *model);
/* The model with a body that `item` is derived from; itself if it has one. */
const fe_item *fe_root_model(const fe_model *model, const fe_item *item);

/* Names: every one is known, none stands twice, statements stand where they may (fe_resolve.c). */
bool fe_check_names(const fe_model *model, ir_diag *diag);

/* A growing list of names for "did you mean". */
typedef struct fe_names {
    ir_arena *arena;
    const char **items;
    size_t count, capacity;
} fe_names;
void fe_names_add(fe_names *names, const char *name);
/* Adds the hint to the latest message, if one of the names is near. */
void fe_suggest(ir_diag *diag, const fe_names *names, const char *wrong);

#endif
