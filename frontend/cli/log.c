#include "cli.h"

#include <string.h>

int cli_fail(cli *c, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ir_text text = {0};
    ir_text_vprintf(&text, format, args);
    va_end(args);
    fprintf(stderr, "cnxc: %s\n", text.data);
    cli_json event = cli_event("error");
    cli_json_string(&event, "message", text.data);
    cli_json_whole(&event, "exit", code);
    cli_event_end(c, &event);
    ir_text_free(&text);
    return code;
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
    if (c->log) {
        fprintf(c->log, "%s\n", event->text.data);
        fflush(c->log);
    }
    ir_text_free(&event->text);
}
