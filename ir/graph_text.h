/* What the printer and the parser of the graph text share: its words.
 *
 * A word is a letter or `_` followed by letters, digits, `_`, `.` and `-`; names that are no words
 * are quoted. The grammar stands in text_parse.c, an example in text_print.c.
 */
#ifndef IR_GRAPH_TEXT_H
#define IR_GRAPH_TEXT_H

#include <stdbool.h>

bool ir_text_word_byte(char c); /* may stand inside a word */
bool ir_text_is_word(const char *text);

#endif
