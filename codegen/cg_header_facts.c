#include "cg_header_facts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum fact_kind { NUMBER, NUMBERS, YES, NAMES } fact_kind;

typedef struct fact {
    const char *key;
    fact_kind kind;
    const char *doc;
} fact;

static const fact facts[] = {
    {"image_size", NUMBER, "height and width of an image, pixels"},
    {"mean", NUMBERS, "a number per channel"},
    {"std", NUMBERS, "a number per channel"},
    {"crop_pct", NUMBER, "the share of the resized image that is cut out"},
    {"squash", YES, "1: the whole image is resized, whatever its shape"},
    {"classes", NUMBER, "classes, from 0"},
    {"class_names", NAMES, "of class 0, 1 and so on"},
    {"patch_size", NUMBER, "height and width of a patch, pixels"},
    {"kept", NUMBER, "patches of an image that are not removed"},
};

/* Appends the number at *text as C writes it; false if there is none that C and we write alike. */
static bool put_number(const char **text, const char *end_of_float, ir_text *out) {
    char *end;
    double value = strtod(*text, &end);
    size_t length = strspn(*text, "+-.0123456789eE");
    if (length == 0 || *text + length != end || !isfinite(value)) return false;
    ir_text_append(out, *text, length);
    bool whole =
        !memchr(*text, '.', length) && !memchr(*text, 'e', length) && !memchr(*text, 'E', length);
    if (*end_of_float) ir_text_printf(out, "%s%s", whole ? ".0" : "", end_of_float);
    *text = end;
    return true;
}

static bool put_numbers(const char *text, ir_text *out) {
    ir_text_printf(out, "{");
    for (bool first = true; *text; first = false) {
        if (!first) ir_text_printf(out, ", ");
        if (!put_number(&text, "f", out)) return false;
        text += strspn(text, " ");
    }
    ir_text_printf(out, "}");
    return true;
}

/* A string of C: what is not plain ASCII becomes three octal digits, and ? no trigraph. */
static void put_string(const char *text, size_t length, ir_text *out) {
    ir_text_printf(out, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (strchr("\"\\?", c))
            ir_text_printf(out, "\\%c", c);
        else if (c < 128 && isprint(c))
            ir_text_printf(out, "%c", c);
        else
            ir_text_printf(out, "\\%03o", c);
    }
    ir_text_printf(out, "\"");
}

/* A name a line, as many to a line of the header as fit. */
static void put_names(const char *text, ir_text *out) {
    enum { WIDTH = 90 };
    ir_text_printf(out, "\\\n    {");
    size_t start = out->length;
    for (bool first = true; *text; first = false) {
        size_t length = strcspn(text, "\n");
        if (!first) ir_text_printf(out, ",");
        if (!first && out->length - start + length > WIDTH) {
            ir_text_printf(out, " \\\n     ");
            start = out->length;
        } else if (!first) {
            ir_text_printf(out, " ");
        }
        put_string(text, length, out);
        text += length + (text[length] == '\n');
    }
    ir_text_printf(out, "}");
}

static bool put_value(const fact *f, const char *text, ir_text *out) {
    switch (f->kind) {
    case NUMBER: return put_number(&text, "", out) && !*text;
    case NUMBERS: return *text && put_numbers(text, out);
    case YES:
        ir_text_printf(out, "%d", strcmp(text, "true") == 0);
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    case NAMES: put_names(text, out); return *text != 0;
    }
    return false;
}

static const char *upper_case(const char *key, char *copy, size_t size) {
    size_t i = 0;
    for (; key[i] && i + 1 < size; i++)
        copy[i] = (char)toupper((unsigned char)key[i]);
    copy[i] = 0;
    return copy;
}

static void put_heading(const ir_meta *metas, size_t count, ir_text *out) {
    bool formula = ir_find_meta(metas, count, "mean") && ir_find_meta(metas, count, "std");
    ir_text_printf(out, "\n/* What the numbers mean%s. */\n",
                   formula ? ": an image is (value / 255 - mean) / std of values from 0 to 255, a\n"
                             " * plane (H,W) for grey, or for each of red, green and blue"
                           : "");
}

void cg_header_facts(const char *upper, const ir_meta *metas, size_t count, ir_text *out) {
    enum { COMMENT = 46 }; /* column of comments, as of the other macros */
    bool first = true;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const char *text = ir_find_meta(metas, count, facts[i].key);
        ir_text value = {0};
        if (text && put_value(&facts[i], text, &value)) {
            char name[32];
            if (first) put_heading(metas, count, out);
            size_t start = out->length;
            ir_text_printf(out, "#define %s_%s %s", upper,
                           upper_case(facts[i].key, name, sizeof name), value.data);
            size_t used = out->length - start;
            int blanks = facts[i].kind == NAMES || used >= COMMENT ? 1 : (int)(COMMENT - used);
            ir_text_printf(out, "%*s/* %s */\n", blanks, "", facts[i].doc);
            first = false;
        }
        ir_text_free(&value);
    }
}
