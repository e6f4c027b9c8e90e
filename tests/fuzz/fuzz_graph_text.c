/* Any bytes as a .cnxir file: they end in diagnostics or in a graph that verifies and prints to a
 * text which parses back to itself; and a small one becomes a plan that verifies. */
#include "diag.h"
#include "fuzz.h"
#include "graph.h"
#include "lower.h"
#include "pass.h"

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

enum { MOST_NODES = 1000, MOST_ELEMENTS = 1 << 16 };

static bool is_small(const ir_graph *graph) {
    for (size_t i = 0; i < graph->count; i++)
        if (ir_type_elements(graph->nodes[i].type) > MOST_ELEMENTS) return false;
    return graph->count <= MOST_NODES;
}

static void lower(const ir_graph *graph) {
    static const ir_machine machine = {"fuzz", 8, 16, 4, 2, 32768, 524288, 33554432};
    ir_diag *diag = ir_diag_new();
    ir_graph *ready = pass_prepare(graph, diag);
    if (ready && is_small(ready)) {
        ir_plan *plan = pass_lower(ready, &(pass_lower_options){.machine = &machine, .workers = 2});
        ir_plan_verify(plan);
        ir_plan_free(plan);
    }
    ir_graph_free(ready);
    ir_diag_free(diag);
}

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
        if (is_small(graph)) lower(graph);
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
