/* cnxc: options, then one command. */
#include "cli.h"
#include "rt_parallel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static int dispatch(cli *c) {
    static int (*const commands[CLI_COMMAND_COUNT])(cli *) = {
#define COMMAND(name, positional, most, usage, doc) cli_##name,
#include "commands.def"
#undef COMMAND
    };
    return commands[c->options->command](c);
}

static int run(const cli_options *options) {
    cli c = {.options = options, .arena = ir_arena_new(), .diag = ir_diag_new()};
    int code = CLI_DONE;
    if (options->log_json) {
        c.log = fopen(options->log_json, "w");
        if (!c.log)
            code = cli_fail(&c, CLI_RUN_FAILED, "cannot write '%s': %s", options->log_json,
                            strerror(errno));
    }
    if (code == CLI_DONE) code = dispatch(&c);
    cli_json event = cli_event("end");
    cli_json_whole(&event, "exit", code);
    cli_event_end(&c, &event);
    if (c.log && fclose(c.log) != 0) {
        c.log = NULL;
        code = cli_fail(&c, CLI_RUN_FAILED, "cannot write '%s': %s", options->log_json,
                        strerror(errno));
    }
    ir_diag_free(c.diag);
    ir_arena_free(c.arena);
    return code;
}

int main(int argc, char **argv) {
    rt_limit_spinning(argv);
    signal(SIGPIPE, SIG_IGN); /* a closed stdout is a write error with a message */
    cli_options options;
    int code = cli_options_parse(&options, argc, argv);
    if (code == CLI_DONE && !options.answered) code = run(&options);
    if (code == CLI_DONE && options.answered && fflush(stdout) != 0) {
        fprintf(stderr, "cnxc: cannot write to stdout: %s\n", strerror(errno));
        code = CLI_RUN_FAILED;
    }
    cli_options_free(&options);
    return code;
}
