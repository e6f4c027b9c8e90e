/* Reading and writing the text of a golden case. */
#define _GNU_SOURCE
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void golden_append(struct golden_text *text, const char *data, size_t size) {
    if (text->size + size + 1 > text->capacity) {
        text->capacity = 2 * (text->size + size + 1);
        text->data = realloc(text->data, text->capacity);
        if (!text->data) {
            perror("golden");
            exit(2);
        }
    }
    if (size) memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = '\0';
}

void golden_appends(struct golden_text *text, const char *string) {
    golden_append(text, string, strlen(string));
}

void golden_free(struct golden_text *text) {
    free(text->data);
    *text = (struct golden_text){0};
}

void golden_replace(struct golden_text *text, const char *from, const char *to) {
    struct golden_text result = {0};
    const char *at = text->data, *end = text->data + text->size, *hit;
    while (at && (hit = memmem(at, (size_t)(end - at), from, strlen(from)))) {
        golden_append(&result, at, (size_t)(hit - at));
        golden_appends(&result, to);
        at = hit + strlen(from);
    }
    golden_append(&result, at, at ? (size_t)(end - at) : 0);
    golden_free(text);
    *text = result;
}

static bool starts_with(const char *line, const char *prefix) {
    return strncmp(line, prefix, strlen(prefix)) == 0;
}

/* The value behind a directive, without blanks around it, or NULL if the line is another one. */
static char *directive(const char *line, size_t size, const char *name) {
    size_t skip = strlen(name);
    if (size < skip || strncmp(line, name, skip) != 0) return NULL;
    while (skip < size && line[skip] == ' ')
        skip++;
    while (size > skip && (line[size - 1] == ' ' || line[size - 1] == '\n'))
        size--;
    return strndup(line + skip, size - skip);
}

/* One line of the header; false when the header is over. */
static bool read_header_line(struct golden_case *c, const char *line, size_t size) {
    char *value;
    if ((value = directive(line, size, "# RUN:"))) {
        if (c->run_count == GOLDEN_MAX_RUNS) {
            free(value);
            return false;
        }
        c->runs[c->run_count++] = value;
    } else if ((value = directive(line, size, "# EXIT:"))) {
        c->exit_status = atoi(value);
        free(value);
    } else if ((value = directive(line, size, "# TIMEOUT:"))) {
        c->timeout = atoi(value);
        free(value);
    } else if ((value = directive(line, size, "# REQUIRES:"))) {
        free(c->requires);
        c->
            requires
        = value;
    } else if ((value = directive(line, size, "# NOTE:"))) {
        free(value);
    } else {
        return false;
    }
    return true;
}

/* A line of the input: text of the current file, or the start of another. */
static bool read_input_line(struct golden_case *c, const char *line, size_t size) {
    char *name = directive(line, size, "# FILE:");
    if (!name) {
        golden_append(&c->files[c->file_count - 1].text, line, size);
        return true;
    }
    if (strchr(name, '/') || !*name || *name == '.') {
        fprintf(stderr, "%s: '# FILE:' takes a plain file name, found '%s'\n", c->path, name);
        free(name);
        return false;
    }
    if (c->file_count == 1 && c->files[0].text.size == 0) {
        free(c->files[0].name);
        c->files[0].name = name;
        return true;
    }
    if (c->file_count == GOLDEN_MAX_FILES) {
        fprintf(stderr, "%s: more than %d files\n", c->path, GOLDEN_MAX_FILES);
        free(name);
        return false;
    }
    c->files[c->file_count].name = name;
    c->file_count++;
    return true;
}

/* A line of an expected section; a leading backslash quotes. */
static void read_expected_line(struct golden_text *section, const char *line, size_t size) {
    if (size && line[0] == '\\') {
        if (strncmp(line, "\\no newline at end", 18) == 0) {
            section->size -= section->size > 0;
            return;
        }
        line++, size--;
    }
    golden_append(section, line, size);
}

static bool read_lines(struct golden_case *c, const char *text, const char *end) {
    bool in_header = true;
    struct golden_text *section = NULL;
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline ? newline + 1 : end;
        size_t size = (size_t)(next - line);
        bool is_out = starts_with(line, "# EXPECT-STDOUT:");
        bool is_err = starts_with(line, "# EXPECT-STDERR:");
        if (in_header) in_header = read_header_line(c, line, size);
        if (is_out || is_err) {
            section = is_out ? &c->out : &c->err;
            golden_append(section, "", 0);
        } else if (section) {
            read_expected_line(section, line, size);
        } else if (!in_header && !read_input_line(c, line, size)) {
            return false;
        }
        if (!section) golden_append(&c->head, line, size);
        line = next;
    }
    return true;
}

bool golden_case_read(struct golden_case *c, const char *path) {
    *c = (struct golden_case){.path = path, .timeout = 60};
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        return false;
    }
    struct golden_text text = {0};
    char chunk[4096];
    size_t n;
    golden_append(&text, "", 0);
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0)
        golden_append(&text, chunk, n);
    fclose(file);
    c->files[0].name = strdup("input.cnx");
    c->file_count = 1;
    bool ok = read_lines(c, text.data, text.data + text.size);
    golden_free(&text);
    if (ok && c->run_count == 0) {
        fprintf(stderr, "%s: no '# RUN:' line at the top\n", path);
        ok = false;
    }
    if (ok && c->timeout <= 0) {
        fprintf(stderr, "%s: '# TIMEOUT:' takes a positive number of seconds\n", path);
        ok = false;
    }
    return ok;
}

void golden_case_free(struct golden_case *c) {
    for (int i = 0; i < c->run_count; i++)
        free(c->runs[i]);
    for (int i = 0; i < c->file_count; i++) {
        free(c->files[i].name);
        golden_free(&c->files[i].text);
    }
    free(c->requires);
    golden_free(&c->head);
    golden_free(&c->out);
    golden_free(&c->err);
}

static void write_section(FILE *file, const char *title, const struct golden_text *text) {
    if (text->size == 0) return;
    fprintf(file, "# EXPECT-%s:\n", title);
    const char *end = text->data + text->size;
    for (const char *line = text->data; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline ? newline + 1 : end;
        if (*line == '\\' || starts_with(line, "# EXPECT-")) fputc('\\', file);
        fwrite(line, 1, (size_t)(next - line), file);
        if (!newline) fprintf(file, "\n\\no newline at end\n");
        line = next;
    }
}

/* The head again, with its EXIT line replaced, removed or added after the last RUN line. */
static void write_head(FILE *file, const struct golden_case *c, int exit_status) {
    int runs_left = c->run_count;
    const char *end = c->head.data + c->head.size;
    for (const char *line = c->head.data; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline ? newline + 1 : end;
        if (!starts_with(line, "# EXIT:")) fwrite(line, 1, (size_t)(next - line), file);
        if (starts_with(line, "# RUN:") && --runs_left == 0 && exit_status != 0)
            fprintf(file, "# EXIT: %d\n", exit_status);
        line = next;
    }
    if (c->head.size && end[-1] != '\n') fputc('\n', file);
}

bool golden_case_write(const struct golden_case *c, const struct golden_text *out,
                       const struct golden_text *err, int exit_status) {
    FILE *file = fopen(c->path, "w");
    if (!file) {
        perror(c->path);
        return false;
    }
    write_head(file, c, exit_status);
    write_section(file, "STDOUT", out);
    write_section(file, "STDERR", err);
    bool ok = !ferror(file);
    return fclose(file) == 0 && ok;
}
