/* Reading safetensors: map, parse the header, check that the tensors tile the data exactly. */
#include "rt_tensors_parts.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* JSON in memory takes up to fifty times its text. 4 MB, as for a pickle, describe 30,000 tensors;
 * ConvNeXt V2 Huge has 400. */
enum { LENGTH_BYTES = 8, MAX_HEADER = 4 << 20 };

typedef struct entry {
    rt_tensor tensor;
    int64_t begin, end; /* bytes of the data part */
} entry;

/* A header that is being read. */
typedef struct reading {
    json_t *header; /* owns the names and the metadata */
    int64_t data_bytes;
    entry *entries;
    size_t count;
    rt_tensors *file; /* the result */
} reading;

/* --- one tensor of the header --- */

/* A list of whole numbers that are not negative; how many, or -1. */
static int read_sizes(const json_t *list, const char *what, int most, int64_t *out,
                      rt_error *error) {
    if (!json_is_array(list)) {
        rt_fail(error, "%s is %s; expected a list of whole numbers", what,
                list ? "no list" : "missing");
        return -1;
    }
    size_t count = json_array_size(list);
    if (count > (size_t)most) {
        rt_fail(error, "%s has %zu numbers; expected at most %d", what, count, most);
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_integer(item)) {
            rt_fail(error, "%s[%zu] is no whole number", what, i);
            return -1;
        }
        out[i] = json_integer_value(item);
        if (out[i] < 0) {
            rt_fail(error, "%s[%zu] is %" PRId64 "; expected 0 or more", what, i, out[i]);
            return -1;
        }
    }
    return (int)count;
}

static bool check_keys(const json_t *info, rt_error *error) {
    void *i = json_object_iter((json_t *)info);
    for (; i; i = json_object_iter_next((json_t *)info, i)) {
        const char *key = json_object_iter_key(i);
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 &&
            strcmp(key, "data_offsets") != 0)
            return rt_fail(error, "unknown key '%.200s'; expected dtype, shape, data_offsets", key);
    }
    return true;
}

/* Bytes of a shape and dtype, overflow-checked. */
static bool tensor_bytes(const rt_tensor *tensor, int64_t *bytes) {
    *bytes = rt_dtype_bytes(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++)
        if (!rt_multiply(*bytes, tensor->dim[i], bytes)) return false;
    return true;
}

static bool read_entry(const json_t *info, int64_t data_bytes, entry *out, rt_error *error) {
    if (!json_is_object(info)) return rt_fail(error, "is no JSON object");
    if (!check_keys(info, error)) return false;
    rt_tensor *tensor = &out->tensor;
    const json_t *dtype = json_object_get(info, "dtype");
    if (!json_is_string(dtype))
        return rt_fail(error, "dtype is %s; expected a name such as \"F32\"",
                       dtype ? "no string" : "missing");
    if (!rt_dtype_find(json_string_value(dtype), &tensor->dtype))
        return rt_fail(error,
                       "unknown dtype '%.100s'; expected F32, F16, BF16, F64, I64, I32, I16, I8, "
                       "U8, U16, U32, U64 or BOOL",
                       json_string_value(dtype));
    tensor->rank =
        read_sizes(json_object_get(info, "shape"), "shape", RT_MAX_RANK, tensor->dim, error);
    if (tensor->rank < 0) return false;
    int64_t offset[2], bytes;
    int given = read_sizes(json_object_get(info, "data_offsets"), "data_offsets", 2, offset, error);
    if (given < 0) return false;
    if (given != 2) return rt_fail(error, "data_offsets has %d numbers; expected 2", given);
    char shape[256];
    rt_tensor_shape(tensor, shape, sizeof shape);
    if (!tensor_bytes(tensor, &bytes))
        return rt_fail(error, "shape %s of %s is larger than any file", shape,
                       rt_dtype_name(tensor->dtype));
    out->begin = offset[0];
    out->end = offset[1];
    if (out->begin > out->end || out->end > data_bytes)
        return rt_fail(error,
                       "data_offsets are [%" PRId64 ", %" PRId64
                       "]; expected a range within the %" PRId64 " bytes of data",
                       out->begin, out->end, data_bytes);
    if (out->end - out->begin != bytes)
        return rt_fail(error,
                       "data_offsets [%" PRId64 ", %" PRId64 "] hold %" PRId64
                       " bytes; shape %s of %s expects %" PRId64,
                       out->begin, out->end, out->end - out->begin, shape,
                       rt_dtype_name(tensor->dtype), bytes);
    return true;
}

/* --- the header --- */

static bool read_metadata(rt_tensors *file, json_t *metadata, rt_error *error) {
    if (!json_is_object(metadata)) return rt_fail(error, "__metadata__ is no JSON object");
    file->pairs = calloc(json_object_size(metadata) + 1, sizeof *file->pairs);
    if (!file->pairs) return rt_fail(error, "out of memory");
    for (void *i = json_object_iter(metadata); i; i = json_object_iter_next(metadata, i)) {
        const char *key = json_object_iter_key(i);
        const json_t *value = json_object_iter_value(i);
        if (!json_is_string(value))
            return rt_fail(error, "__metadata__: the value of '%.200s' is no string", key);
        file->pairs[file->pair_count++] = (rt_pair){.key = key, .value = json_string_value(value)};
    }
    return true;
}

static bool read_header(reading *r, rt_error *error) {
    for (void *i = json_object_iter(r->header); i; i = json_object_iter_next(r->header, i)) {
        const char *key = json_object_iter_key(i);
        json_t *value = json_object_iter_value(i);
        if (strcmp(key, "__metadata__") == 0) {
            if (!read_metadata(r->file, value, error)) return false;
            continue;
        }
        entry *e = &r->entries[r->count++];
        e->tensor.name = key;
        if (!read_entry(value, r->data_bytes, e, error))
            return rt_fail_in(error, "tensor '%.200s'", key);
    }
    return true;
}

static int by_place(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

/* Sorts the tensors by their place; each must begin where the one before ends, the last at the end.
 */
static bool check_layout(reading *r, rt_error *error) {
    if (r->count > 1) qsort(r->entries, r->count, sizeof *r->entries, by_place);
    int64_t at = 0;
    for (size_t i = 0; i < r->count; i++) {
        const entry *e = &r->entries[i];
        if (e->begin < at)
            return rt_fail(error,
                           "tensor '%.200s' begins at byte %" PRId64 ", inside of '%.200s', which "
                           "ends at %" PRId64,
                           e->tensor.name, e->begin, e[-1].tensor.name, at);
        if (e->begin > at)
            return rt_fail(error,
                           "bytes %" PRId64 " to %" PRId64
                           " of the data belong to no tensor; '%.200s' should begin at %" PRId64,
                           at, e->begin, e->tensor.name, at);
        at = e->end;
    }
    if (at != r->data_bytes)
        return rt_fail(error, "%" PRId64 " bytes of data; the tensors of the header hold %" PRId64,
                       r->data_bytes, at);
    return true;
}

static void free_header(void *header) {
    json_decref(header);
}

/* The JSON text of the header, whose length was checked. */
static bool parse_header(reading *r, const char *text, size_t length, rt_error *error) {
    json_error_t where;
    r->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    if (!r->header)
        return rt_fail(error, "the header is no JSON: byte %d: %s", where.position, where.text);
    if (!json_is_object(r->header)) {
        json_decref(r->header);
        return rt_fail(error, "the header is no JSON object");
    }
    size_t most = json_object_size(r->header);
    r->file = rt_tensors_new(most);
    r->entries = calloc(most + 1, sizeof *r->entries);
    if (!r->file || !r->entries) {
        json_decref(r->header);
        return rt_fail(error, "out of memory");
    }
    r->file->owned = r->header;
    r->file->free_owned = free_header;
    return read_header(r, error) && check_layout(r, error);
}

static bool parse(reading *r, const char *bytes, size_t size, rt_error *error) {
    if (size < LENGTH_BYTES)
        return rt_fail(error, "%zu bytes; a safetensors file begins with 8 that hold a length",
                       size);
    uint64_t length;
    memcpy(&length, bytes, sizeof length);
    if (length > MAX_HEADER)
        return rt_fail(error,
                       "the header would have %" PRIu64
                       " bytes; expected at most %d (is this a safetensors file?)",
                       length, MAX_HEADER);
    if (length > size - LENGTH_BYTES)
        return rt_fail(error, "the header would have %" PRIu64 " bytes, but %zu follow its length",
                       length, size - LENGTH_BYTES);
    r->data_bytes = (int64_t)(size - LENGTH_BYTES - length);
    if (!parse_header(r, bytes + LENGTH_BYTES, length, error)) return false;
    const char *data = bytes + LENGTH_BYTES + length;
    for (size_t i = 0; i < r->count; i++) {
        r->file->tensors[i] = r->entries[i].tensor;
        r->file->tensors[i].data = data + r->entries[i].begin;
    }
    r->file->count = r->count;
    return rt_tensors_index(r->file, error);
}

rt_tensors *rt_tensors_parse(const char *name, const void *bytes, size_t size, rt_error *error) {
    reading r = {0};
    bool good = parse(&r, bytes, size, error);
    free(r.entries);
    if (good) return r.file;
    rt_tensors_close(r.file);
    rt_fail_in(error, "%s", name);
    return NULL;
}

rt_tensors *rt_tensors_open(const char *path, rt_error *error) {
    return rt_tensors_open_with(path, rt_tensors_parse, error);
}
