/* Help texts, made from the tables of commands, options and ops. */
#include "options.h"

#include "graph.h"

#include <string.h>

typedef struct option_help {
    const char *spelling, *value, *doc;
    const char *commands; /* as written in the table */
} option_help;

static const option_help option_helps[CLI_OPTION_COUNT] = {
#define OPTION(field, kind, spelling, value, commands, doc) {spelling, value, doc, #commands},
#include "options.def"
#undef OPTION
};

typedef struct command_help {
    const char *usage, *doc;
} command_help;

static const command_help command_helps[CLI_COMMAND_COUNT] = {
#define COMMAND(name, positional, most, usage, doc) {usage, doc},
#include "commands.def"
#undef COMMAND
};

/* How options.def calls the commands. */
static const char letters[CLI_COMMAND_COUNT] = {
    [CLI_COMMAND_emit] = 'E',        [CLI_COMMAND_run] = 'R',      [CLI_COMMAND_train] = 'T',
    [CLI_COMMAND_pretrain] = 'M',    [CLI_COMMAND_finetune] = 'F', [CLI_COMMAND_eval] = 'V',
    [CLI_COMMAND_predict] = 'P',     [CLI_COMMAND_bench] = 'B',    [CLI_COMMAND_inspect] = 'I',
    [CLI_COMMAND_reconstruct] = 'X', [CLI_COMMAND_convert] = 'C',
};

static bool uses(cli_command command, const char *commands) {
    bool model = command != CLI_COMMAND_convert;
    if (strcmp(commands, "EVERY") == 0) return true;
    if (strcmp(commands, "ALL") == 0) return model;
    if (strcmp(commands, "COMPILES") == 0) return model && command != CLI_COMMAND_inspect;
    return strchr(commands, letters[command]) != NULL;
}

static bool common(const char *commands) {
    static const char *const most[] = {"EVERY", "ALL", "COMPILES"};
    for (size_t i = 0; i < sizeof most / sizeof *most; i++)
        if (strcmp(commands, most[i]) == 0) return true;
    return false;
}

static void print_option(FILE *out, const option_help *help) {
    char left[64];
    snprintf(left, sizeof left, "%s%s%s", help->spelling, help->value[0] ? " " : "", help->value);
    fprintf(out, "  %-24s %s\n", left, help->doc);
}

void cli_print_help(FILE *out) {
    fprintf(out, "cnxc, a compiler for ConvNeXt V2 models\n\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        fprintf(out, "%s\n    %s\n", command_helps[i].usage, command_helps[i].doc);
    fprintf(out, "\nMODEL is a file .cnx, a graph .cnxir, or the name of a model that comes with "
                 "cnxc.\n\nOptions without a command:\n");
    for (int i = 0; i < CLI_OPTION_COUNT; i++)
        if (uses(CLI_COMMAND_emit, option_helps[i].commands) && !common(option_helps[i].commands))
            print_option(out, &option_helps[i]);
    fprintf(out, "\nOptions of most commands:\n");
    for (int i = 0; i < CLI_OPTION_COUNT; i++)
        if (common(option_helps[i].commands)) print_option(out, &option_helps[i]);
    fprintf(out, "\n  cnxc COMMAND --help      the options of one command\n"
                 "  cnxc --help-ops          the ops of a graph\n"
                 "  cnxc --version           versions, and what this machine can run\n\n"
                 "Exit status: 0 done, 1 an error in the model or its files, 2 wrong usage,\n"
                 "3 a run that failed (data, disk, memory, a loss that is not finite).\n");
}

void cli_print_command_help(FILE *out, cli_command command) {
    fprintf(out, "usage: %s\n%s\n\n", command_helps[command].usage, command_helps[command].doc);
    for (int i = 0; i < CLI_OPTION_COUNT; i++)
        if (uses(command, option_helps[i].commands)) print_option(out, &option_helps[i]);
}

static const char *kind_title(ir_op_kind kind) {
    switch (kind) {
    case IR_SOURCE: return "sources";
    case IR_COMPOSITE: return "composite ops, replaced by primitive ones before differentiation";
    case IR_PRIMITIVE: return "primitive ops";
    }
    return "";
}

void cli_print_ops(FILE *out) {
    static const ir_op_kind kinds[] = {IR_SOURCE, IR_COMPOSITE, IR_PRIMITIVE};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        fprintf(out, "%s%s\n", k ? "\n" : "", kind_title(kinds[k]));
        for (int op = 0; op < IR_OP_COUNT; op++) {
            const ir_op_info *info = ir_op_get((ir_op)op);
            if (info->kind != kinds[k]) continue;
            fprintf(out, "  %s(%s)%s%s\n      %s\n", info->name, info->operands,
                    info->attributes[0] ? "  " : "", info->attributes, info->doc);
        }
    }
}
