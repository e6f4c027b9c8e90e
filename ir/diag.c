#include "diag.h"

#include <stdlib.h>
#include <string.h>

ir_diag *ir_diag_new(void) {
    ir_arena *arena = ir_arena_new();
    ir_diag *diag = ir_arena_alloc(arena, sizeof *diag);
    diag->arena = arena;
    return diag;
}

void ir_diag_free(ir_diag *diag) {
    if (diag) ir_arena_free(diag->arena);
}

static char *format_text(ir_arena *arena, const char *format, va_list args) {
    ir_text text = {0};
    ir_text_vprintf(&text, format, args);
    char *copy = ir_arena_strndup(arena, text.data ? text.data : "", text.length);
    ir_text_free(&text);
    return copy;
}

bool ir_error(ir_diag *diag, ir_loc loc, const char *format, ...) {
    diag->errors++;
    if (diag->count >= IR_DIAG_LIMIT) return false;
    va_list args;
    va_start(args, format);
    ir_message *m = IR_PUSH(diag->arena, diag->messages, diag->count, diag->capacity);
    *m = (ir_message){.loc = loc, .text = format_text(diag->arena, format, args)};
    va_end(args);
    return false;
}

void ir_hint(ir_diag *diag, const char *format, ...) {
    if (diag->errors > diag->count || diag->count == 0) return;
    va_list args;
    va_start(args, format);
    diag->messages[diag->count - 1].hint = format_text(diag->arena, format, args);
    va_end(args);
}

void ir_loc_line(ir_loc loc, int *line, int *column) {
    *line = *column = 1;
    if (!loc.source || !loc.source->text) return;
    for (uint32_t i = 0; i < loc.offset && loc.source->text[i]; i++) {
        (*column)++;
        if (loc.source->text[i] == '\n') {
            (*line)++;
            *column = 1;
        }
    }
}

static void print_excerpt(ir_loc loc, int line, int column, FILE *out) {
    const char *start = loc.source->text + loc.offset - (column - 1);
    int length = (int)strcspn(start, "\n");
    enum { SHOWN = 160 };
    int skip = column > SHOWN / 2 ? column - SHOWN / 2 : 0;
    int shown = length - skip > SHOWN ? SHOWN : length - skip;
    fprintf(out, "%5d | ", line);
    for (int i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)start[skip + i];
        fputc(c == '\t' ? ' ' : c < 32 || c == 127 ? '?' : c, out);
    }
    fprintf(out, "\n      | %*s^", column - 1 - skip, "");
    int room = shown - (column - skip);
    for (int i = 1; i < (int)loc.length && i <= room; i++)
        fputc('~', out);
    fputc('\n', out);
}

void ir_diag_print(const ir_diag *diag, FILE *out) {
    for (size_t i = 0; i < diag->count; i++) {
        const ir_message *m = &diag->messages[i];
        int line, column;
        ir_loc_line(m->loc, &line, &column);
        if (m->loc.source) fprintf(out, "%s:%d:%d: ", m->loc.source->file, line, column);
        fprintf(out, "error: %s\n", m->text);
        if (m->loc.source && m->loc.source->text) print_excerpt(m->loc, line, column, out);
        if (m->hint) fprintf(out, "hint: %s\n", m->hint);
    }
    if (diag->errors > diag->count)
        fprintf(out, "%zu more errors not shown\n", diag->errors - diag->count);
}

/* Levenshtein distance of short names, giving up above `limit`. */
static size_t distance(const char *a, const char *b, size_t limit) {
    enum { LONGEST = 64 };
    size_t n = strlen(a), m = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return limit + 1;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const char *ir_nearest(const char *name, const char *const *names, size_t count) {
    size_t length = strlen(name), limit = length < 2 ? 0 : length / 3 + 1, best = limit + 1;
    const char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(name, names[i], limit);
        if (d < best) {
            best = d;
            found = names[i];
        }
    }
    return found;
}

_Noreturn void ir_bug(const char *file, int line, const char *format, ...) {
    va_list args;
    fprintf(stderr, "cnx: internal error at %s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}
