/* Pickles of PyTorch checkpoints, read without executing anything; inside of the runtime only.
 *
 * A pickle is a program for a stack machine that may name any function of Python and call it. This
 * machine knows the few names a checkpoint needs and has no others: containers, numbers, strings,
 * and descriptions of tensors (which storage, where in it, what shape and strides). Everything else
 * is refused by its name. Values live in an arena that rt_pickle_free ends; containers may hold
 * themselves, so whoever walks them must bound the depth.
 */
#ifndef RT_PICKLE_H
#define RT_PICKLE_H

#include "rt_safetensors.h"

enum { RT_PICKLE_MAX_BYTES = 4 << 20 };

typedef enum rt_pickle_kind {
    RT_PICKLE_NONE,
    RT_PICKLE_BOOL,
    RT_PICKLE_INT,
    RT_PICKLE_FLOAT,
    RT_PICKLE_STRING,
    RT_PICKLE_LIST,
    RT_PICKLE_TUPLE,
    RT_PICKLE_DICT,    /* items: key, value, key, value...; as written, keys may repeat */
    RT_PICKLE_GLOBAL,  /* one of the names that are known */
    RT_PICKLE_OBJECT,  /* of a known class without a meaning here (argparse.Namespace) */
    RT_PICKLE_STORAGE, /* the bytes of a file of the archive */
    RT_PICKLE_TENSOR,
    RT_PICKLE_MARK /* on the stack only */
} rt_pickle_kind;

typedef struct rt_pickle_value rt_pickle_value;

typedef struct rt_pickle_items {
    rt_pickle_value **item;
    size_t count, room;
} rt_pickle_items;

typedef struct rt_pickle_storage {
    const char *key; /* its file's name */
    rt_dtype dtype;
    int64_t elements;
} rt_pickle_storage;

typedef struct rt_pickle_tensor {
    const rt_pickle_storage *storage;
    int64_t offset; /* elements */
    int rank;
    int64_t size[RT_MAX_RANK], stride[RT_MAX_RANK]; /* elements, not negative */
} rt_pickle_tensor;

struct rt_pickle_value {
    rt_pickle_kind kind;
    union {
        int64_t whole; /* INT, BOOL; GLOBAL: its row in the table of names */
        double real;
        struct {
            const char *text; /* NUL-terminated */
            size_t length;    /* without the NUL; the text may hold others */
        } string;
        rt_pickle_items items; /* LIST, TUPLE, DICT */
        rt_pickle_storage storage;
        rt_pickle_tensor *tensor;
    };
};

typedef struct rt_pickle rt_pickle;

/* The value the pickle makes, or NULL. The bytes need not outlive the call. */
rt_pickle *rt_pickle_parse(const void *bytes, size_t size, rt_error *error);
void rt_pickle_free(rt_pickle *pickle);
const rt_pickle_value *rt_pickle_top(const rt_pickle *pickle);
/* "a dict", "a tensor"... for messages. */
const char *rt_pickle_kind_name(rt_pickle_kind kind);
/* The value of a text key of a dict (the last one, as in Python), or NULL. */
const rt_pickle_value *rt_pickle_get(const rt_pickle_value *dict, const char *key);

#endif
