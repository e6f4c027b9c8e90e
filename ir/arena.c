#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024, ALIGNMENT = 16 };

typedef struct block {
    struct block *next;
    size_t used;     /* bytes taken after the header */
    size_t capacity; /* bytes after the header */
    _Alignas(ALIGNMENT) unsigned char data[];
} block;

struct ir_arena {
    block *first;
};

static _Noreturn void out_of_memory(size_t bytes) {
    fprintf(stderr, "cnx: out of memory (%zu bytes wanted)\n", bytes);
    abort();
}

ir_arena *ir_arena_new(void) {
    ir_arena *arena = calloc(1, sizeof *arena);
    if (!arena) out_of_memory(sizeof *arena);
    return arena;
}

void ir_arena_free(ir_arena *arena) {
    if (!arena) return;
    for (block *b = arena->first; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    free(arena);
}

void *ir_arena_alloc(ir_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) out_of_memory(bytes);
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    block *b = arena->first;
    if (!b || b->capacity - b->used < bytes) {
        size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        b = calloc(1, sizeof *b + capacity);
        if (!b) out_of_memory(bytes);
        b->capacity = capacity;
        b->next = arena->first;
        arena->first = b;
    }
    void *at = b->data + b->used;
    b->used += bytes;
    return at;
}

char *ir_arena_strndup(ir_arena *arena, const char *text, size_t length) {
    char *copy = ir_arena_alloc(arena, length + 1);
    memcpy(copy, text, length);
    return copy;
}

char *ir_arena_printf(ir_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = ir_arena_alloc(arena, (size_t)length + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void *ir_arena_grow(ir_arena *arena, void *array, size_t count, size_t *capacity,
                    size_t element_size) {
    if (count < *capacity) return array;
    size_t room = *capacity ? *capacity * 2 : 8;
    if (room > SIZE_MAX / 2 / element_size) out_of_memory(room);
    void *larger = ir_arena_alloc(arena, room * element_size);
    if (count) memcpy(larger, array, count * element_size);
    *capacity = room;
    return larger;
}

void ir_text_append(ir_text *text, const char *data, size_t length) {
    if (text->length + length + 1 > text->capacity) {
        size_t room = (text->length + length + 1) * 2;
        char *larger = realloc(text->data, room);
        if (!larger) out_of_memory(room);
        text->data = larger;
        text->capacity = room;
    }
    memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void ir_text_vprintf(ir_text *text, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char small[256];
    char *buffer = (size_t)length < sizeof small ? small : malloc((size_t)length + 1);
    if (!buffer) out_of_memory((size_t)length);
    vsnprintf(buffer, (size_t)length + 1, format, again);
    va_end(again);
    ir_text_append(text, buffer, (size_t)length);
    if (buffer != small) free(buffer);
}

void ir_text_printf(ir_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ir_text_vprintf(text, format, args);
    va_end(args);
}

void ir_text_free(ir_text *text) {
    free(text->data);
    *text = (ir_text){0};
}

uint64_t ir_hash(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * 1099511628211ull;
    return hash;
}
