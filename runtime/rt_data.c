/* Data sets: which kind a directory holds, and what both kinds have in common. */
#define _GNU_SOURCE
#include "rt_data_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- texts --- */

static bool grow(void **block, size_t *room, size_t needed, size_t item) {
    if (needed <= *room) return true;
    size_t more = *room ? 2 * *room : 64;
    more = more < needed ? needed : more;
    void *bigger = realloc(*block, more * item);
    if (!bigger) return false;
    *block = bigger;
    *room = more;
    return true;
}

bool rt_texts_add(rt_texts *texts, const char *text) {
    size_t length = strlen(text) + 1;
    if (!grow((void **)&texts->text, &texts->room, texts->size + length, 1)) return false;
    if (!grow((void **)&texts->begin, &texts->begin_room, texts->count + 1, sizeof *texts->begin))
        return false;
    memcpy(texts->text + texts->size, text, length);
    texts->begin[texts->count++] = texts->size;
    texts->size += length;
    return true;
}

const char *rt_texts_at(const rt_texts *texts, size_t index) {
    return texts->text + texts->begin[index];
}

static int by_bytes(const void *a, const void *b, void *text) {
    const char *start = text;
    return strcmp(start + *(const size_t *)a, start + *(const size_t *)b);
}

void rt_texts_sort(rt_texts *texts) {
    if (texts->count > 1)
        qsort_r(texts->begin, texts->count, sizeof *texts->begin, by_bytes, texts->text);
}

void rt_texts_free(rt_texts *texts) {
    free(texts->text);
    free(texts->begin);
    *texts = (rt_texts){0};
}

/* --- data sets --- */

bool rt_data_has(const char *directory, rt_part part) {
    return rt_idx_data_present(directory, part) || rt_folder_data_present(directory, part);
}

static bool open_any(rt_data *data, rt_part part, rt_error *error) {
    const char *directory = data->directory;
    struct stat info;
    if (stat(directory, &info) != 0) return rt_fail_errno(error, "cannot open '%s'", directory);
    if (!S_ISDIR(info.st_mode))
        return rt_fail(error, "cannot open '%s': is no directory", directory);
    if (rt_idx_data_present(directory, part)) return rt_idx_data_open(data, part, error);
    if (rt_folder_data_present(directory, part)) return rt_folder_data_open(data, part, error);
    if (part == RT_TEST && rt_data_has(directory, RT_TRAIN))
        return rt_fail(error,
                       "'%s' has no test part; expected t10k-images-idx3-ubyte[.gz] or a folder "
                       "'val' or 'test' beside 'train'",
                       directory);
    char *taken = rt_folder_data_part(directory);
    if (taken) {
        rt_fail(error,
                "'%s' holds no data: '%s' is taken for a part of the data set, not for a class; "
                "expected train/CLASS/IMAGE, and val/CLASS/IMAGE or test/CLASS/IMAGE",
                directory, taken);
        free(taken);
        return false;
    }
    return rt_fail(error,
                   "'%s' holds no data; expected train-images-idx3-ubyte[.gz] and so on, or "
                   "train/CLASS/IMAGE, or CLASS/IMAGE",
                   directory);
}

/* The classes as a list of pointers, once all are known. */
static bool list_classes(rt_data *data, rt_error *error) {
    data->class_count = (int64_t)data->classes.count;
    data->class_names = calloc(data->classes.count + 1, sizeof *data->class_names);
    if (!data->class_names) return rt_fail(error, "'%s': out of memory", data->directory);
    for (size_t i = 0; i < data->classes.count; i++)
        data->class_names[i] = rt_texts_at(&data->classes, i);
    return true;
}

static rt_data *open_new(const char *directory, bool (*open)(rt_data *, rt_part, rt_error *),
                         rt_part part, rt_error *error) {
    rt_data *data = calloc(1, sizeof *data);
    if (data) data->directory = strdup(directory);
    if (!data || !data->directory)
        rt_fail(error, "'%s': out of memory", directory);
    else if (open(data, part, error) && list_classes(data, error))
        return data;
    rt_data_close(data);
    return NULL;
}

rt_data *rt_data_open(const char *directory, rt_part part, rt_error *error) {
    return open_new(directory, open_any, part, error);
}

static bool open_images(rt_data *data, rt_part part, rt_error *error) {
    if (rt_data_has(data->directory, part) || !rt_loose_data_present(data->directory))
        return open_any(data, part, error);
    return rt_loose_data_open(data, error);
}

rt_data *rt_data_open_images(const char *directory, rt_error *error) {
    return open_new(directory, open_images, RT_TRAIN, error);
}

void rt_data_close(rt_data *data) {
    if (!data) return;
    free(data->directory);
    free(data->label);
    free(data->chosen);
    free(data->class_names);
    free(data->file);
    free(data->passed_over_first);
    rt_texts_free(&data->classes);
    rt_texts_free(&data->paths);
    rt_idx_free(&data->images);
    free(data);
}

void rt_data_note(const rt_data *data, char *text, size_t size) {
    *text = 0;
    if (data->passed_over > 0)
        snprintf(text, size, "'%s'%s: passed over what is no .png, .jpg, .jpeg or .bmp: %lld",
                 data->passed_over_first, data->passed_over_folders > 1 ? " and other folders" : "",
                 (long long)data->passed_over);
}

int64_t rt_data_count(const rt_data *data) {
    return data->count;
}

int64_t rt_data_classes(const rt_data *data) {
    return data->class_count;
}

const char *const *rt_data_class_names(const rt_data *data) {
    return data->class_names;
}

int64_t rt_data_label(const rt_data *data, int64_t index) {
    assert(index >= 0 && index < data->count);
    return data->label[index];
}

/* What the kind calls image `index`. */
static int64_t own_number(const rt_data *data, int64_t index) {
    return data->chosen ? data->chosen[index] : index;
}

bool rt_data_image(const rt_data *data, int64_t index, int channels, rt_image *image,
                   rt_error *error) {
    assert(index >= 0 && index < data->count && (channels == 1 || channels == 3));
    return data->kind->image(data, own_number(data, index), channels, image, error);
}

void rt_data_name(const rt_data *data, int64_t index, char *text, size_t size) {
    data->kind->name(data, own_number(data, index), text, size);
}
