/* cnxc: options, then one command. */
#include "cli.h"
#include "rt_parallel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static int dispatch(cli *c) {
    static int (*const commands[CLI_COMMAND_COUNT])(cli *) = {
#define COMMAND(name, most, usage, doc) cli_##name,
#include "commands.def"
#undef COMMAND
    };
    return commands[c->options->command](c);
}

/* `code` is what the command line came to. */
static int run(const cli_options *options, int code) {
    cli c = {.options = options, .arena = ir_arena_new(), .diag = ir_diag_new()};
    code = cli_log_open(&c, code);
    if (options->mistake) cli_log_error(&c, options->mistake, code);
    if (code == CLI_DONE) code = dispatch(&c);
    code = cli_log_close(&c, code);
    ir_diag_free(c.diag);
    ir_arena_free(c.arena);
    return code;
}

/* Files of weights are mapped, and a page that is not there any more is no error of any call. */
static void on_bus_error(int number, siginfo_t *info, void *context) {
    static const char text[] = "cnxc: a mapped file changed or cannot be read\n";
    (void)context;
    if (info->si_code == BUS_ADRERR) {
        ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
        (void)written;
        _exit(CLI_RUN_FAILED);
    }
    signal(number, SIG_DFL); /* and the instruction fails again */
}

int main(int argc, char **argv) {
    struct sigaction bus_error = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    rt_limit_spinning(argv);
    signal(SIGPIPE, SIG_IGN); /* a closed stdout is a write error, exit status 3 */
    sigaction(SIGBUS, &bus_error, NULL);
    cli_options options;
    int code = cli_options_parse(&options, argc, argv);
    if (!options.answered) code = run(&options, code);
    if (code == CLI_DONE && options.answered && fflush(stdout) != 0) {
        if (errno != EPIPE) fprintf(stderr, "cnxc: cannot write to stdout: %s\n", strerror(errno));
        code = CLI_RUN_FAILED;
    }
    cli_options_free(&options);
    return code;
}
