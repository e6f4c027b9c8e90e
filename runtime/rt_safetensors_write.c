/* Writing safetensors: the header is built as JSON, then everything goes through rt_file. */
#include "rt_file.h"
#include "rt_safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static bool bytes_of(const rt_tensor *tensor, int64_t *bytes) {
    *bytes = rt_dtype_bytes(tensor->dtype);
    bool good = tensor->rank >= 0 && tensor->rank <= RT_MAX_RANK;
    for (int i = 0; good && i < tensor->rank; i++)
        good = rt_multiply(*bytes, tensor->dim[i], bytes);
    return good;
}

/* The entry of a tensor whose data begin at `at`; steals nothing, NULL if out of memory. */
static json_t *entry_of(const rt_tensor *tensor, int64_t at, int64_t bytes) {
    json_t *shape = json_array();
    for (int i = 0; shape && i < tensor->rank; i++)
        json_array_append_new(shape, json_integer(tensor->dim[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", rt_dtype_name(tensor->dtype), "shape", shape,
                     "data_offsets", (json_int_t)at, (json_int_t)(at + bytes));
}

static bool add_metadata(json_t *header, const rt_pair *metadata, size_t pairs, rt_error *error) {
    json_t *object = json_object();
    if (json_object_set_new(header, "__metadata__", object) != 0)
        return rt_fail(error, "out of memory");
    for (size_t i = 0; i < pairs; i++)
        if (json_object_set_new(object, metadata[i].key, json_string(metadata[i].value)) != 0)
            return rt_fail(error, "metadata '%.200s': key and value must be UTF-8",
                           metadata[i].key);
    return true;
}

static bool add_tensors(json_t *header, const rt_tensor *tensors, size_t count, rt_error *error) {
    int64_t at = 0, bytes;
    for (size_t i = 0; i < count; i++) {
        const rt_tensor *tensor = &tensors[i];
        if (!bytes_of(tensor, &bytes) || !rt_add(at, bytes, &(int64_t){0}))
            return rt_fail(error, "tensor '%.200s' is too large or has no valid shape",
                           tensor->name);
        if (strcmp(tensor->name, "__metadata__") == 0 || json_object_get(header, tensor->name))
            return rt_fail(error, "tensor '%.200s': its name is taken; expected each name once",
                           tensor->name);
        if (json_object_set_new(header, tensor->name, entry_of(tensor, at, bytes)) != 0)
            return rt_fail(error, "tensor '%.200s': its name must be UTF-8", tensor->name);
        at += bytes;
    }
    return true;
}

/* The text of the header, padded with blanks so that the data begin at a multiple of 8; free(). */
static char *header_text(const rt_tensor *tensors, size_t count, const rt_pair *metadata,
                         size_t pairs, rt_error *error) {
    json_t *header = json_object();
    char *text = NULL, *padded = NULL;
    if (!header)
        rt_fail(error, "out of memory");
    else if ((pairs == 0 || add_metadata(header, metadata, pairs, error)) &&
             add_tensors(header, tensors, count, error)) {
        text = json_dumps(header, JSON_COMPACT);
        size_t length = text ? strlen(text) : 0, whole = (length + 7) / 8 * 8;
        padded = text ? malloc(whole + 1) : NULL;
        if (padded) {
            memcpy(padded, text, length);
            memset(padded + length, ' ', whole - length);
            padded[whole] = 0;
        } else {
            rt_fail(error, "out of memory");
        }
    }
    free(text);
    json_decref(header);
    return padded;
}

bool rt_tensors_write(const char *path, const rt_tensor *tensors, size_t count,
                      const rt_pair *metadata, size_t pairs, rt_error *error) {
    char *header = header_text(tensors, count, metadata, pairs, error);
    if (!header) return rt_fail_in(error, "cannot write '%s'", path);
    rt_file *file = rt_file_create(path, error);
    if (file) {
        uint64_t length = strlen(header);
        rt_file_write(file, &length, sizeof length);
        rt_file_write(file, header, length);
        for (size_t i = 0; i < count; i++) {
            int64_t bytes = 0;
            bytes_of(&tensors[i], &bytes);
            rt_file_write(file, tensors[i].data, (size_t)bytes);
        }
    }
    free(header);
    return file && rt_file_commit(file, error);
}
