/* Reads the text form of a graph. Any bytes are safe: the first mistake is reported with its place
 * and reading stops. What the text cannot say wrongly by its grammar alone (names taken twice,
 * updates of inputs) is left to ir_verify.
 *
 *     graph  = "cnx" "graph" name kind "version" integer { line }
 *     line   = [ meta | node | output | update ] [ "#" anything ] newline
 *     meta   = "meta" name "=" string
 *     node   = "%" integer "=" op [ string ] [ "(" value { "," value } ")" ] [ attrs ] ":" type
 *     attrs  = "{" attribute "=" ( number | list | word | string ) { "," ... } "}"
 *     output = "output" string "=" value
 *     update = "update" value "=" value
 *     type   = dtype "[" [ integer { "," integer } ] [ ";" "grid" "=" integer "x" integer ","
 *              "kept" "=" integer ] "]"
 *     name   = word | string        value = "%" integer
 *
 * Values are numbered from 0 in the order of their lines. */
#include "graph.h"
#include "graph_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 1 << 18, MAX_RESULTS = 1 << 18, MAX_METAS = 256, MAX_NUMBER = 64 };

typedef struct parser {
    const ir_source *source;
    const char *at; /* next byte to read */
    ir_diag *diag;
    ir_graph *graph; /* NULL until the first line is read */
    ir_arena *arena; /* of words and strings */
} parser;

typedef struct word {
    const char *text; /* NUL-terminated copy */
    ir_loc loc;
} word;

static ir_loc place(const parser *p, const char *from, size_t length) {
    return (ir_loc){p->source, (uint32_t)(from - p->source->text), (uint32_t)length};
}

/* The lexeme an error points at: a word, or one byte. */
static ir_loc here(const parser *p) {
    size_t n = 0;
    while (ir_text_word_byte(p->at[n]))
        n++;
    return place(p, p->at, n ? n : *p->at && *p->at != '\n');
}

static void skip_blanks(parser *p) {
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\r')
        p->at++;
    if (*p->at == '#') p->at += strcspn(p->at, "\n");
}

/* What stands next, for messages. */
static const char *found(const parser *p) {
    ir_loc loc = here(p);
    if (!*p->at) return "the end of the file";
    if (*p->at == '\n') return "the end of the line";
    int length = loc.length > 40 ? 40 : (int)loc.length;
    return ir_arena_printf(p->arena, "'%.*s'", length, p->at);
}

static bool expect(parser *p, const char *what) {
    skip_blanks(p);
    size_t length = strlen(what);
    bool is_word = ir_text_is_word(what);
    if (strncmp(p->at, what, length) == 0 && !(is_word && ir_text_word_byte(p->at[length]))) {
        p->at += length;
        return true;
    }
    return ir_error(p->diag, here(p), "expected '%s', found %s", what, found(p));
}

static bool accept(parser *p, char c) {
    skip_blanks(p);
    if (*p->at != c) return false;
    p->at++;
    return true;
}

/* A byte that may touch the next word, as the x in 7x7. */
static bool expect_byte(parser *p, char c) {
    return accept(p, c) || ir_error(p->diag, here(p), "expected '%c', found %s", c, found(p));
}

static bool read_word(parser *p, const char *what, word *out) {
    skip_blanks(p);
    *out = (word){.loc = here(p)};
    size_t n = ir_text_word_byte(*p->at) ? out->loc.length : 0;
    out->text = ir_arena_strndup(p->arena, p->at, n);
    if (!ir_text_is_word(out->text))
        return ir_error(p->diag, here(p), "expected %s, found %s", what, found(p));
    p->at += n;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte behind a backslash; 0, reading nothing, if there is none of this name. */
static char read_escape(parser *p) {
    char c = *p->at;
    if (c == 'n' || c == 't' || c == '"' || c == '\\') {
        p->at++;
        return c == 'n' ? '\n' : c == 't' ? '\t' : c;
    }
    if (c != 'x' || hex_digit(p->at[1]) < 0 || hex_digit(p->at[2]) < 0) return 0;
    c = (char)(hex_digit(p->at[1]) * 16 + hex_digit(p->at[2]));
    if (c) p->at += 3;
    return c;
}

static bool read_string(parser *p, const char *what, word *out) {
    skip_blanks(p);
    const char *start = p->at;
    if (*p->at != '"')
        return ir_error(p->diag, here(p), "expected %s in quotes, found %s", what, found(p));
    size_t room = 0;
    for (const char *q = start + 1; *q && *q != '"' && *q != '\n'; q++) {
        if (*q == '\\' && q[1] && q[1] != '\n') q++;
        room++;
    }
    char *text = ir_arena_alloc(p->arena, room + 1);
    size_t n = 0;
    for (p->at++; *p->at != '"';) {
        if (!*p->at || *p->at == '\n')
            return ir_error(p->diag, place(p, start, 1), "this text has no closing quote");
        char c = *p->at++;
        if (c == '\\' && !(c = read_escape(p)))
            return ir_error(p->diag, place(p, p->at - 1, 2),
                            "unknown escape, expected \\n \\t \\\" \\\\ or \\xNN");
        text[n++] = c;
    }
    p->at++;
    *out = (word){text, place(p, start, (size_t)(p->at - start))};
    return true;
}

static bool read_name(parser *p, const char *what, word *out) {
    skip_blanks(p);
    return *p->at == '"' ? read_string(p, what, out) : read_word(p, what, out);
}

/* The bytes of a number; false if there are none or too many. */
static bool number_text(parser *p, const char *what, char text[MAX_NUMBER], ir_loc *loc) {
    skip_blanks(p);
    size_t n = strspn(p->at, "+-.0123456789eEinfa");
    *loc = place(p, p->at, n);
    if (n == 0 || n >= MAX_NUMBER)
        return ir_error(p->diag, here(p), "expected %s, found %s", what, found(p));
    memcpy(text, p->at, n);
    text[n] = '\0';
    return true;
}

static bool read_integer(parser *p, int64_t least, int64_t most, int64_t *out) {
    skip_blanks(p);
    const char *digits = p->at + (*p->at == '-');
    size_t n = strspn(digits, "0123456789");
    if (n == 0) return ir_error(p->diag, here(p), "expected a whole number, found %s", found(p));
    char *end;
    errno = 0;
    long long value = strtoll(p->at, &end, 10);
    if (errno || value < least || value > most)
        return ir_error(p->diag, place(p, p->at, (size_t)(end - p->at)),
                        "the number is outside %lld..%lld", (long long)least, (long long)most);
    p->at = end;
    *out = value;
    return true;
}

static bool read_float(parser *p, double *out) {
    char text[MAX_NUMBER], *end;
    ir_loc loc;
    if (!number_text(p, "a number", text, &loc)) return false;
    *out = strtod(text, &end);
    if (*end) return ir_error(p->diag, loc, "'%s' is no number", text);
    p->at += loc.length;
    return true;
}

static bool read_ints(parser *p, ir_ints *out) {
    *out = (ir_ints){0};
    if (!expect(p, "[")) return false;
    if (accept(p, ']')) return true;
    do {
        if (out->count == IR_MAX_RANK)
            return ir_error(p->diag, here(p), "a list has at most %d numbers", IR_MAX_RANK);
        if (!read_integer(p, INT64_MIN, INT64_MAX, &out->item[out->count])) return false;
        out->count++;
    } while (accept(p, ','));
    return expect(p, "]");
}

static bool read_bool(parser *p, bool *out) {
    word w;
    if (!read_word(p, "true or false", &w)) return false;
    *out = strcmp(w.text, "true") == 0;
    if (*out || strcmp(w.text, "false") == 0) return true;
    return ir_error(p->diag, w.loc, "expected true or false, found '%s'", w.text);
}

static bool read_text(parser *p, const char **out) {
    word w;
    if (!read_name(p, "a word or a text", &w)) return false;
    *out = w.text;
    return true;
}

/* value = "%" integer, of a line above */
static bool read_value(parser *p, ir_value *out) {
    skip_blanks(p);
    const char *start = p->at;
    int64_t id;
    if (!expect(p, "%") || !read_integer(p, 0, UINT32_MAX - 1, &id)) return false;
    *out = (ir_value){(uint32_t)id};
    if ((size_t)id < p->graph->count) return true;
    return ir_error(p->diag, place(p, start, (size_t)(p->at - start)),
                    "%%%lld is not defined above this line", (long long)id);
}

static bool unknown(parser *p, const char *what, word w, const char *const *names, size_t count) {
    ir_error(p->diag, w.loc, "unknown %s '%.80s'", what, w.text);
    const char *near = ir_nearest(w.text, names, count);
    if (near) ir_hint(p->diag, "did you mean '%s'?", near);
    return false;
}

static bool read_sparsity(parser *p, ir_sparsity *out) {
    int64_t h, w, kept;
    if (!expect(p, "grid") || !expect(p, "=") || !read_integer(p, 1, IR_MAX_GRID, &h) ||
        !expect_byte(p, 'x') || !read_integer(p, 1, IR_MAX_GRID, &w) || !expect(p, ",") ||
        !expect(p, "kept") || !expect(p, "=") ||
        !read_integer(p, 1, h * w < INT32_MAX ? h * w : INT32_MAX, &kept))
        return false;
    *out = (ir_sparsity){(int32_t)h, (int32_t)w, (int32_t)kept};
    return true;
}

static bool read_type(parser *p, ir_type *out) {
    const char *names[IR_DTYPE_COUNT];
    word w;
    if (!read_word(p, "an element type", &w)) return false;
    *out = (ir_type){.dtype = IR_DTYPE_COUNT};
    for (int i = 0; i < IR_DTYPE_COUNT; i++) {
        names[i] = ir_dtype_name((ir_dtype)i);
        if (strcmp(names[i], w.text) == 0) out->dtype = (ir_dtype)i;
    }
    if (out->dtype == IR_DTYPE_COUNT) return unknown(p, "element type", w, names, IR_DTYPE_COUNT);
    if (!expect(p, "[")) return false;
    skip_blanks(p);
    while (*p->at != ']' && *p->at != ';') {
        if (out->rank == IR_MAX_RANK)
            return ir_error(p->diag, here(p), "a tensor has at most %d dimensions", IR_MAX_RANK);
        if (!read_integer(p, 1, INT64_MAX, &out->dim[out->rank])) return false;
        out->rank++;
        if (!accept(p, ',')) break;
    }
    if (accept(p, ';') && !read_sparsity(p, &out->sparsity)) return false;
    if (!expect(p, "]")) return false;
    if (ir_type_valid(*out)) return true;
    return ir_error(p->diag, w.loc, "the tensor is larger than 2^46 bytes");
}

static bool read_attr(parser *p, ir_attr attr, ir_attrs *attrs) {
    attrs->set |= (uint64_t)1 << attr;
    switch (attr) {
#define READ_INT(name) read_integer(p, INT64_MIN, INT64_MAX, &attrs->name)
#define READ_FLOAT(name) read_float(p, &attrs->name)
#define READ_BOOL(name) read_bool(p, &attrs->name)
#define READ_TEXT(name) read_text(p, &attrs->name)
#define READ_INTS(name) read_ints(p, &attrs->name)
#define ATTR(name, kind)                                                                           \
    case IR_ATTR_##name: return READ_##kind(name);
#include "attrs.def"
#undef ATTR
    case IR_ATTR_COUNT: break;
    }
    IR_BUG("attribute %d", (int)attr);
}

/* The attribute of this name, if the op takes it; the shape of a source stands in its type. */
static bool find_attr(parser *p, ir_op op, word w, ir_attr *attr) {
    const char *names[IR_ATTR_COUNT], *standard;
    size_t count = 0;
    bool required;
    for (int a = 0; a < IR_ATTR_COUNT; a++) {
        if (!ir_op_takes(op, (ir_attr)a, &required, &standard)) continue;
        if (a == IR_ATTR_shape && ir_op_get(op)->kind == IR_SOURCE) continue;
        names[count] = ir_attr_name((ir_attr)a);
        if (strcmp(names[count++], w.text) != 0) continue;
        *attr = (ir_attr)a;
        return true;
    }
    ir_error(p->diag, w.loc, "%s has no attribute '%.80s'", ir_op_get(op)->name, w.text);
    const char *near = ir_nearest(w.text, names, count);
    if (near)
        ir_hint(p->diag, "did you mean '%s'?", near);
    else if (count)
        ir_hint(p->diag, "it takes %s", ir_op_get(op)->attributes);
    return false;
}

static bool read_attrs(parser *p, word op_word, ir_op op, ir_attrs *attrs) {
    if (accept(p, '{') && !accept(p, '}')) {
        do {
            word w;
            ir_attr attr;
            if (!read_word(p, "an attribute", &w) || !find_attr(p, op, w, &attr)) return false;
            if (attrs->set >> attr & 1)
                return ir_error(p->diag, w.loc, "attribute '%s' is given twice", w.text);
            if (!expect(p, "=") || !read_attr(p, attr, attrs)) return false;
        } while (accept(p, ','));
        if (!expect(p, "}")) return false;
    }
    for (int a = 0; a < IR_ATTR_COUNT; a++) {
        bool required;
        const char *standard;
        if (attrs->set >> a & 1 || !ir_op_takes(op, (ir_attr)a, &required, &standard)) continue;
        if (!required || (a == IR_ATTR_shape && ir_op_get(op)->kind == IR_SOURCE)) continue;
        return ir_error(p->diag, op_word.loc, "%s needs the attribute '%s'", op_word.text,
                        ir_attr_name((ir_attr)a));
    }
    return true;
}

static bool read_operands(parser *p, ir_value *operands, int *count) {
    *count = 0;
    if (!accept(p, '(')) return true;
    do {
        if (*count == IR_MAX_OPERANDS)
            return ir_error(p->diag, here(p), "an op has at most %d operands", IR_MAX_OPERANDS);
        if (!read_value(p, &operands[*count])) return false;
        ++*count;
    } while (accept(p, ','));
    return expect(p, ")");
}

static bool read_op(parser *p, word *w, ir_op *op) {
    static const char *const names[] = {
#define OP(name, kind, operands, attributes, traits, doc) #name,
#include "ops.def"
#undef OP
    };
    if (!read_word(p, "an op", w)) return false;
    return ir_op_find(w->text, op) || unknown(p, "op", *w, names, IR_OP_COUNT);
}

static bool type_error(parser *p, ir_loc loc, ir_type stated, ir_type inferred) {
    ir_text a = {0}, b = {0};
    ir_type_print(&a, stated);
    ir_type_print(&b, inferred);
    ir_error(p->diag, loc, "the type is stated as %s, but the op gives %s", a.data, b.data);
    ir_text_free(&a);
    ir_text_free(&b);
    return false;
}

/* node: everything behind its "%" */
static bool read_node(parser *p) {
    ir_value operands[IR_MAX_OPERANDS];
    ir_attrs attrs = {0};
    word op_word, name = {0};
    ir_type type;
    ir_op op;
    int64_t id;
    int count;
    ir_loc at = here(p);
    if (p->graph->count == MAX_NODES)
        return ir_error(p->diag, at, "a graph has at most %d nodes", MAX_NODES);
    if (!read_integer(p, 0, UINT32_MAX - 1, &id)) return false;
    if ((size_t)id != p->graph->count)
        return ir_error(p->diag, at, "expected %%%zu, the next number, found %%%lld",
                        p->graph->count, (long long)id);
    if (!expect(p, "=") || !read_op(p, &op_word, &op)) return false;
    skip_blanks(p);
    if (*p->at == '"' && !read_string(p, "a name", &name)) return false;
    if (!read_operands(p, operands, &count) || !read_attrs(p, op_word, op, &attrs) ||
        !expect(p, ":"))
        return false;
    skip_blanks(p);
    ir_loc type_at = here(p);
    if (!read_type(p, &type)) return false;
    bool required, sized = ir_op_get(op)->kind == IR_SOURCE &&
                           ir_op_takes(op, IR_ATTR_shape, &required, &(const char *){NULL});
    if (sized) {
        attrs.shape.count = type.rank;
        memcpy(attrs.shape.item, type.dim, sizeof attrs.shape.item);
        attrs.set |= IR_SET(shape);
    }
    ir_value value =
        ir_build_at(p->graph, p->diag, op_word.loc, op, operands, count, &attrs, name.text);
    if (!ir_some(value)) return false;
    ir_type inferred = ir_type_of(p->graph, value);
    if (sized)
        p->graph->nodes[value.id].type = type;
    else if (!ir_type_equal(type, inferred))
        return type_error(p, type_at, type, inferred);
    return true;
}

static bool read_meta(parser *p) {
    word key, value;
    if (!read_name(p, "a key", &key) || !expect(p, "=") || !read_string(p, "a value", &value))
        return false;
    if (ir_get_meta(p->graph, key.text))
        return ir_error(p->diag, key.loc, "the key '%s' is given twice", key.text);
    if (p->graph->meta_count == MAX_METAS)
        return ir_error(p->diag, key.loc, "a graph has at most %d keys", MAX_METAS);
    ir_set_meta(p->graph, key.text, value.text);
    return true;
}

static bool read_output(parser *p) {
    word name;
    ir_value value;
    if (!read_string(p, "a name", &name) || !expect(p, "=") || !read_value(p, &value)) return false;
    if (p->graph->output_count == MAX_RESULTS)
        return ir_error(p->diag, name.loc, "a graph has at most %d outputs", MAX_RESULTS);
    ir_add_output(p->graph, name.text, value);
    return true;
}

static bool read_update(parser *p) {
    ir_value target, value;
    ir_loc at = here(p);
    if (!read_value(p, &target) || !expect(p, "=") || !read_value(p, &value)) return false;
    if (p->graph->update_count == MAX_RESULTS)
        return ir_error(p->diag, at, "a graph has at most %d updates", MAX_RESULTS);
    ir_add_update(p->graph, target, value);
    return true;
}

static bool read_line(parser *p) {
    static const char *const starts[] = {"meta", "output", "update"};
    word w;
    skip_blanks(p);
    if (!*p->at || *p->at == '\n') return true;
    if (accept(p, '%')) return read_node(p);
    if (!read_word(p, "a line that starts with %, meta, output or update", &w)) return false;
    if (strcmp(w.text, "meta") == 0) return read_meta(p);
    if (strcmp(w.text, "output") == 0) return read_output(p);
    if (strcmp(w.text, "update") == 0) return read_update(p);
    return unknown(p, "line", w, starts, 3);
}

/* graph: its first line */
static bool read_header(parser *p) {
    enum { KINDS = IR_KIND_TRAIN + 1 };
    word name, kind;
    int64_t version;
    do
        skip_blanks(p);
    while (*p->at == '\n' && *p->at++);
    if (!expect(p, "cnx") || !expect(p, "graph") || !read_name(p, "the name of the graph", &name) ||
        !read_word(p, "infer, grad or train", &kind))
        return false;
    int k = 0;
    while (k < KINDS && strcmp(ir_kind_names[k], kind.text) != 0)
        k++;
    if (k == KINDS) return unknown(p, "kind of graph", kind, ir_kind_names, KINDS);
    if (!expect(p, "version")) return false;
    skip_blanks(p);
    ir_loc at = here(p);
    if (!read_integer(p, 0, INT32_MAX, &version)) return false;
    if (version != IR_FORMAT_VERSION)
        return ir_error(p->diag, at, "format version %lld, expected %d", (long long)version,
                        IR_FORMAT_VERSION);
    p->graph = ir_graph_new(name.text, (ir_kind)k);
    return true;
}

static bool end_line(parser *p) {
    skip_blanks(p);
    if (*p->at == '\n')
        p->at++;
    else if (*p->at)
        return ir_error(p->diag, here(p), "expected the end of the line, found %s", found(p));
    return true;
}

ir_graph *ir_graph_parse(const ir_source *source, ir_diag *diag) {
    parser p = {.source = source, .at = source->text, .diag = diag};
    if (strlen(source->text) >= UINT32_MAX) {
        ir_error(diag, (ir_loc){0}, "%s: larger than 4 GiB", source->file);
        return NULL;
    }
    p.arena = ir_arena_new();
    bool good = read_header(&p) && end_line(&p);
    while (good && *p.at)
        good = read_line(&p) && end_line(&p);
    ir_arena_free(p.arena);
    if (good) return p.graph;
    ir_graph_free(p.graph);
    return NULL;
}
