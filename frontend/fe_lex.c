#include "fe_lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    ir_arena *arena;
    const ir_source *source;
    ir_diag *diag;
    const char *at; /* next character */
    size_t errors;  /* of diag, when the line began */
    fe_tokens tokens;
} lexer;

static const char *const texts[FE_TOKEN_COUNT] = {
#define TOKEN(name, text) [FE_##name] = text,
#define KEYWORD(name, text) [FE_##name] = text,
#include "fe_tokens.def"
#undef TOKEN
#undef KEYWORD
};

const char *fe_token_text(fe_token_kind kind) {
    return texts[kind];
}
bool fe_is_keyword(fe_token_kind kind) {
    return kind >= FE_USE;
}

static ir_loc span(const lexer *l, const char *start, const char *end) {
    return (ir_loc){.source = l->source,
                    .offset = (uint32_t)(start - l->source->text),
                    .length = (uint32_t)(end - start)};
}

static fe_token *push(lexer *l, fe_token_kind kind, const char *start, const char *end) {
    bool first = l->tokens.count == 0;
    ir_loc last = first ? (ir_loc){0} : l->tokens.items[l->tokens.count - 1].loc;
    fe_token *t = IR_PUSH(l->arena, l->tokens.items, l->tokens.count, l->tokens.capacity);
    *t = (fe_token){.kind = kind, .loc = span(l, start, end)};
    t->after_error = l->diag->errors > l->errors;
    t->joined = !first && last.offset + last.length == t->loc.offset;
    return t;
}

static bool is_name(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/* Whether a dot or number at l->at continues a label: stem.0  blocks.{b}  0.1 behind a name. */
static bool continues(const lexer *l, fe_token_kind kind) {
    if (l->tokens.count == 0) return false;
    const fe_token *last = &l->tokens.items[l->tokens.count - 1];
    const char *end = l->source->text + last->loc.offset + last->loc.length;
    return end == l->at && last->kind == kind;
}

static bool label_dot(const lexer *l) {
    if (l->tokens.count && fe_is_keyword(l->tokens.items[l->tokens.count - 1].kind))
        return continues(l, l->tokens.items[l->tokens.count - 1].kind);
    return continues(l, FE_NAME) || continues(l, FE_INT) || continues(l, FE_RBRACE);
}

/* NAME = ( letter | "_" ) { letter | digit | "_" }; keywords are names with a meaning. */
static void lex_name(lexer *l) {
    const char *start = l->at;
    while (is_name(*l->at))
        l->at++;
    fe_token *t = push(l, FE_NAME, start, l->at);
    t->text = ir_arena_strndup(l->arena, start, (size_t)(l->at - start));
    for (int k = FE_USE; k < FE_TOKEN_COUNT; k++)
        if (strcmp(texts[k], t->text) == 0) t->kind = (fe_token_kind)k;
}

static void skip_digits(lexer *l) {
    while (isdigit((unsigned char)*l->at))
        l->at++;
}

/* Whether the number at l->at is a part of a label: its dot does not start a fraction. */
static bool in_label(const lexer *l) {
    return continues(l, FE_DOT);
}

static bool lex_exponent(lexer *l, const char *start) {
    if (*l->at != 'e' && *l->at != 'E') return false;
    l->at++;
    if (*l->at == '+' || *l->at == '-') l->at++;
    if (!isdigit((unsigned char)*l->at))
        ir_error(l->diag, span(l, start, l->at), "number '%.*s' has no exponent",
                 (int)(l->at - start > 40 ? 40 : l->at - start), start);
    skip_digits(l);
    return true;
}

/* INT = digits; FLOAT = ( digits [ "." digits ] | "." digits ) [ ( "e" | "E" ) [ sign ] digits ].
 */
static void lex_number(lexer *l) {
    const char *start = l->at;
    bool real = false, label = in_label(l);
    skip_digits(l);
    if (!label && *l->at == '.' && l->at[1] != '{' && !isalpha((unsigned char)l->at[1])) {
        real = true;
        l->at++;
        skip_digits(l);
    }
    if (!label && lex_exponent(l, start)) real = true;
    if (is_name(*l->at)) {
        while (is_name(*l->at))
            l->at++;
        ir_error(l->diag, span(l, start, l->at), "'%.*s' is neither a number nor a name",
                 (int)(l->at - start > 40 ? 40 : l->at - start), start);
    }
    fe_token *t = push(l, real ? FE_FLOAT : FE_INT, start, l->at);
    t->text = ir_arena_strndup(l->arena, start, (size_t)(l->at - start));
    errno = 0;
    if (real) {
        t->number = strtod(t->text, NULL);
        if (t->number - t->number != 0)
            ir_error(l->diag, t->loc, "number is too large, at most 1.79e308");
    } else {
        t->integer = strtoll(t->text, NULL, 10);
        if (errno == ERANGE)
            ir_error(l->diag, t->loc, "whole number is too large, at most 9223372036854775807");
    }
}

/* STRING = '"' { character | "\" ( "n" | "t" | "\" | '"' ) } '"', on one line. */
static void lex_string(lexer *l) {
    const char *start = l->at++;
    ir_text text = {0};
    bool good = true;
    ir_text_append(&text, "", 0);
    while (*l->at && *l->at != '"' && *l->at != '\n') {
        char c = *l->at++;
        if (c == '\\') {
            static const char from[] = "nt\\\"", to[] = "\n\t\\\"";
            const char *found = *l->at ? strchr(from, *l->at) : NULL;
            if (!found && good)
                good = ir_error(l->diag, span(l, l->at - 1, l->at + (*l->at ? 1 : 0)),
                                "unknown escape in a string, expected \\n, \\t, \\\\ or \\\"");
            if (*l->at && *l->at != '\n') l->at++;
            c = found ? to[found - from] : '?';
        } else if ((unsigned char)c < 32 || c == 127) {
            if (good)
                good = ir_error(l->diag, span(l, l->at - 1, l->at),
                                "control character 0x%02x in a string", (unsigned char)c);
        }
        ir_text_append(&text, &c, 1);
    }
    if (*l->at == '"')
        l->at++;
    else if (good)
        good = ir_error(l->diag, span(l, start, l->at), "string is not closed");
    if (good && text.length > FE_MAX_STRING)
        ir_error(l->diag, span(l, start, l->at), "string has %zu bytes, at most %d", text.length,
                 FE_MAX_STRING);
    fe_token *t = push(l, FE_STRING, start, l->at);
    t->text = ir_arena_strndup(l->arena, text.data ? text.data : "", text.length);
    ir_text_free(&text);
}

static void lex_other(lexer *l) {
    for (int k = FE_LPAREN; k < FE_USE; k++) {
        size_t length = strlen(texts[k]);
        bool longer = length == 1 && strchr("=<>", texts[k][0]) && l->at[1] == '=';
        bool twice = length == 1 && strchr("*/", texts[k][0]) && l->at[1] == texts[k][0];
        if (strncmp(l->at, texts[k], length) != 0 || longer || twice) continue;
        push(l, (fe_token_kind)k, l->at, l->at + length);
        l->at += length;
        return;
    }
    unsigned char c = (unsigned char)*l->at;
    const char *start = l->at++;
    while ((unsigned char)*l->at >= 128 && c >= 128)
        l->at++;
    if (l->diag->errors > l->errors) return; /* one message a line */
    if (c > 32 && c < 127)
        ir_error(l->diag, span(l, start, l->at), "unexpected character '%c'", c);
    else
        ir_error(l->diag, span(l, start, l->at), "unexpected byte 0x%02x", c);
    if (c == ';') ir_hint(l->diag, "a statement ends with its line");
    if (c == '&' || c == '|' || c == '!') ir_hint(l->diag, "write and, or, not");
}

fe_tokens fe_lex(ir_arena *arena, const ir_source *source, size_t from, ir_diag *diag) {
    lexer l = {.arena = arena,
               .source = source,
               .diag = diag,
               .at = source->text + from,
               .errors = diag->errors};
    while (*l.at) {
        char c = *l.at;
        if (c == ' ' || c == '\t' || c == '\r') {
            l.at++;
        } else if (c == '#') {
            l.at += strcspn(l.at, "\n");
        } else if (c == '\n') {
            push(&l, FE_NEWLINE, l.at, l.at + 1);
            l.at++;
            l.errors = diag->errors;
        } else if (isalpha((unsigned char)c) || c == '_') {
            lex_name(&l);
        } else if (isdigit((unsigned char)c) ||
                   (c == '.' && isdigit((unsigned char)l.at[1]) && !label_dot(&l))) {
            lex_number(&l);
        } else if (c == '"') {
            lex_string(&l);
        } else {
            lex_other(&l);
        }
    }
    push(&l, FE_END, l.at, l.at);
    return l.tokens;
}
