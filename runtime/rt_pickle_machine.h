/* The stack machine of rt_pickle.c, and what its two halves share: opcodes that push and gather
 * values (rt_pickle.c), and calls of known names (rt_pickle_call.c). */
#ifndef RT_PICKLE_MACHINE_H
#define RT_PICKLE_MACHINE_H

#include "rt_pickle.h"

typedef struct rt_pickle_chunk {
    struct rt_pickle_chunk *next;
} rt_pickle_chunk;

struct rt_pickle {
    rt_pickle_chunk *chunks; /* the arena */
    char *free;              /* room in the newest chunk */
    size_t free_bytes;
    const rt_pickle_value *top;
};

typedef struct rt_pickle_machine {
    rt_pickle *pickle;
    const uint8_t *bytes;
    size_t size, at;
    rt_pickle_items stack, memo;
    rt_error *error;
} rt_pickle_machine;

/* Zeroed memory of the arena; NULL, with the error set, if there is none. */
void *rt_pickle_alloc(rt_pickle_machine *m, size_t bytes);
rt_pickle_value *rt_pickle_new(rt_pickle_machine *m, rt_pickle_kind kind);
bool rt_pickle_append(rt_pickle_machine *m, rt_pickle_items *items, rt_pickle_value *value);
bool rt_pickle_push(rt_pickle_machine *m, rt_pickle_value *value); /* NULL: an error was set */
/* The topmost value; NULL, with the error set, if there is none above a mark. */
rt_pickle_value *rt_pickle_pop(rt_pickle_machine *m);

/* Pushes the known name MODULE.NAME, or refuses it. */
bool rt_pickle_global(rt_pickle_machine *m, const char *module, const char *name);
/* Function and arguments are on the stack; their result replaces them. */
bool rt_pickle_reduce(rt_pickle_machine *m);
/* Class and arguments are on the stack; an object without meaning replaces them. */
bool rt_pickle_new_object(rt_pickle_machine *m);
/* A tuple ('storage', class, key, device, elements) is on the stack; the storage replaces it. */
bool rt_pickle_persistent(rt_pickle_machine *m);

#endif
