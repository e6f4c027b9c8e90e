/* The command line: which command, which options, and whether they go together.
 *
 * Commands and options are rows of commands.def and options.def. An option that the command does
 * not use is wrong usage, so nothing is accepted and ignored. Messages are printed here, and reach
 * the log if --log-json stands before the mistake; exit codes are part of the contract: 0 done, 1
 * the user's error, 2 wrong usage, 3 a run that failed.
 *
 *     cli_options o;
 *     int code = cli_options_parse(&o, argc, argv);      CLI_DONE also after --help
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CLI_DONE = 0, CLI_USER_ERROR = 1, CLI_WRONG_USAGE = 2, CLI_RUN_FAILED = 3 };

typedef enum cli_command {
#define COMMAND(name, most, usage, doc) CLI_COMMAND_##name,
#include "commands.def"
#undef COMMAND
    CLI_COMMAND_COUNT
} cli_command;

typedef enum cli_option {
#define OPTION(field, kind, spelling, value, commands, doc) CLI_OPTION_##field,
#include "options.def"
#undef OPTION
    CLI_OPTION_COUNT
} cli_option;

/* A row of commands.def. */
typedef struct cli_command_info {
    const char *name;
    size_t most; /* arguments that are no options */
    const char *usage, *doc;
} cli_command_info;
const cli_command_info *cli_command_get(cli_command command);

/* A row of options.def. */
typedef struct cli_option_info {
    const char *spelling; /* "--batch" */
    const char *value;    /* what the help calls it, "" for flags */
    const char *doc;
    int kind;          /* FLAG, TEXT... */
    unsigned commands; /* bit CLI_COMMAND_x: x uses it */
    bool common;       /* all that compile do */
    size_t offset;     /* of the field in cli_options */
} cli_option_info;
const cli_option_info *cli_option_get(cli_option option);

typedef struct cli_list {
    const char **item; /* NULL-terminated; room for every argument */
    size_t count;
} cli_list;

typedef struct cli_options {
    cli_command command;
    const char *model; /* the first positional argument */
    cli_list files;    /* predict: the images */
    uint64_t given;    /* bit CLI_OPTION_x: option x was on the command line */
    bool answered;     /* --help, --help-ops or --version: already printed, nothing to run */
    char *mistake;     /* what is wrong with the line: already printed; NULL if nothing is */
#define CLI_FIELD_FLAG(field) bool field;
#define CLI_FIELD_TEXT(field) const char *field;
#define CLI_FIELD_COUNT(field) int64_t field;
#define CLI_FIELD_SEED(field) uint64_t field;
#define CLI_FIELD_NUMBER(field) double field;
#define CLI_FIELD_LIST(field) cli_list field;
#define OPTION(field, kind, spelling, value, commands, doc) CLI_FIELD_##kind(field)
#include "options.def"
#undef OPTION
} cli_options;

/* Fills `o` from the arguments; what it points to lives as long as argv and `o`. Returns an exit
 * code; free with cli_options_free in any case. */
int cli_options_parse(cli_options *o, int argc, char **argv);
void cli_options_free(cli_options *o);
static inline bool cli_given(const cli_options *o, cli_option option) {
    return o->given >> option & 1;
}
#define CLI_BIT(option) ((uint64_t)1 << CLI_OPTION_##option) /* in `given` */

/* Prints "cnxc: MESSAGE" and how the command is used. */
void cli_print_wrong_usage(cli_command command, const char *message);

const char *cli_command_name(cli_command command);

/* help.c */
void cli_print_help(FILE *out);
void cli_print_command_help(FILE *out, cli_command command);
void cli_print_ops(FILE *out);
void cli_print_version(FILE *out);

#endif
