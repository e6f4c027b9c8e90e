/* Writes JSON values into a text, one call per value; keys are NULL inside arrays.
 *
 *     cli_json j = {0};
 *     cli_json_begin(&j, NULL, '{');
 *     cli_json_number(&j, "ms", 12.5);
 *     cli_json_end(&j);                                  j.text.data: {"ms": 12.5}
 *     ir_text_free(&j.text);
 */
#ifndef JSON_H
#define JSON_H

#include "arena.h"

#include <stdbool.h>

enum { CLI_JSON_DEPTH = 16 };

typedef struct cli_json {
    ir_text text;
    char close[CLI_JSON_DEPTH];  /* what ends each open object or array */
    bool filled[CLI_JSON_DEPTH]; /* it has a member already */
    int depth;
} cli_json;

void cli_json_begin(cli_json *j, const char *key, char bracket); /* '{' or '[' */
void cli_json_end(cli_json *j);
void cli_json_string(cli_json *j, const char *key, const char *value); /* NULL: null */
void cli_json_number(cli_json *j, const char *key, double value);      /* not finite: null */
void cli_json_whole(cli_json *j, const char *key, int64_t value);
void cli_json_bool(cli_json *j, const char *key, bool value);

#endif
