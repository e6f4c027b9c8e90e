/* Reading files: where they are looked for, what they use, and the limits of both. */
#include "fe_model.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct loader {
    fe_model *model;
    ir_diag *diag;
    const char *const *directories;
    const char *done[FE_MAX_FILES]; /* canonical paths, in the order of first use */
    bool open[FE_MAX_FILES];        /* being loaded now: a use of it is a cycle */
    size_t count;
    size_t bytes; /* of all files so far */
} loader;

/* The file's text in the diagnostics' arena; NULL with the reason in *why. A pipe or device is not
 * waited for. */
static const char *read_file(ir_arena *arena, const char *path, const char **why) {
    int number = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *file = number < 0 ? NULL : fdopen(number, "rb");
    struct stat info;
    char *text = NULL;
    if (!file || fstat(number, &info) != 0) {
        *why = strerror(errno);
    } else if (!S_ISREG(info.st_mode)) {
        *why = "not a regular file";
    } else if (info.st_size > FE_MAX_FILE_BYTES) {
        *why = ir_arena_printf(arena, "%lld bytes, at most %d", (long long)info.st_size,
                               FE_MAX_FILE_BYTES);
    } else {
        text = ir_arena_alloc(arena, (size_t)info.st_size + 1);
        size_t length = fread(text, 1, (size_t)info.st_size, file);
        if (length != (size_t)info.st_size || strlen(text) != length) {
            *why = length != (size_t)info.st_size ? "cannot be read whole" : "contains a NUL byte";
            text = NULL;
        }
    }
    if (file)
        fclose(file);
    else if (number >= 0)
        close(number);
    return text;
}

static bool load_source(loader *l, const ir_source *source, int slot);

/* Loads the file at `path` unless it was loaded before; false with the reason in *why, or NULL
 * there when messages were recorded. */
static bool load_path(loader *l, const char *path, ir_loc from, const char **why) {
    char real[PATH_MAX];
    ir_arena *arena = l->diag->arena;
    *why = NULL;
    if (!realpath(path, real)) {
        *why = strerror(errno);
        return false;
    }
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->done[i], real) != 0) continue;
        if (!l->open[i]) return true;
        return ir_error(l->diag, from, "'%s' uses itself, directly or through other files", path);
    }
    if (l->count == FE_MAX_FILES)
        return ir_error(l->diag, from, "more than %d files are used", FE_MAX_FILES);
    const char *text = read_file(arena, path, why);
    if (!text) return false;
    l->bytes += strlen(text);
    if (l->bytes > FE_MAX_ALL_BYTES)
        return ir_error(l->diag, from, "the files have more than %d bytes together",
                        FE_MAX_ALL_BYTES);
    int slot = (int)l->count++;
    l->done[slot] = ir_arena_strndup(arena, real, strlen(real));
    ir_source *source = ir_arena_alloc(arena, sizeof *source);
    *source = (ir_source){.file = ir_arena_strndup(arena, path, strlen(path)), .text = text};
    return load_source(l, source, slot);
}

static bool load_use(loader *l, const ir_source *user, const fe_item *item) {
    ir_arena *arena = l->diag->arena;
    const char *slash = strrchr(user->file, '/'), *why = NULL, *first_why = NULL;
    const char *path = item->name;
    if (*item->name != '/' && slash)
        path =
            ir_arena_printf(arena, "%.*s%s", (int)(slash - user->file + 1), user->file, item->name);
    if (load_path(l, path, item->loc, &why)) return true;
    if (!why) return false;
    first_why = why;
    for (const char *const *d = l->directories; d && *d && *item->name != '/'; d++) {
        if (load_path(l, ir_arena_printf(arena, "%s/%s", *d, item->name), item->loc, &why))
            return true;
        if (!why) return false;
    }
    ir_error(l->diag, item->loc, "cannot read '%s': %s", path, first_why);
    if (*item->name != '/')
        ir_hint(l->diag, "files are looked for beside '%s' and among the models of cnxc",
                user->file);
    return false;
}

/* Parses a source and appends its items, those of used files in the place of `use`. */
static bool load_source(loader *l, const ir_source *source, int slot) {
    fe_items own = {0}, *all = &l->model->items;
    bool good = fe_parse(l->model->arena, source, &own, l->diag);
    l->open[slot] = true;
    for (size_t i = 0; i < own.count; i++) {
        if (own.items[i].kind == FE_ITEM_USE) {
            good = load_use(l, source, &own.items[i]) && good;
        } else if (all->count == FE_MAX_ITEMS) {
            good = ir_error(l->diag, own.items[i].loc, "more than %d items in all files",
                            FE_MAX_ITEMS);
            break;
        } else {
            *IR_PUSH(l->model->arena, all->items, all->count, all->capacity) = own.items[i];
        }
    }
    l->open[slot] = false;
    return good;
}

static loader start(const char *const *directories, ir_diag *diag) {
    ir_arena *arena = ir_arena_new();
    loader l = {.diag = diag, .directories = directories};
    l.model = ir_arena_alloc(arena, sizeof *l.model);
    l.model->arena = arena;
    return l;
}

static fe_model *finish(loader *l, bool good) {
    fe_index_items(l->model);
    if (good && fe_check_names(l->model, l->diag)) return l->model;
    fe_model_free(l->model);
    return NULL;
}

fe_model *fe_load(const char *path, const char *const *directories, ir_diag *diag) {
    loader l = start(directories, diag);
    const char *why = NULL;
    bool good = load_path(&l, path, (ir_loc){0}, &why);
    if (why) ir_error(diag, (ir_loc){0}, "cannot read '%s': %s", path, why);
    return finish(&l, good);
}

fe_model *fe_load_text(const char *name, const char *text, const char *const *directories,
                       ir_diag *diag) {
    loader l = start(directories, diag);
    size_t length = strlen(text);
    ir_source *source = ir_arena_alloc(diag->arena, sizeof *source);
    source->file = ir_arena_strndup(diag->arena, name, strlen(name));
    if (length > FE_MAX_FILE_BYTES) {
        ir_error(diag, (ir_loc){.source = source}, "cannot read '%s': %zu bytes, at most %d", name,
                 length, FE_MAX_FILE_BYTES);
        return finish(&l, false);
    }
    source->text = ir_arena_strndup(diag->arena, text, length);
    char real[PATH_MAX];
    const char *known = realpath(name, real) ? real : name;
    l.done[l.count++] = ir_arena_strndup(diag->arena, known, strlen(known));
    return finish(&l, load_source(&l, source, 0));
}

void fe_model_free(fe_model *model) {
    if (model) ir_arena_free(model->arena);
}

/* The slot of this kind and name, or the free one where it would go. */
static uint32_t *slot_of(const fe_model *model, fe_item_kind kind, const char *name) {
    size_t i = ir_hash(IR_HASH_SEED + (uint64_t)kind, name, strlen(name));
    for (;; i++) {
        uint32_t *slot = &model->table[i & (model->table_size - 1)];
        const fe_item *item = *slot ? &model->items.items[*slot - 1] : NULL;
        if (!item || (item->kind == kind && strcmp(item->name, name) == 0)) return slot;
    }
}

void fe_index_items(fe_model *model) {
    for (model->table_size = 16; model->table_size < 2 * model->items.count;)
        model->table_size *= 2;
    model->table = ir_arena_alloc(model->arena, model->table_size * sizeof *model->table);
    for (size_t i = 0; i < model->items.count; i++) {
        uint32_t *slot = slot_of(model, model->items.items[i].kind, model->items.items[i].name);
        if (!*slot) *slot = (uint32_t)i + 1;
    }
}

const fe_item *fe_find_item(const fe_model *model, size_t count, fe_item_kind kind,
                            const char *name) {
    uint32_t found = *slot_of(model, kind, name);
    return found && found <= count ? &model->items.items[found - 1] : NULL;
}

const fe_item *fe_find_before(const fe_model *model, const fe_item *item, const char *name) {
    return fe_find_item(model, (size_t)(item - model->items.items), item->kind, name);
}

const fe_item *fe_last_model(const fe_model *model) {
    for (size_t i = model->items.count; i-- > 0;)
        if (model->items.items[i].kind == FE_ITEM_MODEL) return &model->items.items[i];
    return NULL;
}

const fe_item *fe_root_model(const fe_model *model, const fe_item *item) {
    while (item && item->base)
        item = fe_find_before(model, item, item->base);
    return item;
}

const char *fe_model_name(const fe_model *model) {
    const fe_item *item = fe_last_model(model);
    return item ? item->name : NULL;
}

void fe_print_ast(const fe_model *model, ir_text *out) {
    fe_print_items(&model->items, out);
}

void fe_names_add(fe_names *names, const char *name) {
    *IR_PUSH(names->arena, names->items, names->count, names->capacity) = name;
}

void fe_suggest(ir_diag *diag, const fe_names *names, const char *wrong) {
    const char *near = ir_nearest(wrong, names->items, names->count);
    if (near) ir_hint(diag, "did you mean '%s'?", near);
}
