#include "options.h"

#include "diag.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind { FLAG, TEXT, COUNT, SEED, NUMBER, LIST } option_kind;

enum {
    E = 1 << CLI_COMMAND_emit,
    R = 1 << CLI_COMMAND_run,
    T = 1 << CLI_COMMAND_train,
    V = 1 << CLI_COMMAND_eval,
    P = 1 << CLI_COMMAND_predict,
    B = 1 << CLI_COMMAND_bench,
    I = 1 << CLI_COMMAND_inspect,
    C = 1 << CLI_COMMAND_convert,
    M = 1 << CLI_COMMAND_pretrain,
    F = 1 << CLI_COMMAND_finetune,
    X = 1 << CLI_COMMAND_reconstruct,
    COMPILES = E | R | T | V | P | B | M | F | X,
    ALL = COMPILES | I,
    EVERY = ALL | C
};

static const cli_option_info option_table[CLI_OPTION_COUNT] = {
#define OPTION(field, kind, spelling, value, commands, doc)                                        \
    {spelling,                                                                                     \
     value,                                                                                        \
     doc,                                                                                          \
     kind,                                                                                         \
     commands,                                                                                     \
     ((commands) & COMPILES) == COMPILES,                                                          \
     offsetof(cli_options, field)},
#include "options.def"
#undef OPTION
};

static const cli_command_info command_table[CLI_COMMAND_COUNT] = {
#define COMMAND(name, most, usage, doc) {#name, most, usage, doc},
#include "commands.def"
#undef COMMAND
};

const cli_command_info *cli_command_get(cli_command command) {
    return &command_table[command];
}

const cli_option_info *cli_option_get(cli_option option) {
    return &option_table[option];
}

const char *cli_command_name(cli_command command) {
    return command_table[command].name;
}

void cli_print_wrong_usage(cli_command command, const char *message) {
    fprintf(stderr, "cnxc: %s\nusage: %s\n", message, command_table[command].usage);
    if (command == CLI_COMMAND_emit)
        fprintf(stderr, "see:   cnxc --help\n");
    else
        fprintf(stderr, "see:   cnxc %s --help\n", command_table[command].name);
}

static int wrong_usage(cli_options *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int wrong_usage(cli_options *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ir_text text = {0};
    ir_text_vprintf(&text, format, args);
    va_end(args);
    cli_print_wrong_usage(o->command, text.data);
    o->mistake = text.data;
    return CLI_WRONG_USAGE;
}

/* --- values --- */

static bool parse_whole(const char *text, uint64_t *value) {
    if (!*text || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return errno == 0;
}

static bool parse_number(const char *text, double *value) {
    char *end;
    if (!*text || isspace((unsigned char)*text)) return false;
    *value = strtod(text, &end);
    return *end == 0 && isfinite(*value) && *value >= 0;
}

static int set_value(cli_options *o, cli_option option, const char *value) {
    const cli_option_info *row = &option_table[option];
    void *field = (char *)o + row->offset;
    uint64_t whole = 0;
    switch ((option_kind)row->kind) {
    case FLAG: *(bool *)field = true; break;
    case TEXT:
        if (!*value) return wrong_usage(o, "%s needs a value", row->spelling);
        *(const char **)field = value;
        break;
    case COUNT:
        if (!parse_whole(value, &whole) || whole < 1 || whole > INT32_MAX)
            return wrong_usage(o, "%s is '%s'; expected a whole number from 1", row->spelling,
                               value);
        *(int64_t *)field = (int64_t)whole;
        break;
    case SEED:
        if (!parse_whole(value, &whole))
            return wrong_usage(o, "%s is '%s'; expected a whole number from 0", row->spelling,
                               value);
        *(uint64_t *)field = whole;
        break;
    case NUMBER:
        if (!parse_number(value, field))
            return wrong_usage(o, "%s is '%s'; expected a number from 0", row->spelling, value);
        break;
    case LIST: {
        cli_list *list = field;
        list->item[list->count++] = value;
        break;
    }
    }
    if (row->kind != LIST && cli_given(o, option))
        return wrong_usage(o, "%s is given twice", row->spelling);
    o->given |= (uint64_t)1 << option;
    return CLI_DONE;
}

/* --- options --- */

static int unknown_option(cli_options *o, const char *word) {
    const char *names[CLI_OPTION_COUNT + 1];
    size_t count = 0;
    for (int i = 0; i < CLI_OPTION_COUNT; i++)
        if (option_table[i].commands >> o->command & 1) names[count++] = option_table[i].spelling;
    names[count++] = "--help";
    const char *near = ir_nearest(word, names, count);
    if (!near) return wrong_usage(o, "unknown option '%s'", word);
    return wrong_usage(o, "unknown option '%s'\nhint: did you mean '%s'?", word, near);
}

/* Finds the option of a word: `--name`, `--name=value`, `-D`, `-Dname=value`. */
static bool find_option(const char *word, cli_option *option, const char **joined) {
    *joined = NULL;
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        const char *name = option_table[i].spelling;
        size_t length = strlen(name);
        *option = (cli_option)i;
        if (strcmp(word, name) == 0) return true;
        if (strncmp(word, name, length) != 0) continue;
        bool is_short = length == 2;
        if (!is_short && word[length] != '=') continue;
        *joined = word + length + (is_short ? 0 : 1);
        return true;
    }
    return false;
}

/* Takes the option at argv[*at] and its value, if it has one. */
static int take_option(cli_options *o, int argc, char **argv, int *at) {
    const char *word = argv[*at], *value = NULL;
    cli_option option;
    if (!find_option(word, &option, &value)) return unknown_option(o, word);
    const cli_option_info *row = &option_table[option];
    if (!(row->commands >> o->command & 1)) {
        if (o->command == CLI_COMMAND_emit)
            return wrong_usage(o, "%s is an option of a command such as 'cnxc run'", row->spelling);
        return wrong_usage(o, "'cnxc %s' does not use %s", cli_command_name(o->command),
                           row->spelling);
    }
    if (row->kind == FLAG) {
        if (value) return wrong_usage(o, "%s takes no value", row->spelling);
    } else if (!value) {
        if (*at + 1 >= argc) return wrong_usage(o, "%s needs a value", row->spelling);
        value = argv[++*at];
    }
    return set_value(o, option, value);
}

static int take_positional(cli_options *o, const char *word) {
    if (!o->model) {
        o->model = word;
        return CLI_DONE;
    }
    if (o->files.count + 1 >= command_table[o->command].most)
        return wrong_usage(o, "unexpected argument '%s'", word);
    o->files.item[o->files.count++] = word;
    return CLI_DONE;
}

/* --- what goes together --- */

static int check_define(cli_options *o) {
    for (size_t i = 0; i < o->define.count; i++) {
        const char *equals = strchr(o->define.item[i], '=');
        if (!equals || equals == o->define.item[i])
            return wrong_usage(o, "-D is '%s'; expected NAME=VALUE", o->define.item[i]);
    }
    return CLI_DONE;
}

static int check_dtype(cli_options *o) {
    if (!o->dtype || strcmp(o->dtype, "f32") == 0) return CLI_DONE;
    if (strcmp(o->dtype, "bf16") == 0)
        return wrong_usage(o, "--dtype bf16 is not supported yet; expected f32");
    return wrong_usage(o, "--dtype is '%s'; expected f32", o->dtype);
}

/* Exactly one emit mode, and options that fit to it. */
static int check_emit(cli_options *o) {
    if (o->emit_infer && o->train) return wrong_usage(o, "--emit-infer contradicts --train");
    if (o->emit_train && o->infer) return wrong_usage(o, "--emit-train contradicts --infer");
    if (o->infer && o->train) return wrong_usage(o, "--infer contradicts --train");
    int modes = o->emit_ast + o->emit_ir + o->emit_plan + o->emit_llvm + o->emit_asm + o->emit_obj +
                o->emit_infer + o->emit_train;
    if (modes != 1)
        return wrong_usage(o, "%s",
                           modes == 0 ? "nothing to emit; expected one of "
                                        "--emit-ast|ir|plan|llvm|asm|obj"
                                      : "more than one thing to emit");
    if (o->emit_infer) o->infer = o->emit_obj = true;
    if (o->emit_train) o->train = o->emit_obj = true;
    if (o->weights && (!o->emit_obj || o->train))
        return wrong_usage(o, "--weights are embedded in inference objects only");
    if (o->partial && !o->weights) return wrong_usage(o, "--partial without --weights");
    if (o->recipe && !o->train) return wrong_usage(o, "--recipe without --train");
    if (o->stop_after && !o->emit_ir) return wrong_usage(o, "--stop-after needs --emit-ir");
    return CLI_DONE;
}

static int check_needed(cli_options *o, cli_option option) {
    if (cli_given(o, option)) return CLI_DONE;
    return wrong_usage(o, "'cnxc %s' needs %s", cli_command_name(o->command),
                       option_table[option].spelling);
}

static int check_run(cli_options *o) {
    if (o->update && !o->train) return wrong_usage(o, "--update without --train");
    if (o->update && !cli_given(o, CLI_OPTION_lr)) return wrong_usage(o, "--update needs --lr");
    if (cli_given(o, CLI_OPTION_lr) && !o->update) return wrong_usage(o, "--lr without --update");
    if (o->recipe && !o->train) return wrong_usage(o, "--recipe without --train");
    return CLI_DONE;
}

static int check_train(cli_options *o) {
    int code = check_needed(o, CLI_OPTION_data);
    if (code == CLI_DONE && o->command == CLI_COMMAND_finetune && !o->resume)
        code = check_needed(o, CLI_OPTION_from);
    if (code == CLI_DONE && o->partial && !o->from)
        code = wrong_usage(o, "--partial without --from");
    return code;
}

static int check_reconstruct(cli_options *o) {
    int code = check_needed(o, CLI_OPTION_weights);
    if (code == CLI_DONE) code = check_needed(o, CLI_OPTION_output);
    if (code == CLI_DONE && o->files.count == 0) code = wrong_usage(o, "no image given");
    return code;
}

static int check_command(cli_options *o) {
    int code = CLI_DONE;
    switch (o->command) {
    case CLI_COMMAND_emit: return check_emit(o);
    case CLI_COMMAND_run:
        code = check_needed(o, CLI_OPTION_weights);
        if (code == CLI_DONE) code = check_needed(o, CLI_OPTION_inputs);
        if (code == CLI_DONE) code = check_needed(o, CLI_OPTION_outputs);
        return code == CLI_DONE ? check_run(o) : code;
    case CLI_COMMAND_train:
    case CLI_COMMAND_pretrain:
    case CLI_COMMAND_finetune: return check_train(o);
    case CLI_COMMAND_reconstruct: return check_reconstruct(o);
    case CLI_COMMAND_eval:
        code = check_needed(o, CLI_OPTION_data);
        return code == CLI_DONE ? check_needed(o, CLI_OPTION_weights) : code;
    case CLI_COMMAND_predict:
        code = check_needed(o, CLI_OPTION_weights);
        if (code == CLI_DONE && o->files.count == 0) code = wrong_usage(o, "no image given");
        return code;
    case CLI_COMMAND_bench:
        if (o->recipe && !o->train) return wrong_usage(o, "--recipe without --train");
        return code;
    case CLI_COMMAND_convert: return check_needed(o, CLI_OPTION_to);
    case CLI_COMMAND_inspect:
    case CLI_COMMAND_COUNT: return code;
    }
    return code;
}

static int check(cli_options *o) {
    if (o->command == CLI_COMMAND_convert && o->files.count == 0)
        return wrong_usage(o, "expected two files, IN and OUT");
    if (!o->model) return wrong_usage(o, "no model given; expected a file .cnx or .cnxir");
    int code = check_define(o);
    if (code == CLI_DONE) code = check_dtype(o);
    if (code == CLI_DONE) code = check_command(o);
    return code;
}

/* --- the line --- */

static bool has_suffix(const char *word, const char *suffix) {
    size_t length = strlen(word), tail = strlen(suffix);
    return length > tail && strcmp(word + length - tail, suffix) == 0;
}

/* The command word, if the first argument is one; a model file means emit. */
static int find_command(cli_options *o, const char *word, int *at) {
    o->command = CLI_COMMAND_emit;
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        if (strcmp(word, command_table[i].name) == 0) {
            o->command = (cli_command)i;
            ++*at;
            return CLI_DONE;
        }
    if (word[0] == '-' || has_suffix(word, ".cnx") || has_suffix(word, ".cnxir")) return CLI_DONE;
    fprintf(stderr, "cnxc: '%s' is neither a command nor a file .cnx or .cnxir\n", word);
    const char *names[CLI_COMMAND_COUNT];
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        names[i] = command_table[i].name;
    const char *near = ir_nearest(word, names, CLI_COMMAND_COUNT);
    if (near) fprintf(stderr, "hint: did you mean '%s'?\n", near);
    fprintf(stderr, "see:   cnxc --help\n");
    return CLI_WRONG_USAGE;
}

static bool answer(cli_options *o, const char *word, bool command_word) {
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        if (command_word)
            cli_print_command_help(stdout, o->command);
        else
            cli_print_help(stdout);
    } else if (!command_word && strcmp(word, "--help-ops") == 0) {
        cli_print_ops(stdout);
    } else if (!command_word && strcmp(word, "--version") == 0) {
        cli_print_version(stdout);
    } else {
        return false;
    }
    o->answered = true;
    return true;
}

static void make_lists(cli_options *o, int argc) {
    o->files.item = calloc((size_t)argc + 1, sizeof *o->files.item);
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        if (option_table[i].kind != LIST) continue;
        cli_list *list = (cli_list *)((char *)o + option_table[i].offset);
        list->item = calloc((size_t)argc + 1, sizeof *list->item);
        IR_ASSERT(list->item);
    }
    IR_ASSERT(o->files.item);
}

void cli_options_free(cli_options *o) {
    free(o->mistake);
    free(o->files.item);
    for (int i = 0; i < CLI_OPTION_COUNT; i++)
        if (option_table[i].kind == LIST)
            free(((cli_list *)((char *)o + option_table[i].offset))->item);
}

int cli_options_parse(cli_options *o, int argc, char **argv) {
    *o = (cli_options){0};
    make_lists(o, argc);
    if (argc < 2) {
        cli_print_help(stderr);
        return CLI_WRONG_USAGE;
    }
    int at = 1;
    int code = find_command(o, argv[1], &at);
    if (code != CLI_DONE) return code;
    bool command_word = at == 2, only_files = false;
    for (; at < argc; at++) {
        const char *word = argv[at];
        if (only_files || word[0] != '-' || !word[1]) {
            code = take_positional(o, word);
        } else if (strcmp(word, "--") == 0) {
            only_files = true;
        } else {
            if (answer(o, word, command_word)) return CLI_DONE;
            code = take_option(o, argc, argv, &at);
        }
        if (code != CLI_DONE) return code;
    }
    return check(o);
}
