/* Diagnostics: a user's mistake is collected here and returned as failure; a compiler bug aborts.
 *
 * A message says what is wrong, what was found and what would be accepted, then perhaps a hint.
 * Errors are kept in order; past IR_DIAG_LIMIT they are only counted. Printing shows
 *
 *     models/net.cnx:12:9: error: unknown block 'ConvNextBlock'
 *        12 |     y = ConvNextBlock(x, 40)
 *           |         ^~~~~~~~~~~~~
 *     hint: did you mean 'ConvNeXtV2Block'?
 */
#ifndef IR_DIAG_H
#define IR_DIAG_H

#include "arena.h"

#include <stdbool.h>
#include <stdio.h>

enum { IR_DIAG_LIMIT = 20 };

typedef struct ir_source {
    const char *file; /* as the user named it */
    const char *text; /* whole file, NUL-terminated; NULL if there is none to show */
} ir_source;

typedef struct ir_loc {
    const ir_source *source; /* NULL: no place in a file */
    uint32_t offset;         /* byte offset in source->text */
    uint32_t length;         /* bytes to underline; 0 shows a lone caret */
} ir_loc;

typedef struct ir_message {
    ir_loc loc;
    const char *text; /* "unknown block 'X'" */
    const char *hint; /* NULL if there is none */
} ir_message;

typedef struct ir_diag {
    ir_arena *arena;      /* owns the texts */
    ir_message *messages; /* the first IR_DIAG_LIMIT */
    size_t count;         /* messages kept */
    size_t capacity;      /* room in messages */
    size_t errors;        /* all errors, kept or not */
} ir_diag;

ir_diag *ir_diag_new(void);
void ir_diag_free(ir_diag *diag);
/* Records an error; always returns false so that callers can `return ir_error(...)`. */
bool ir_error(ir_diag *diag, ir_loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds a hint to the latest message. */
void ir_hint(ir_diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 1-based line and column (in bytes, tabs count 1) of a place. */
void ir_loc_line(ir_loc loc, int *line, int *column);
void ir_diag_print(const ir_diag *diag, FILE *out);
/* The nearest of `count` names by edit distance, or NULL when none is near enough to suggest. */
const char *ir_nearest(const char *name, const char *const *names, size_t count);

/* A broken invariant of the compiler: prints file, line and the message, and aborts. */
#define IR_BUG(...) ir_bug(__FILE__, __LINE__, __VA_ARGS__)
#define IR_ASSERT(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) IR_BUG("%s", #condition);                                                \
    } while (0)
_Noreturn void ir_bug(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
