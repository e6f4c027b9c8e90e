/* A checkpoint's tensors: the pickle says which there are, the archive holds their bytes. */
#define _GNU_SOURCE
#include "rt_torch.h"

#include "rt_archive.h"
#include "rt_file.h"
#include "rt_pickle.h"
#include "rt_tensors_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the tensors point into besides the file itself. */
typedef struct owned {
    rt_pickle *pickle; /* names */
    void **copies;     /* of tensors that are not stored row by row; one for each tensor or NULL */
    size_t count;
} owned;

/* A checkpoint that is being read. */
typedef struct reading {
    rt_archive archive;
    char *folder; /* all files stand in one, with its slash */
    rt_pickle *pickle;
    rt_tensors *file;
    owned *owned;
    int64_t spare; /* bytes that may still be copied */
} reading;

static void free_owned(void *memory) {
    owned *o = memory;
    rt_pickle_free(o->pickle);
    for (size_t i = 0; i < o->count; i++)
        free(o->copies[i]);
    free(o->copies);
    free(o);
}

/* --- the archive --- */

/* Finds FOLDER/data.pkl, which names the folder. */
static const rt_archive_file *find_pickle(reading *r, rt_error *error) {
    const rt_archive_file *found = NULL;
    for (size_t i = 0; i < r->archive.count; i++) {
        const rt_archive_file *file = &r->archive.files[i];
        const char *slash = strchr(file->name, '/');
        if (!slash || strcmp(slash, "/data.pkl") != 0) continue;
        if (found) {
            rt_fail(error, "the archive has '%.200s' and '%.200s'; expected one data.pkl",
                    found->name, file->name);
            return NULL;
        }
        found = file;
    }
    if (!found) {
        rt_fail(error, "the archive has no data.pkl; expected a file of torch.save");
        return NULL;
    }
    size_t length = (size_t)(strchr(found->name, '/') - found->name) + 1;
    r->folder = strndup(found->name, length);
    if (r->folder) return found;
    rt_fail(error, "out of memory");
    return NULL;
}

static const rt_archive_file *find_in_folder(const reading *r, const char *name) {
    char *path;
    if (asprintf(&path, "%s%s", r->folder, name) < 0) return NULL;
    const rt_archive_file *file = rt_archive_find(&r->archive, path);
    free(path);
    return file;
}

static bool check_byte_order(const reading *r, rt_error *error) {
    const rt_archive_file *order = find_in_folder(r, "byteorder");
    if (!order || (order->size == 6 && memcmp(order->data, "little", 6) == 0)) return true;
    return rt_fail(error, "the byte order is '%.*s'; expected little",
                   (int)(order->size < 32 ? order->size : 32),
                   order->data ? (const char *)order->data : "");
}

/* The bytes of a storage, which must be as many as its elements take. */
static const uint8_t *find_storage(const reading *r, const rt_pickle_storage *storage,
                                   rt_error *error) {
    char name[128];
    int64_t bytes;
    if (strlen(storage->key) > 64) {
        rt_fail(error, "storage '%.64s...' has too long a name", storage->key);
        return NULL;
    }
    snprintf(name, sizeof name, "data/%s", storage->key);
    const rt_archive_file *file = find_in_folder(r, name);
    if (!file) {
        rt_fail(error, "storage '%s' is not in the archive", storage->key);
        return NULL;
    }
    if (!rt_multiply(storage->elements, rt_dtype_bytes(storage->dtype), &bytes) ||
        (uint64_t)bytes != file->size) {
        rt_fail(error, "storage '%s' has %zu bytes; %" PRId64 " elements of %s expected",
                storage->key, file->size, storage->elements, rt_dtype_name(storage->dtype));
        return NULL;
    }
    return file->data ? file->data : (const uint8_t *)""; /* an empty one is nowhere */
}

/* --- tensors --- */

static bool is_row_major(const rt_pickle_tensor *t) {
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->size[i] != 1 && t->stride[i] != stride) return false;
        stride *= t->size[i];
    }
    return true;
}

/* The elements in row-major order; `count` of them, which is not 0. */
static void *copy_strided(const rt_pickle_tensor *t, const uint8_t *base, int64_t count) {
    size_t bytes = (size_t)rt_dtype_bytes(t->storage->dtype);
    uint8_t *copy = malloc((size_t)count * bytes);
    int64_t index[RT_MAX_RANK] = {0}, from = 0;
    for (int64_t i = 0; copy && i < count; i++) {
        memcpy(copy + (size_t)i * bytes, base + (size_t)from * bytes, bytes);
        for (int d = t->rank - 1; d >= 0; d--) { /* count up, like an odometer */
            from += t->stride[d];
            if (++index[d] < t->size[d]) break;
            from -= t->stride[d] * t->size[d];
            index[d] = 0;
        }
    }
    return copy;
}

static bool count_elements(const rt_pickle_tensor *t, int64_t *count) {
    *count = 1;
    for (int i = 0; i < t->rank; i++)
        if (!rt_multiply(*count, t->size[i], count)) return false;
    return true;
}

/* Fills the next tensor of the file. */
static bool add_tensor(reading *r, const rt_pickle_tensor *t, const char *name, rt_error *error) {
    const uint8_t *storage = find_storage(r, t->storage, error);
    int64_t count;
    if (!storage) return false;
    if (!count_elements(t, &count) || count > t->storage->elements)
        return rt_fail(error,
                       "it repeats the %" PRId64 " elements of its storage; save a copy of it",
                       t->storage->elements);
    rt_tensor *out = &r->file->tensors[r->file->count];
    *out = (rt_tensor){.name = name, .dtype = t->storage->dtype, .rank = t->rank};
    memcpy(out->dim, t->size, sizeof out->dim);
    const uint8_t *base = storage + (size_t)t->offset * (size_t)rt_dtype_bytes(out->dtype);
    out->data = count == 0 ? storage : base;
    if (count > 0 && !is_row_major(t)) {
        r->spare -= count * rt_dtype_bytes(out->dtype);
        if (r->spare < 0)
            return rt_fail(error, "tensors that are not stored row by row are larger together than "
                                  "the file; save contiguous copies of them");
        void *copy = copy_strided(t, base, count);
        if (!copy) return rt_fail(error, "out of memory");
        r->owned->copies[r->owned->count++] = copy;
        out->data = copy;
    }
    r->file->count++;
    return true;
}

/* The dict that holds the tensors by their names. */
static const rt_pickle_value *find_state_dict(const reading *r, rt_error *error) {
    static const char *const keys[] = {"model", "state_dict"};
    const rt_pickle_value *top = rt_pickle_top(r->pickle);
    if (top->kind != RT_PICKLE_DICT) {
        rt_fail(error, "the file holds %s; expected a dict of tensors",
                rt_pickle_kind_name(top->kind));
        return NULL;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const rt_pickle_value *inner = rt_pickle_get(top, keys[i]);
        if (inner && inner->kind == RT_PICKLE_DICT) return inner;
    }
    return top;
}

static bool add_tensors(reading *r, const rt_pickle_value *dict, rt_error *error) {
    for (size_t i = 0; i < dict->items.count; i += 2) {
        const rt_pickle_value *key = dict->items.item[i], *value = dict->items.item[i + 1];
        if (key->kind != RT_PICKLE_STRING || strlen(key->string.text) != key->string.length)
            return rt_fail(error, "a key of the dict of tensors is %s; expected a name",
                           rt_pickle_kind_name(key->kind));
        if (value->kind != RT_PICKLE_TENSOR)
            return rt_fail(error, "'%.200s' is %s; expected a tensor", key->string.text,
                           rt_pickle_kind_name(value->kind));
        if (!add_tensor(r, value->tensor, key->string.text, error))
            return rt_fail_in(error, "tensor '%.200s'", key->string.text);
    }
    return true;
}

static bool make_file(reading *r, const rt_pickle_value *dict, rt_error *error) {
    size_t room = dict->items.count / 2;
    r->file = rt_tensors_new(room);
    r->owned = calloc(1, sizeof *r->owned);
    if (r->owned) r->owned->copies = calloc(room + 1, sizeof *r->owned->copies);
    if (!r->file || !r->owned || !r->owned->copies) {
        if (r->owned) free(r->owned->copies);
        free(r->owned);
        return rt_fail(error, "out of memory");
    }
    r->owned->pickle = r->pickle;
    r->pickle = NULL; /* it is the file's now */
    r->file->owned = r->owned;
    r->file->free_owned = free_owned;
    return add_tensors(r, dict, error) && rt_tensors_index(r->file, error);
}

/* A pickle begins with 0x80 and its protocol. The length of a header of safetensors may begin so,
 * too, but then the header itself, which is JSON, follows. */
static bool is_pickle(const uint8_t *begin, size_t size) {
    return size >= 2 && begin[0] == 0x80 && begin[1] <= 5 && (size <= 8 || begin[8] != '{');
}

static bool parse(reading *r, const void *bytes, size_t size, rt_error *error) {
    r->spare = (int64_t)size;
    if (is_pickle(bytes, size))
        return rt_fail(error, "a file of PyTorch before 1.6; load and save it with a newer one");
    if (!rt_archive_read(bytes, size, &r->archive, error)) return false;
    const rt_archive_file *pickle = find_pickle(r, error);
    if (!pickle || !check_byte_order(r, error)) return false;
    r->pickle = rt_pickle_parse(pickle->data, pickle->size, error);
    if (!r->pickle) return rt_fail_in(error, "data.pkl");
    const rt_pickle_value *dict = find_state_dict(r, error);
    return dict && make_file(r, dict, error);
}

rt_tensors *rt_torch_parse(const char *name, const void *bytes, size_t size, rt_error *error) {
    reading r = {0};
    bool good = parse(&r, bytes, size, error);
    rt_archive_free(&r.archive);
    free(r.folder);
    rt_pickle_free(r.pickle);
    if (good) return r.file;
    rt_tensors_close(r.file);
    rt_fail_in(error, "%s", name);
    return NULL;
}

rt_tensors *rt_torch_open(const char *path, rt_error *error) {
    return rt_tensors_open_with(path, rt_torch_parse, error);
}

bool rt_torch_detect(const char *path) {
    uint8_t begin[9];
    size_t size;
    rt_error ignored;
    int fd = rt_file_open(path, &size, &ignored);
    if (fd < 0) return false;
    ssize_t got = read(fd, begin, sizeof begin);
    close(fd);
    return (got >= 4 && memcmp(begin, "PK\3\4", 4) == 0) ||
           (got > 0 && is_pickle(begin, (size_t)got));
}
