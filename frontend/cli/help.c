/* Help texts, made from the tables of commands, options and ops. */
#include "options.h"

#include "graph.h"

#include <string.h>

/* The text of a part "NAME,NAME: text" if it is for this command, of any other part; else NULL. */
static const char *part_for(cli_command command, const char *part, size_t length) {
    const char *name = cli_command_name(command);
    size_t names = strspn(part, "abcdefghijklmnopqrstuvwxyz,");
    if (names + 2 > length || strncmp(part + names, ": ", 2) != 0) return part;
    for (size_t i = 0; i < names; i += strcspn(part + i, ",:") + 1)
        if (strcspn(part + i, ",:") == strlen(name) && strncmp(part + i, name, strlen(name)) == 0)
            return part + names + 2;
    return NULL;
}

static void print_option(FILE *out, cli_command command, const cli_option_info *option) {
    char left[64];
    snprintf(left, sizeof left, "%s%s%s", option->spelling, option->value[0] ? " " : "",
             option->value);
    fprintf(out, "  %-24s ", left);
    for (const char *part = option->doc, *next; part; part = next) {
        const char *end = strstr(part, "; ");
        size_t length = end ? (size_t)(end - part) : strlen(part);
        const char *text = part_for(command, part, length);
        if (text)
            fprintf(out, "%s%.*s", part == option->doc ? "" : "; ", (int)(part + length - text),
                    text);
        next = end ? end + 2 : NULL;
    }
    fprintf(out, "\n");
}

void cli_print_help(FILE *out) {
    fprintf(out, "cnxc, a compiler for ConvNeXt V2 models\n\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        const cli_command_info *command = cli_command_get((cli_command)i);
        fprintf(out, "%s\n    %s\n", command->usage, command->doc);
    }
    fprintf(out, "\nMODEL is a file .cnx, a graph .cnxir, or the name of a model that comes with "
                 "cnxc\n(convnextv2_atto.cnx, or convnextv2_atto after a command).\n\nOptions "
                 "without a command:\n");
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        const cli_option_info *option = cli_option_get((cli_option)i);
        if (option->commands >> CLI_COMMAND_emit & 1 && !option->common)
            print_option(out, CLI_COMMAND_emit, option);
    }
    fprintf(out, "\nOptions of most commands:\n");
    for (int i = 0; i < CLI_OPTION_COUNT; i++)
        if (cli_option_get((cli_option)i)->common)
            print_option(out, CLI_COMMAND_emit, cli_option_get((cli_option)i));
    fprintf(out, "\n  cnxc COMMAND --help      the options of one command\n"
                 "  cnxc --help-ops          the ops of a graph\n"
                 "  cnxc --version           versions, and what this machine can run\n\n"
                 "Exit status: 0 done, 1 an error in the model or its files, 2 wrong usage,\n"
                 "3 a run that failed (data, disk, memory, a loss that is not finite).\n");
}

void cli_print_command_help(FILE *out, cli_command command) {
    const cli_command_info *info = cli_command_get(command);
    fprintf(out, "usage: %s\n%s\n\n", info->usage, info->doc);
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        const cli_option_info *option = cli_option_get((cli_option)i);
        if (option->commands >> command & 1) print_option(out, command, option);
    }
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
