/* What every command has: its options, a place for diagnostics, and the log.
 *
 * People read stderr, programs read stdout; --log-json gets every message and event as one JSON
 * value per line: {"event": "error", "message": ..., "file": ..., "line": ..., "column": ...},
 * {"event": "epoch", ...}. A command returns an exit code and has printed why it is not 0.
 */
#ifndef CLI_H
#define CLI_H

#include "diag.h"
#include "json.h"
#include "options.h"

typedef struct cli {
    const cli_options *options;
    ir_arena *arena; /* texts that live as long as the command */
    ir_diag *diag;   /* the user's errors */
    FILE *log;       /* --log-json, or NULL */
    int log_error;   /* errno of the first write to it that failed, or 0 */
} cli;

/* The commands; cli_emit is what happens without a command word. */
#define COMMAND(name, most, usage, doc) int cli_##name(cli *c);
#include "commands.def"
#undef COMMAND

/* Prints "cnxc: MESSAGE" and logs it; returns `code`. */
int cli_fail(cli *c, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Likewise, and how the command is used; returns CLI_WRONG_USAGE. */
int cli_wrong_usage(cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Wrong usage if any of these options (CLI_BIT) is given: "--cpu has no effect on WHAT". */
int cli_refuse(cli *c, uint64_t options, const char *what);
/* An event of the log for what is wrong with the command line and printed already. */
void cli_log_error(cli *c, const char *message, int code);
/* Prints the collected diagnostics and logs them; returns CLI_USER_ERROR. */
int cli_fail_diag(cli *c);
/* A line for people. */
void cli_note(cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Begins an event of the log, with its name; members follow; cli_event_end writes and frees it. */
cli_json cli_event(const char *name);
void cli_event_end(cli *c, cli_json *event);
/* Opens --log-json, if it is given; closes it. Both return `code`, or that of a failure. */
int cli_log_open(cli *c, int code);
int cli_log_close(cli *c, int code);

/* files.c */
/* A whole file as text, NUL-terminated, in the arena; NULL with a message in *why. */
char *cli_read_text(ir_arena *arena, const char *path, const char **why);
typedef struct cli_file {
    const char *path;
    const ir_text *text;
} cli_file;

/* All files or none of them, each whole (rt_file.h). This and the next return an exit code. */
int cli_write_files(cli *c, const cli_file *files, size_t count);
/* The same for one text, which may also go to a device or a pipe, or to stdout (`path` NULL). */
int cli_write_text(cli *c, const char *path, const ir_text *text);
/* Where models that come with cnxc may stand, next to the executable; NULL-terminated. */
const char *const *cli_model_directories(ir_arena *arena);
/* The file a model argument means: itself, or one of the models that come with cnxc. */
const char *cli_find_model(ir_arena *arena, const char *name);
bool cli_exists(const char *path);

#endif
