/* What the printer and the parser of the graph text share: its words.
 *
 * A word is a letter or `_` followed by letters, digits, `_`, `.` and `-`; names that are no words
 * are quoted. The grammar stands in text_parse.c, an example in text_print.c.
 */
#ifndef IR_GRAPH_TEXT_H
#define IR_GRAPH_TEXT_H

#include "arena.h"

#include <stdbool.h>

bool ir_text_word_byte(char c); /* may stand inside a word */
bool ir_text_is_word(const char *text);
/* The shortest decimal of at least `digits` digits that reads back as the same double. */
void ir_text_number(ir_text *out, double value, int digits);

#endif
