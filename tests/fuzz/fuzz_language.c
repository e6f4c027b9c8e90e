/* Any bytes as a .cnx file: they end in diagnostics, or in a model whose print parses to the same
 * print and whose graph verifies and prints to a text that parses back to itself. */
#include "fe_compile.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static const char *const corpus[] = {"models/*.cnx", "tests/golden/fe/*.golden",
                                     "tests/golden/fe/*.cnx", NULL};
static const char *const words[] = {
#define TOKEN(name, text) text,
#define KEYWORD(name, text) " " text " ",
#include "fe_tokens.def"
#undef TOKEN
#undef KEYWORD
#define FUNCTION(name, parameters) #name "(",
#define LAYER(name, parameters) "l: " #name "(x, ",
#define BUILTIN(name, doc) #name,
#include "fe_builtins.def"
#undef FUNCTION
#undef LAYER
#undef BUILTIN
#define OP(name, ...) #name "(x, ",
#include "ops.def"
#undef OP
#define FIELD(name, ...) #name " = ",
#include "fe_recipe.def"
#undef FIELD
    "input x: f32[2, 8, 8, 4]\n",
    "model m {\n",
    "output y = ",
    "x = ",
    "\n}\n",
    "9223372036854775807",
    "1e300",
    "range(65536)",
    "\"a\"",
    "param a = ",
    "a.{b}.c: ",
    NULL};

const struct fuzz_target fuzz_target = {
    .name = "fuzz_language", .corpus = corpus, .dictionary = words, .max_size = 1 << 16};

/* The canonical text of a file that loads, or an empty one. */
static ir_text print_if_right(const char *text) {
    ir_text printed = {0};
    ir_diag *diag = ir_diag_new();
    fe_model *model = fe_load_text("fuzz.cnx", text, NULL, diag);
    IR_ASSERT((model != NULL) == (diag->errors == 0));
    if (model) {
        ir_text_append(&printed, "", 0);
        fe_print_ast(model, &printed);
    }
    fe_model_free(model);
    ir_diag_free(diag);
    return printed;
}

static void check_graph(const ir_graph *graph) {
    ir_text text = {0}, again = {0};
    ir_diag *diag = ir_diag_new();
    ir_graph_print(graph, &text);
    ir_source source = {.file = "fuzz.cnxir", .text = text.data};
    ir_graph *copy = ir_graph_parse(&source, diag);
    if (!copy) ir_diag_print(diag, stderr);
    IR_ASSERT(copy && ir_verify(copy, diag));
    ir_graph_print(copy, &again);
    IR_ASSERT(strcmp(text.data, again.data) == 0);
    ir_text_free(&text);
    ir_text_free(&again);
    ir_graph_free(copy);
    ir_diag_free(diag);
}

static void elaborate(const char *text, ir_kind kind) {
    ir_diag *diag = ir_diag_new();
    fe_model *model = fe_load_text("fuzz.cnx", text, NULL, diag);
    fe_options options = {.kind = kind, .random = true};
    fe_recipe recipe;
    ir_graph *graph = model ? fe_elaborate(model, &options, &recipe, diag) : NULL;
    IR_ASSERT((graph != NULL) == (diag->errors == 0));
    if (graph) check_graph(graph);
    ir_text printed = {0};
    if (graph) fe_print_recipe(&recipe, &printed);
    ir_text_free(&printed);
    ir_graph_free(graph);
    fe_model_free(model);
    ir_diag_free(diag);
}

void fuzz_one(const uint8_t *data, size_t size) {
    (void)size; /* sources are NUL-terminated */
    ir_text first = print_if_right((const char *)data);
    if (first.data) {
        ir_text second = print_if_right(first.data);
        IR_ASSERT(second.data && strcmp(first.data, second.data) == 0);
        ir_text_free(&second);
        elaborate((const char *)data, IR_KIND_INFER);
        elaborate((const char *)data, IR_KIND_TRAIN);
    }
    ir_text_free(&first);
}
