/* A line diff by longest common subsequence, good for the few hundred lines of a golden case. */
#include "golden.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 3, MAX_CELLS = 1 << 24 };

struct lines {
    const char **at; /* count + 1 pointers: line i is [at[i], at[i + 1]) */
    size_t count;
};

static struct lines split(const struct golden_text *text) {
    struct lines lines = {.at = calloc(text->size + 2, sizeof *lines.at)};
    if (!lines.at) exit(2);
    const char *line = text->data, *end = text->data + text->size;
    while (line < end) {
        lines.at[lines.count++] = line;
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        line = newline ? newline + 1 : end;
    }
    lines.at[lines.count] = line;
    return lines;
}

static bool same(const struct lines *a, size_t i, const struct lines *b, size_t j) {
    size_t size = (size_t)(a->at[i + 1] - a->at[i]);
    return size == (size_t)(b->at[j + 1] - b->at[j]) && memcmp(a->at[i], b->at[j], size) == 0;
}

static void print_line(char mark, const struct lines *lines, size_t i) {
    size_t size = (size_t)(lines->at[i + 1] - lines->at[i]);
    bool newline = size && lines->at[i][size - 1] == '\n';
    printf("    %c %.*s%s", mark, (int)size, lines->at[i], newline ? "" : "<no newline>\n");
}

/* lcs[i][j]: length of the longest common subsequence of a[i..] and b[j..]; NULL if too large. */
static uint32_t *lcs_table(const struct lines *a, const struct lines *b, size_t skip) {
    size_t rows = a->count - skip + 1, columns = b->count - skip + 1;
    if (rows > MAX_CELLS / columns) return NULL;
    uint32_t *lcs = calloc(rows * columns, sizeof *lcs);
    if (!lcs) exit(2);
    for (size_t i = rows - 1; i-- > 0;)
        for (size_t j = columns - 1; j-- > 0;) {
            uint32_t down = lcs[(i + 1) * columns + j], right = lcs[i * columns + j + 1];
            uint32_t both = lcs[(i + 1) * columns + j + 1] + 1;
            if (!same(a, skip + i, b, skip + j)) both = down > right ? down : right;
            lcs[i * columns + j] = both;
        }
    return lcs;
}

void golden_diff(const char *title, const struct golden_text *want, const struct golden_text *got) {
    struct lines a = split(want), b = split(got);
    size_t i = 0;
    while (i < a.count && i < b.count && same(&a, i, &b, i))
        i++;
    size_t skip = i, j = i, columns = b.count - skip + 1;
    uint32_t *lcs = lcs_table(&a, &b, skip);
    printf("  %s differs at line %zu (- expected, + found):\n", title, i + 1);
    for (size_t k = i > CONTEXT ? i - CONTEXT : 0; k < i; k++)
        print_line(' ', &a, k);
    size_t quiet = 0; /* equal lines since the last change */
    while (i < a.count || j < b.count) {
        bool both = i < a.count && j < b.count;
        if (both && same(&a, i, &b, j)) {
            if (++quiet <= CONTEXT)
                print_line(' ', &a, i);
            else if (quiet == CONTEXT + 1)
                printf("    ...\n");
            i++, j++;
            continue;
        }
        quiet = 0;
        bool drop = j == b.count;
        if (both)
            drop = !lcs || lcs[(i + 1 - skip) * columns + j - skip] >=
                               lcs[(i - skip) * columns + j + 1 - skip];
        if (drop)
            print_line('-', &a, i++);
        else
            print_line('+', &b, j++);
    }
    free(lcs);
    free(a.at);
    free(b.at);
}
