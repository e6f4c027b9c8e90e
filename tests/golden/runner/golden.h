/* Golden text tests: one small file holds a command, its input, and the output it must produce.
 *
 *     # NOTE: a name nobody defined
 *     # RUN: cnxc %s --emit-ir
 *     # EXIT: 1
 *     y = nothing(x)
 *     # EXPECT-STDERR:
 *     input.cnx:1:5: error: ...
 *
 * The header is the leading run of directive lines; the input is what follows up to the first
 * `# EXPECT-`; a section that is absent means that stream must be empty. The case runs in a fresh
 * directory that holds the input as `input.cnx`; `# FILE: name` inside the input starts another
 * file (as its first line: renames the first). Directives:
 *
 *     # RUN:      a shell command; several run in order, all but the last must succeed
 *     # EXIT:     exit status of the last command, 0 if absent
 *     # TIMEOUT:  seconds, 60 if absent
 *     # REQUIRES: a flag of /proc/cpuinfo, without which the case is skipped (status 77)
 *     # NOTE:     words for people
 *
 * In RUN: %s the input file, %t a scratch file, %models and %tests the project's folders.
 * In the output these two folders are printed back as %models and %tests. An expected line that
 * starts with `# EXPECT-` or a backslash is written with a backslash before it.
 * `--update` rewrites the expected part, unless the command crashed or ran out of time. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

/* Text that grows; always NUL-terminated once anything was appended. */
struct golden_text {
    char *data;
    size_t size, capacity;
};

void golden_append(struct golden_text *text, const char *data, size_t size);
void golden_appends(struct golden_text *text, const char *string);
void golden_free(struct golden_text *text);
/* Text with every `from` replaced by `to`; the old text is freed. */
void golden_replace(struct golden_text *text, const char *from, const char *to);

enum { GOLDEN_MAX_RUNS = 8, GOLDEN_MAX_FILES = 8 };

struct golden_case {
    const char *path;
    struct golden_text head; /* the file up to the first EXPECT line, for --update */
    char *runs[GOLDEN_MAX_RUNS];
    int run_count;
    int exit_status;
    int timeout; /* seconds */
    char *
        requires; /* a CPU flag or NULL */
    struct {
        char *name;
        struct golden_text text;
    } files[GOLDEN_MAX_FILES];
    int file_count;
    struct golden_text out, err; /* expected */
};

/* Reads a case; false with a message on stderr if the file is unreadable or malformed. */
bool golden_case_read(struct golden_case *c, const char *path);
void golden_case_free(struct golden_case *c);
/* Writes the case back with the given expectations. */
bool golden_case_write(const struct golden_case *c, const struct golden_text *out,
                       const struct golden_text *err, int exit_status);

struct golden_run {
    struct golden_text out, err;
    int exit_status; /* of the command, -1 if it did not exit */
    int signal;      /* that killed it, or 0 */
    bool timed_out;
};

/* Runs `command` with /bin/sh in directory `dir`, at most `timeout` seconds, stdin empty. Output is
 * appended to run->out and run->err; a process group that does not end in time is killed. */
void golden_exec(struct golden_run *run, const char *command, const char *dir, int timeout);

/* Prints expected against found on stdout, changed lines marked - and +, with some context. */
void golden_diff(const char *title, const struct golden_text *want, const struct golden_text *got);

#endif
