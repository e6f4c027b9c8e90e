#include "cli.h"

#include <errno.h>
#include <string.h>

void cli_log_error(cli *c, const char *message, int code) {
    cli_json event = cli_event("error");
    cli_json_string(&event, "message", message);
    cli_json_whole(&event, "exit", code);
    cli_event_end(c, &event);
}

int cli_fail(cli *c, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ir_text text = {0};
    ir_text_vprintf(&text, format, args);
    va_end(args);
    fprintf(stderr, "cnxc: %s\n", text.data);
    cli_log_error(c, text.data, code);
    ir_text_free(&text);
    return code;
}

int cli_wrong_usage(cli *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ir_text text = {0};
    ir_text_vprintf(&text, format, args);
    va_end(args);
    cli_print_wrong_usage(c->options->command, text.data);
    cli_log_error(c, text.data, CLI_WRONG_USAGE);
    ir_text_free(&text);
    return CLI_WRONG_USAGE;
}

int cli_refuse(cli *c, uint64_t options, const char *what) {
    for (int i = 0; i < CLI_OPTION_COUNT; i++)
        if (c->options->given & options & (uint64_t)1 << i)
            return cli_wrong_usage(c, "%s has no effect on %s",
                                   cli_option_get((cli_option)i)->spelling, what);
    return CLI_DONE;
}

static void log_message(cli *c, const ir_message *m) {
    cli_json event = cli_event("error");
    cli_json_string(&event, "message", m->text);
    if (m->loc.source) {
        int line, column;
        ir_loc_line(m->loc, &line, &column);
        cli_json_string(&event, "file", m->loc.source->file);
        cli_json_whole(&event, "line", line);
        cli_json_whole(&event, "column", column);
    }
    if (m->hint) cli_json_string(&event, "hint", m->hint);
    cli_json_whole(&event, "exit", CLI_USER_ERROR);
    cli_event_end(c, &event);
}

int cli_fail_diag(cli *c) {
    ir_diag_print(c->diag, stderr);
    for (size_t i = 0; i < c->diag->count; i++)
        log_message(c, &c->diag->messages[i]);
    return CLI_USER_ERROR;
}

void cli_note(cli *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ir_text text = {0};
    ir_text_vprintf(&text, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", text.data);
    cli_json event = cli_event("note");
    cli_json_string(&event, "message", text.data);
    cli_event_end(c, &event);
    ir_text_free(&text);
}

cli_json cli_event(const char *name) {
    cli_json event = {0};
    cli_json_begin(&event, NULL, '{');
    cli_json_string(&event, "event", name);
    return event;
}

void cli_event_end(cli *c, cli_json *event) {
    cli_json_end(event);
    if (c->log && !c->log_error &&
        (fprintf(c->log, "%s\n", event->text.data) < 0 || fflush(c->log) != 0))
        c->log_error = errno;
    ir_text_free(&event->text);
}

int cli_log_open(cli *c, int code) {
    const char *path = c->options->log_json;
    if (!path) return code;
    c->log = fopen(path, "we");
    if (c->log) return code;
    int failed = cli_fail(c, CLI_RUN_FAILED, "cannot write '%s': %s", path, strerror(errno));
    return code == CLI_DONE ? failed : code;
}

int cli_log_close(cli *c, int code) {
    if (!c->log) return code;
    cli_json event = cli_event("end");
    cli_json_whole(&event, "exit", code);
    cli_event_end(c, &event);
    if (fclose(c->log) != 0 && !c->log_error) c->log_error = errno;
    c->log = NULL;
    if (!c->log_error) return code;
    int failed = cli_fail(c, CLI_RUN_FAILED, "cannot write '%s': %s", c->options->log_json,
                          strerror(c->log_error));
    return code == CLI_DONE ? failed : code;
}
