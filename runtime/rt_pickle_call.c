/* The names that a checkpoint may mention, and what calling them means. */
#include "rt_pickle_machine.h"

#include <inttypes.h>
#include <string.h>

typedef enum meaning {
    ORDERED_DICT, /* () -> an empty dict */
    TENSOR,       /* (storage, offset, size, stride, requires_grad, hooks[, metadata]) */
    PARAMETER,    /* (tensor, requires_grad, hooks) -> the tensor */
    STORAGE,      /* a class: only inside of a persistent id */
    INERT         /* a class whose objects mean nothing here */
} meaning;

static const struct {
    const char *module, *name;
    meaning meaning;
    rt_dtype dtype; /* of a storage */
} known[] = {
    {"collections", "OrderedDict", ORDERED_DICT, RT_F32},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR, RT_F32},
    {"torch._utils", "_rebuild_parameter", PARAMETER, RT_F32},
    {"torch", "FloatStorage", STORAGE, RT_F32},
    {"torch", "HalfStorage", STORAGE, RT_F16},
    {"torch", "BFloat16Storage", STORAGE, RT_BF16},
    {"torch", "DoubleStorage", STORAGE, RT_F64},
    {"torch", "LongStorage", STORAGE, RT_I64},
    {"torch", "IntStorage", STORAGE, RT_I32},
    {"torch", "ShortStorage", STORAGE, RT_I16},
    {"torch", "CharStorage", STORAGE, RT_I8},
    {"torch", "ByteStorage", STORAGE, RT_U8},
    {"torch", "BoolStorage", STORAGE, RT_BOOL},
    {"argparse", "Namespace", INERT, RT_F32}, /* the options of the official training script */
};

bool rt_pickle_global(rt_pickle_machine *m, const char *module, const char *name) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].module, module) != 0 || strcmp(known[i].name, name) != 0) continue;
        rt_pickle_value *value = rt_pickle_new(m, RT_PICKLE_GLOBAL);
        if (value) value->whole = (int64_t)i;
        return rt_pickle_push(m, value);
    }
    return rt_fail(m->error,
                   "'%.100s.%.100s' is not known to this reader; expected tensors, dicts, lists, "
                   "numbers and strings",
                   module, name);
}

/* --- arguments --- */

static const rt_pickle_value *argument(const rt_pickle_value *arguments, size_t index) {
    return index < arguments->items.count ? arguments->items.item[index] : NULL;
}

/* Whole numbers, not negative, into out[RT_MAX_RANK]; how many, or -1. */
static int read_numbers(rt_pickle_machine *m, const rt_pickle_value *tuple, const char *what,
                        int64_t *out) {
    if (!tuple || (tuple->kind != RT_PICKLE_TUPLE && tuple->kind != RT_PICKLE_LIST)) {
        rt_fail(m->error, "a tensor's %s is %s; expected a tuple", what,
                tuple ? rt_pickle_kind_name(tuple->kind) : "missing");
        return -1;
    }
    if (tuple->items.count > RT_MAX_RANK) {
        rt_fail(m->error, "a tensor's %s has %zu numbers; expected at most %d", what,
                tuple->items.count, RT_MAX_RANK);
        return -1;
    }
    for (size_t i = 0; i < tuple->items.count; i++) {
        const rt_pickle_value *item = tuple->items.item[i];
        if (item->kind != RT_PICKLE_INT || item->whole < 0) {
            rt_fail(m->error, "a tensor's %s[%zu] is %s; expected a whole number of 0 or more",
                    what, i,
                    item->kind == RT_PICKLE_INT ? "negative" : rt_pickle_kind_name(item->kind));
            return -1;
        }
        out[i] = item->whole;
    }
    return (int)tuple->items.count;
}

/* offset + sum of (size - 1) * stride must lie in the storage, unless the tensor is empty. */
static bool fits(const rt_pickle_tensor *t) {
    int64_t last = t->offset, step;
    for (int i = 0; i < t->rank; i++)
        if (t->size[i] == 0) return t->offset <= t->storage->elements;
    for (int i = 0; i < t->rank; i++)
        if (!rt_multiply(t->size[i] - 1, t->stride[i], &step) || !rt_add(last, step, &last))
            return false;
    return last < t->storage->elements;
}

static bool make_tensor(rt_pickle_machine *m, const rt_pickle_value *arguments) {
    const rt_pickle_value *storage = argument(arguments, 0), *offset = argument(arguments, 1);
    size_t count = arguments->items.count;
    if (count < 6 || count > 7)
        return rt_fail(m->error, "a tensor is made of %zu arguments; expected 6 or 7", count);
    if (storage->kind != RT_PICKLE_STORAGE)
        return rt_fail(m->error, "a tensor's storage is %s", rt_pickle_kind_name(storage->kind));
    if (offset->kind != RT_PICKLE_INT || offset->whole < 0)
        return rt_fail(m->error, "a tensor's offset is no whole number of 0 or more");
    rt_pickle_value *value = rt_pickle_new(m, RT_PICKLE_TENSOR);
    rt_pickle_tensor *t = value ? rt_pickle_alloc(m, sizeof *t) : NULL;
    if (!t) return false;
    value->tensor = t;
    t->storage = &storage->storage;
    t->offset = offset->whole;
    t->rank = read_numbers(m, argument(arguments, 2), "size", t->size);
    if (t->rank < 0) return false;
    int strides = read_numbers(m, argument(arguments, 3), "stride", t->stride);
    if (strides < 0) return false;
    if (strides != t->rank)
        return rt_fail(m->error, "a tensor has %d sizes and %d strides", t->rank, strides);
    if (!fits(t))
        return rt_fail(m->error,
                       "a tensor reaches beyond its storage '%.100s' of %" PRId64 " elements",
                       t->storage->key, t->storage->elements);
    return rt_pickle_push(m, value);
}

static bool make_parameter(rt_pickle_machine *m, const rt_pickle_value *arguments) {
    const rt_pickle_value *data = argument(arguments, 0);
    if (arguments->items.count != 3 || data->kind != RT_PICKLE_TENSOR)
        return rt_fail(m->error, "a parameter is not made of a tensor and two more arguments");
    return rt_pickle_push(m, arguments->items.item[0]);
}

bool rt_pickle_reduce(rt_pickle_machine *m) {
    const rt_pickle_value *arguments = rt_pickle_pop(m);
    const rt_pickle_value *function = arguments ? rt_pickle_pop(m) : NULL;
    if (!function) return false;
    if (function->kind != RT_PICKLE_GLOBAL || arguments->kind != RT_PICKLE_TUPLE)
        return rt_fail(m->error, "%s is called with %s; expected a name and a tuple",
                       rt_pickle_kind_name(function->kind), rt_pickle_kind_name(arguments->kind));
    switch (known[function->whole].meaning) {
    case ORDERED_DICT:
        if (arguments->items.count > 0)
            return rt_fail(m->error, "an OrderedDict is made of %zu arguments; expected none",
                           arguments->items.count);
        return rt_pickle_push(m, rt_pickle_new(m, RT_PICKLE_DICT));
    case TENSOR: return make_tensor(m, arguments);
    case PARAMETER: return make_parameter(m, arguments);
    case STORAGE:
    case INERT: break;
    }
    return rt_fail(m->error, "'%s.%s' is called; this reader calls nothing",
                   known[function->whole].module, known[function->whole].name);
}

bool rt_pickle_new_object(rt_pickle_machine *m) {
    const rt_pickle_value *arguments = rt_pickle_pop(m);
    const rt_pickle_value *class = arguments ? rt_pickle_pop(m) : NULL;
    if (!class) return false;
    if (class->kind != RT_PICKLE_GLOBAL)
        return rt_fail(m->error, "an object is made of %s; expected a class",
                       rt_pickle_kind_name(class->kind));
    if (known[class->whole].meaning == ORDERED_DICT && arguments->kind == RT_PICKLE_TUPLE &&
        arguments->items.count == 0)
        return rt_pickle_push(m, rt_pickle_new(m, RT_PICKLE_DICT));
    if (known[class->whole].meaning == INERT)
        return rt_pickle_push(m, rt_pickle_new(m, RT_PICKLE_OBJECT));
    return rt_fail(m->error, "an object of '%s.%s' is made; expected argparse.Namespace at most",
                   known[class->whole].module, known[class->whole].name);
}

bool rt_pickle_persistent(rt_pickle_machine *m) {
    const rt_pickle_value *id = rt_pickle_pop(m);
    if (!id) return false;
    const rt_pickle_value *item[5] = {0};
    bool good = id->kind == RT_PICKLE_TUPLE && id->items.count == 5;
    for (size_t i = 0; good && i < 5; i++)
        item[i] = id->items.item[i];
    good = good && item[0]->kind == RT_PICKLE_STRING &&
           strcmp(item[0]->string.text, "storage") == 0 && item[1]->kind == RT_PICKLE_GLOBAL &&
           known[item[1]->whole].meaning == STORAGE && item[2]->kind == RT_PICKLE_STRING &&
           item[4]->kind == RT_PICKLE_INT && item[4]->whole >= 0;
    if (!good)
        return rt_fail(m->error, "a persistent id is no ('storage', a class of storages, a key, a "
                                 "device, how many elements)");
    rt_pickle_value *value = rt_pickle_new(m, RT_PICKLE_STORAGE);
    if (!value) return false;
    value->storage = (rt_pickle_storage){.key = item[2]->string.text,
                                         .dtype = known[item[1]->whole].dtype,
                                         .elements = item[4]->whole};
    return rt_pickle_push(m, value);
}
