#include "json.h"

#include "diag.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character at `s`; 0 if there is none (RFC 3629). */
static size_t utf8_length(const unsigned char *s) {
    static const struct {
        unsigned char first, last, second_first, second_last;
        size_t length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (*s < forms[i].first || *s > forms[i].last) continue;
        if (forms[i].length == 1) return 1;
        if (s[1] < forms[i].second_first || s[1] > forms[i].second_last) return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if (s[k] < 0x80 || s[k] > 0xbf) return 0;
        return forms[i].length;
    }
    return 0;
}

/* A byte that is no part of UTF-8 becomes the replacement character. */
static void put_string(ir_text *out, const char *s) {
    ir_text_append(out, "\"", 1);
    while (*s) {
        unsigned char c = (unsigned char)*s;
        size_t length = utf8_length((const unsigned char *)s);
        if (!length)
            ir_text_append(out, "\\ufffd", 6);
        else if (c == '"' || c == '\\')
            ir_text_printf(out, "\\%c", c);
        else if (c == '\n')
            ir_text_append(out, "\\n", 2);
        else if (c < 0x20)
            ir_text_printf(out, "\\u%04x", c);
        else
            ir_text_append(out, s, length);
        s += length ? length : 1;
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
