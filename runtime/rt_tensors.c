/* What the readers of tensor files share: the map of a file, and finding tensors by name. */
#define _GNU_SOURCE
#include "rt_file.h"
#include "rt_tensors_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

rt_tensors *rt_tensors_new(size_t room) {
    rt_tensors *file = calloc(1, sizeof *file);
    if (!file) return NULL;
    file->tensors = calloc(room + 1, sizeof *file->tensors);
    file->by_name = calloc(room + 1, sizeof *file->by_name);
    if (file->tensors && file->by_name) return file;
    rt_tensors_close(file);
    return NULL;
}

static int by_name(const void *a, const void *b, void *tensors) {
    const rt_tensor *list = tensors;
    return strcmp(list[*(const size_t *)a].name, list[*(const size_t *)b].name);
}

bool rt_tensors_index(rt_tensors *file, rt_error *error) {
    for (size_t i = 0; i < file->count; i++)
        file->by_name[i] = i;
    if (file->count > 1)
        qsort_r(file->by_name, file->count, sizeof *file->by_name, by_name, file->tensors);
    for (size_t i = 1; i < file->count; i++) {
        const char *name = file->tensors[file->by_name[i]].name;
        if (strcmp(name, file->tensors[file->by_name[i - 1]].name) == 0)
            return rt_fail(error, "two tensors have the name '%.200s'", name);
    }
    return true;
}

bool rt_map_file(const char *path, void **map, size_t *size, rt_error *error) {
    int fd = rt_file_open(path, size, error);
    if (fd < 0) return false;
    *map = *size ? mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    bool good = *map != MAP_FAILED || rt_fail_errno(error, "cannot map '%s'", path);
    close(fd);
    return good;
}

rt_tensors *rt_tensors_open_with(const char *path, rt_parse_tensors *parse, rt_error *error) {
    void *map = NULL;
    size_t size = 0;
    if (!rt_map_file(path, &map, &size, error)) return NULL;
    rt_tensors *file = parse(path, map ? map : "", size, error);
    if (file) {
        file->map = map;
        file->map_size = size;
    } else if (map) {
        munmap(map, size);
    }
    return file;
}

void rt_tensors_close(rt_tensors *file) {
    if (!file) return;
    if (file->free_owned) file->free_owned(file->owned);
    if (file->map) munmap(file->map, file->map_size);
    free(file->tensors);
    free(file->by_name);
    free(file->pairs);
    free(file);
}

size_t rt_tensors_count(const rt_tensors *file) {
    return file->count;
}

const rt_tensor *rt_tensors_at(const rt_tensors *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

const rt_tensor *rt_tensors_find(const rt_tensors *file, const char *name) {
    size_t low = 0, high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const rt_tensor *tensor = &file->tensors[file->by_name[middle]];
        int order = strcmp(name, tensor->name);
        if (order == 0) return tensor;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

size_t rt_tensors_pair_count(const rt_tensors *file) {
    return file->pair_count;
}

const rt_pair *rt_tensors_pair_at(const rt_tensors *file, size_t index) {
    return index < file->pair_count ? &file->pairs[index] : NULL;
}

const char *rt_tensors_metadata(const rt_tensors *file, const char *key) {
    for (size_t i = 0; i < file->pair_count; i++)
        if (strcmp(file->pairs[i].key, key) == 0) return file->pairs[i].value;
    return NULL;
}
