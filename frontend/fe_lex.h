/* Tokens. The lexer turns a whole file into one array, ended by FE_END; it reports what is no token
 * and goes on behind it.
 *
 * Ends of lines are tokens, which the parser skips inside ( ) and [ ]. `#` starts a comment. A dot
 * directly behind a name, a whole number or `}` belongs to a label (stem.0, stages.{s}.norm);
 * any other dot starts a number (.9).
 */
#ifndef FE_LEX_H
#define FE_LEX_H

#include "diag.h"

typedef enum fe_token_kind {
#define TOKEN(name, text) FE_##name,
#define KEYWORD(name, text) FE_##name,
#include "fe_tokens.def"
#undef TOKEN
#undef KEYWORD
    FE_TOKEN_COUNT
} fe_token_kind;

typedef struct fe_token {
    fe_token_kind kind;
    ir_loc loc;
    const char *text; /* names, strings (escapes resolved), numbers as written */
    int64_t integer;  /* FE_INT */
    double number;    /* FE_FLOAT */
    bool joined;      /* no blank between this token and the one before */
    bool after_error; /* an error was reported before it on its line: the parser says no more */
} fe_token;

typedef struct fe_tokens {
    fe_token *items;
    size_t count, capacity;
} fe_tokens;

enum { FE_MAX_FILE_BYTES = 1 << 20, FE_MAX_STRING = 1 << 12 };

/* Reads the tokens of a source from a byte on into `arena`. */
fe_tokens fe_lex(ir_arena *arena, const ir_source *source, size_t from, ir_diag *diag);
/* "'('", "a name": what a kind is called in messages. */
const char *fe_token_text(fe_token_kind kind);
bool fe_is_keyword(fe_token_kind kind);

#endif
