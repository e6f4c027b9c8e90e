/* docs/language.md: every example is compiled, and every built-in name is explained. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fe_compile.h"

static char *page;

static int read_page(void **state) {
    (void)state;
    FILE *file = fopen(CNX_TEST_SOURCE_DIR "/docs/language.md", "rb");
    enum { ROOM = 1 << 20 };
    page = calloc(1, ROOM);
    if (!file || !page || fread(page, 1, ROOM - 1, file) == 0) return -1;
    return fclose(file);
}

static int free_page(void **state) {
    (void)state;
    free(page);
    return 0;
}

static void fail_example(const ir_diag *diag, const char *text) {
    ir_diag_print(diag, stderr);
    fail_msg("this example is wrong:\n%s", text);
}

/* Loads, resolves each recipe; elaborates inference and training if there is a model. */
static void check_example(const char *text) {
    static const char *const directories[] = {CNX_TEST_SOURCE_DIR "/models", NULL};
    ir_diag *diag = ir_diag_new();
    fe_model *model = fe_load_text("example.cnx", text, directories, diag);
    if (!model) fail_example(diag, text);
    fe_options options = {.kind = IR_KIND_INFER};
    fe_recipe recipe;
    if (!fe_resolve_recipe(model, &options, &recipe, diag)) fail_example(diag, text);
    for (int train = 0; train < 2 && fe_model_name(model); train++) {
        options.kind = train ? IR_KIND_TRAIN : IR_KIND_INFER;
        ir_graph *graph = fe_elaborate(model, &options, NULL, diag);
        if (!graph) fail_example(diag, text);
        ir_graph_free(graph);
    }
    ir_text printed = {0};
    fe_print_ast(model, &printed);
    fe_model *again = fe_load_text("printed.cnx", printed.data, directories, diag);
    if (!again) fail_example(diag, printed.data);
    ir_text_free(&printed);
    fe_model_free(again);
    fe_model_free(model);
    ir_diag_free(diag);
}

static void test_examples(void **state) {
    (void)state;
    int count = 0;
    for (const char *at = page; (at = strstr(at, "\n```cnx\n")); count++) {
        const char *start = at + 8, *end = strstr(start, "\n```\n");
        assert_non_null(end);
        char *text = strndup(start, (size_t)(end + 1 - start));
        check_example(text);
        free(text);
        at = end;
    }
    assert_in_range(count, 15, 100);
}

static void expect_word(const char *word) {
    char code[64];
    snprintf(code, sizeof code, "%s", word);
    if (!strstr(page, code)) fail_msg("docs/language.md does not mention '%s'", word);
}

static void test_every_name_is_explained(void **state) {
    (void)state;
#define FUNCTION(name, parameters) expect_word(#name "(");
#define LAYER(name, parameters) expect_word("`" #name "(x");
#define BUILTIN(name, doc) expect_word("`" #name "`");
#include "fe_builtins.def"
#undef FUNCTION
#undef LAYER
#undef BUILTIN
#define FIELD(name, ...) expect_word(#name);
#include "fe_recipe.def"
#undef FIELD
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_every_name_is_explained),
    };
    return cmocka_run_group_tests(tests, read_page, free_page);
}
