/* Arenas: memory that lives and dies together.
 *
 * A graph, a plan and every pass own one arena. Nothing in an arena is freed singly; the whole
 * arena is. Allocation never returns NULL: out of memory is reported and aborts, since a compiler
 * can do nothing sensible without memory (run-time memory is the runtime's, which does return
 * errors).
 *
 *     ir_arena *arena = ir_arena_new();
 *     int64_t *dims = ir_arena_alloc(arena, 4 * sizeof *dims);     zeroed, 16-byte aligned
 *     ir_arena_free(arena);
 */
#ifndef IR_ARENA_H
#define IR_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ir_arena ir_arena;

ir_arena *ir_arena_new(void);
void ir_arena_free(ir_arena *arena);
void *ir_arena_alloc(ir_arena *arena, size_t bytes);
char *ir_arena_printf(ir_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *ir_arena_strndup(ir_arena *arena, const char *text, size_t length);

/* A growing array in an arena: returns the (possibly moved) array with room for one more element.
 */
void *ir_arena_grow(ir_arena *arena, void *array, size_t count, size_t *capacity,
                    size_t element_size);
/* Appends one zeroed element and yields a pointer to it; `array` must be a typed lvalue. */
#define IR_PUSH(arena, array, count, capacity)                                                     \
    ((array) = ir_arena_grow((arena), (array), (count), &(capacity), sizeof *(array)),             \
     &(array)[(count)++])

/* A growing text buffer on the heap, for printers. */
typedef struct ir_text {
    char *data;      /* NUL-terminated, or NULL while empty */
    size_t length;   /* without the NUL */
    size_t capacity; /* bytes allocated */
} ir_text;

void ir_text_printf(ir_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ir_text_vprintf(ir_text *text, const char *format, va_list args);
void ir_text_append(ir_text *text, const char *data, size_t length);
void ir_text_free(ir_text *text);

/* FNV-1a over bytes; pass IR_HASH_SEED or an earlier result. */
#define IR_HASH_SEED 14695981039346656037ull
uint64_t ir_hash(uint64_t hash, const void *data, size_t bytes);

#endif
