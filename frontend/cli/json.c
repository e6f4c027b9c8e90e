#include "json.h"

#include "diag.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void put_string(ir_text *out, const char *s) {
    ir_text_append(out, "\"", 1);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            ir_text_printf(out, "\\%c", c);
        else if (c == '\n')
            ir_text_append(out, "\\n", 2);
        else if (c < 0x20)
            ir_text_printf(out, "\\u%04x", c);
        else
            ir_text_append(out, s, 1);
    }
    ir_text_append(out, "\"", 1);
}

static void put_key(cli_json *j, const char *key) {
    if (j->depth == 0) return;
    if (j->filled[j->depth - 1]) ir_text_append(&j->text, ", ", 2);
    j->filled[j->depth - 1] = true;
    if (!key) return;
    put_string(&j->text, key);
    ir_text_append(&j->text, ": ", 2);
}

void cli_json_begin(cli_json *j, const char *key, char bracket) {
    IR_ASSERT(j->depth < CLI_JSON_DEPTH);
    put_key(j, key);
    ir_text_append(&j->text, &bracket, 1);
    j->close[j->depth] = bracket == '{' ? '}' : ']';
    j->filled[j->depth++] = false;
}

void cli_json_end(cli_json *j) {
    IR_ASSERT(j->depth > 0);
    ir_text_append(&j->text, &j->close[--j->depth], 1);
}

void cli_json_string(cli_json *j, const char *key, const char *value) {
    put_key(j, key);
    if (value)
        put_string(&j->text, value);
    else
        ir_text_append(&j->text, "null", 4);
}

void cli_json_number(cli_json *j, const char *key, double value) {
    put_key(j, key);
    if (!isfinite(value)) {
        ir_text_append(&j->text, "null", 4);
        return;
    }
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    ir_text_append(&j->text, text, strlen(text));
}

void cli_json_whole(cli_json *j, const char *key, int64_t value) {
    put_key(j, key);
    ir_text_printf(&j->text, "%lld", (long long)value);
}

void cli_json_bool(cli_json *j, const char *key, bool value) {
    put_key(j, key);
    ir_text_printf(&j->text, value ? "true" : "false");
}
