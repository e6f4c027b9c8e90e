/* Any bytes as a .cnxir file: they end in diagnostics or in a graph that verifies and prints to a
 * text which parses back to itself. */
#include "diag.h"
#include "fuzz.h"
#include "graph.h"

#include <stdlib.h>
#include <string.h>

static const char *const corpus[] = {"tests/golden/*/*.cnxir", "tests/golden/*/*.golden", NULL};
static const char *const words[] = {
#define OP(name, ...) #name,
#include "ops.def"
#undef OP
#define ATTR(name, kind) #name "=",
#include "attrs.def"
#undef ATTR
    "f32[",  "i64[",   "bf16[",  ";grid=7x7,kept=19]",
    "%0",    "%1",     "%",      "=",
    "(",     ")",      "[",      "]",
    ",",     "\"",     "\n",     "infer",
    "train", "grad",   "->",     "nan",
    "cnx",   "output", "update", NULL};

const struct fuzz_target fuzz_target = {
    .name = "fuzz_graph_text", .corpus = corpus, .dictionary = words, .max_size = 1 << 16};

/* The printed form of a graph that is right, or an empty text; what is wrong must be said. */
static ir_text print_if_right(const char *text) {
    ir_text printed = {0};
    ir_diag *diag = ir_diag_new();
    ir_source source = {.file = "fuzz.cnxir", .text = text};
    ir_graph *graph = ir_graph_parse(&source, diag);
    bool right = graph && ir_verify(graph, diag);
    if (right) {
        IR_ASSERT(diag->errors == 0);
        ir_graph_print(graph, &printed);
    } else {
        IR_ASSERT(diag->errors > 0);
    }
    ir_graph_free(graph);
    ir_diag_free(diag);
    return printed;
}

void fuzz_one(const uint8_t *data, size_t size) {
    (void)size; /* sources are NUL-terminated */
    ir_text first = print_if_right((const char *)data);
    if (first.data) {
        ir_text second = print_if_right(first.data);
        IR_ASSERT(second.data && strcmp(first.data, second.data) == 0);
        ir_text_free(&second);
    }
    ir_text_free(&first);
}
