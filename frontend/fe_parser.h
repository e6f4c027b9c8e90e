/* What the two halves of the parser share: fe_parse.c (items, statements), fe_parse_expr.c.
 *
 * A function that fails has reported the error and returns NULL or false; the caller passes that on
 * up to the statement, where the parser skips to the end of the line and goes on.
 */
#ifndef FE_PARSER_H
#define FE_PARSER_H

#include "fe_ast.h"

typedef struct fe_parser {
    ir_arena *arena;
    ir_diag *diag;
    const fe_token *tokens;
    size_t at;    /* index of the next token */
    int brackets; /* open ( and [: ends of lines do not count */
    int depth;    /* of nesting, at most FE_MAX_DEPTH */
    bool lost;    /* a missing `}` was reported: the bodies around it say nothing more */
} fe_parser;

/* The next token, behind ends of lines that do not count. */
const fe_token *fe_peek(fe_parser *p);
bool fe_accept(fe_parser *p, fe_token_kind kind);
/* Takes a token of this kind; `where` ends the message: "to close the list". */
bool fe_expect(fe_parser *p, fe_token_kind kind, const char *where);
/* Reports "expected WHAT, found TOKEN"; returns false. */
bool fe_unexpected(fe_parser *p, const char *what);
/* Enters one more level of nesting, or reports that there are too many. */
bool fe_enter(fe_parser *p);

fe_expr *fe_parse_expr(fe_parser *p);
/* Arguments up to and with `)`. */
bool fe_parse_args(fe_parser *p, fe_arg **args, size_t *count, size_t *capacity);
/* A list in brackets. */
fe_expr *fe_parse_list(fe_parser *p);
/* An optional label and its colon. */
bool fe_parse_label(fe_parser *p, fe_label *label);

#endif
