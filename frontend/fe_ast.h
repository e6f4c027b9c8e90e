/* The syntax tree: what the parser makes, the printer prints and elaboration runs.
 *
 * Trees live in the arena of their model and are never changed after parsing. Depth is bounded
 * (FE_MAX_DEPTH), so walking one recursively is safe. The grammar stands above the functions of
 * fe_parse.c and fe_parse_expr.c, and in docs/language.md.
 */
#ifndef FE_AST_H
#define FE_AST_H

#include "fe_lex.h"

enum { FE_MAX_DEPTH = 96, FE_MAX_ARGS = 256 };

typedef struct fe_expr fe_expr;

/* An argument of a call: drop = 0.1, or without a name. */
typedef struct fe_arg {
    const char *name; /* NULL: by position */
    ir_loc loc;       /* of the name, or of the value */
    fe_expr *value;
} fe_arg;

typedef enum fe_expr_kind {
    FE_EXPR_INT,    /* integer */
    FE_EXPR_FLOAT,  /* number */
    FE_EXPR_BOOL,   /* integer 0 or 1 */
    FE_EXPR_STRING, /* text */
    FE_EXPR_NAME,   /* text */
    FE_EXPR_LIST,   /* args */
    FE_EXPR_EACH,   /* [a for text in b] */
    FE_EXPR_UNARY,  /* op a: - not */
    FE_EXPR_BINARY, /* a op b */
    FE_EXPR_CHOICE, /* a if b else c */
    FE_EXPR_INDEX,  /* a[b] */
    FE_EXPR_CALL    /* text(args) */
} fe_expr_kind;

struct fe_expr {
    fe_expr_kind kind;
    fe_token_kind op;
    ir_loc loc; /* of its operator, or of its first token */
    int depth;  /* 1 for a leaf */
    const char *text;
    int64_t integer;
    double number;
    fe_expr *a, *b, *c;
    fe_arg *args;
    size_t count, capacity; /* of args */
};

/* stages.{s}.norm: parts that are text, or a value to be put in. */
typedef struct fe_label_part {
    const char *text; /* NULL: value */
    fe_expr *value;
} fe_label_part;

typedef struct fe_label {
    ir_loc loc;
    fe_label_part *parts;
    size_t count, capacity;
} fe_label;

typedef struct fe_stmt fe_stmt;
typedef struct fe_body {
    fe_stmt *items;
    size_t count, capacity;
} fe_body;

typedef enum fe_stmt_kind {
    FE_STMT_ASSIGN, /* text = label: value */
    FE_STMT_RETURN, /* return label: value */
    FE_STMT_FOR,    /* for text in value { body } */
    FE_STMT_IF,     /* if value { body } else { other } */
    FE_STMT_INPUT,  /* input text: dtype[shape] */
    FE_STMT_OUTPUT, /* output text = label: value */
    FE_STMT_META,   /* meta text = value */
    FE_STMT_ASSERT  /* assert value, message */
} fe_stmt_kind;

struct fe_stmt {
    fe_stmt_kind kind;
    ir_loc loc; /* of the name, or of the keyword */
    const char *text;
    const char *dtype; /* of an input: "f32" or "i64" */
    fe_label label;    /* count 0: none */
    fe_expr *value;    /* of an input: its shape, a list */
    fe_expr *message;
    fe_body body, other;
};

/* A parameter of a block or model, and a `param` of the file. */
typedef struct fe_param {
    const char *name;
    ir_loc loc;
    fe_expr *value; /* default; NULL: must be given */
} fe_param;

typedef enum fe_item_kind {
    FE_ITEM_USE,   /* use "text" */
    FE_ITEM_PARAM, /* param name: choices = value */
    FE_ITEM_SET,   /* set name = value */
    FE_ITEM_BLOCK, /* block name(params) { body } */
    FE_ITEM_MODEL, /* model name(params) { body }   or   model name = base(args) */
    FE_ITEM_RECIPE /* recipe name from base { fields } */
} fe_item_kind;

typedef struct fe_item {
    fe_item_kind kind;
    ir_loc loc; /* of the name */
    const char *name;
    const char *base; /* model, recipe: derived from this one, or NULL */
    ir_loc base_loc;
    fe_expr *value;
    fe_expr *choices; /* of a param: a list, or NULL */
    fe_param *params;
    size_t param_count, param_capacity;
    fe_arg *args; /* of a derived model; of a recipe: its fields */
    size_t arg_count, arg_capacity;
    fe_body body;
} fe_item;

typedef struct fe_items {
    fe_item *items;
    size_t count, capacity;
} fe_items;

/* Appends the items of a source. Reports up to 20 errors; false if there was one. */
bool fe_parse(ir_arena *arena, const ir_source *source, fe_items *items, ir_diag *diag);
/* A text that is one expression from a byte on, as in -D name=EXPR; NULL after an error. */
fe_expr *fe_parse_value(ir_arena *arena, const ir_source *source, size_t from, ir_diag *diag);
/* How tightly a binary operator binds, 1 to 8; 0: it is none. "not" (3) and "-" (7) stand before
 * their operand. */
int fe_binding(fe_token_kind op);

/* fe_print.c */
void fe_print_items(const fe_items *items, ir_text *out);
void fe_print_string(const char *text, ir_text *out);
/* The shortest decimal that reads back as the same number, always with a point or an exponent. */
void fe_print_number(double number, ir_text *out);

#endif
