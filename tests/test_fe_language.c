/* The language as a whole: printing, precedence of values, recipes. (Messages: tests/golden/fe.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fe_compile.h"

static const char *const directories[] = {CNX_TEST_SOURCE_DIR "/models", NULL};

typedef struct loaded {
    ir_diag *diag;
    fe_model *model;
} loaded;

static loaded load(const char *text) {
    loaded l = {.diag = ir_diag_new()};
    l.model = fe_load_text("test.cnx", text, directories, l.diag);
    if (!l.model) {
        ir_diag_print(l.diag, stderr);
        fail_msg("this does not load:\n%s", text);
    }
    return l;
}

static void unload(loaded *l) {
    fe_model_free(l->model);
    ir_diag_free(l->diag);
}

/* The text of the graph; the caller frees. */
static ir_text elaborate(const loaded *l, const fe_options *options) {
    ir_graph *graph = fe_elaborate(l->model, options, NULL, l->diag);
    if (!graph) {
        ir_diag_print(l->diag, stderr);
        fail_msg("this does not elaborate");
    }
    ir_text text = {0};
    ir_graph_print(graph, &text);
    ir_graph_free(graph);
    return text;
}

/* ---- printing ---- */

/* What is printed parses to the same print and elaborates to the same graph. */
static void test_models_round_trip(void **state) {
    (void)state;
    static const char *const names[] = {"convnextv2_atto", "convnextv2_huge", "fashion"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char use[64];
        snprintf(use, sizeof use, "use \"%s.cnx\"\n", names[i]);
        loaded first = load(use);
        ir_text printed = {0}, again = {0};
        fe_print_ast(first.model, &printed);
        loaded second = load(printed.data);
        fe_print_ast(second.model, &again);
        assert_string_equal(printed.data, again.data);
        for (int kind = 0; kind < 2; kind++) {
            fe_options options = {.kind = kind ? IR_KIND_TRAIN : IR_KIND_INFER, .random = true};
            ir_text a = elaborate(&first, &options), b = elaborate(&second, &options);
            assert_string_equal(a.data, b.data);
            ir_text_free(&a);
            ir_text_free(&b);
        }
        ir_text_free(&printed);
        ir_text_free(&again);
        unload(&first);
        unload(&second);
    }
}

/* Parentheses stand where the tree needs them and nowhere else. */
static void test_parentheses(void **state) {
    (void)state;
    static const char *const same[] = {
        "1 + 2 * 3 - 4 / 5 // 6 % 7",
        "(1 + 2) * 3",
        "1 - (2 - 3) - 4",
        "2 ** 3 ** 4",
        "(2 ** 3) ** 4",
        "-2 ** 2",
        "(-2) ** 2",
        "-(1 + 2)",
        "not true and false or true",
        "not (true and false)",
        "(1 < 2) == (3 < 4)",
        "not 1 in [1]",
        "1 if true else 2 if false else 3",
        "(1 if true else 2) + 3",
        "[1, 2][0] + [[3]][0][0]",
        "([1] + [2])[0]",
        "[i if i > 1 else -i for i in [1, 2]]",
        "max(1, 2) + len([1.5, 1e-06, \"a\\n\\\"b\\\"\"])",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char text[256];
        snprintf(text, sizeof text, "param a = %s\n", same[i]);
        loaded l = load(text);
        ir_text printed = {0};
        fe_print_ast(l.model, &printed);
        assert_string_equal(printed.data, text);
        ir_text_free(&printed);
        unload(&l);
    }
}

/* ---- which value counts ---- */

static const char settings[] = "param size = 1\n"
                               "param twice = 2 * size\n"
                               "param drop_path = 0.5\n"
                               "model base(width = 10, depth = twice) {\n"
                               "    input x: f32[1]\n"
                               "    meta values = [size, twice, width, depth, drop_path]\n"
                               "    output y = x\n"
                               "}\n"
                               "recipe quiet { epochs = 3 }\n"
                               "recipe loud { drop_path = 0.25 }\n";

static void check_values(const char *more, const fe_options *options, const char *expected) {
    ir_text text = {0};
    ir_text_printf(&text, "%s%s", settings, more);
    loaded l = load(text.data);
    ir_graph *graph = fe_elaborate(l.model, options, NULL, l.diag);
    if (!graph) ir_diag_print(l.diag, stderr);
    assert_non_null(graph);
    assert_string_equal(ir_get_meta(graph, "values"), expected);
    ir_graph_free(graph);
    ir_text_free(&text);
    unload(&l);
}

static void test_values(void **state) {
    (void)state;
    fe_options plain = {.kind = IR_KIND_INFER, .recipe = "quiet"};
    check_values("", &plain, "1 2 10 2 0.5");
    check_values("set size = 3\n", &plain, "3 6 10 6 0.5");
    check_values("set size = 3\nset size = 4\n", &plain, "4 8 10 8 0.5");
    check_values("model m = base(width = size + 4)\n", &plain, "1 2 5 2 0.5");
    check_values("model m = base(width = 5, depth = 6)\nmodel n = m(width = 7)\n", &plain,
                 "1 2 7 6 0.5");
    static const fe_define defines[] = {{"size", "9"}, {"width", "8"}, {"width", "6"}};
    fe_options defined = plain;
    defined.defines = defines;
    defined.define_count = 3;
    check_values("set size = 3\nmodel m = base(width = 5)\n", &defined, "9 18 6 18 0.5");
    fe_options train = {.kind = IR_KIND_TRAIN, .random = true, .recipe = "quiet"};
    check_values("", &train, "1 2 10 2 0.5");
    train.recipe = "loud";
    check_values("", &train, "1 2 10 2 0.25");
    train.plain_loss = true;
    check_values("", &train, "1 2 10 2 0.5");
    train.plain_loss = false;
    static const fe_define drop[] = {{"drop_path", "0.125"}};
    train.defines = drop;
    train.define_count = 1;
    check_values("", &train, "1 2 10 2 0.125");
    plain.recipe = "loud"; /* inference drops nothing: the recipe's rate does not matter */
    check_values("", &plain, "1 2 10 2 0.5");
}

/* ---- recipes ---- */

static const char recipes[] =
    "recipe first {\n"
    "    optimizer = adamw(base_lr = 0.512, weight_decay = 0.3, betas = [0.8, 0.9])\n"
    "    schedule = cosine(warmup_epochs = 5, min_lr = 0.25)\n"
    "    epochs = 100\n"
    "    batch = 128\n"
    "    augment = [crop(4), flip(0.5)]\n"
    "}\n"
    "recipe second from first {\n"
    "    optimizer = adamw(lr = 0.125)\n"
    "    schedule = constant(2.5)\n"
    "    batch = 2 * 8\n"
    "    augment = [random_resized_crop(scale = [0.25, 1])]\n"
    "}\n";

static fe_recipe resolve(const loaded *l, const fe_options *options) {
    fe_recipe recipe;
    if (!fe_resolve_recipe(l->model, options, &recipe, l->diag)) {
        ir_diag_print(l->diag, stderr);
        fail_msg("the recipe does not resolve");
    }
    return recipe;
}

static void test_recipe_fields(void **state) {
    (void)state;
    loaded l = load(recipes);
    fe_options options = {.recipe = "first"};
    fe_recipe first = resolve(&l, &options);
    assert_string_equal(first.name, "first");
    assert_string_equal(first.schedule, "cosine");
    assert_true(first.base_lr == 0.512 && first.lr == 0.001 && first.weight_decay == 0.3);
    assert_true(first.betas[0] == 0.8 && first.betas[1] == 0.9 && first.eps == 1e-8);
    assert_true(first.warmup_epochs == 5 && first.min_lr == 0.25);
    assert_true(first.epochs == 100 && first.batch == 128 && first.seed == 0);
    assert_true(first.crop_padding == 4 && first.flip == 0.5 && first.crop_scale[1] == 0);
    assert_true(fe_recipe_lr(&first) == 0.256);
    assert_string_equal(first.origin[FE_FIELD_epochs], "recipe first");
    assert_string_equal(first.origin[FE_FIELD_seed], "default");

    options.recipe = NULL; /* no `default`: the last one */
    fe_recipe second = resolve(&l, &options);
    assert_string_equal(second.name, "second");
    assert_string_equal(second.schedule, "constant");
    assert_true(second.lr == 0.125 && second.base_lr == 0 && second.weight_decay == 0.05);
    assert_true(second.warmup_epochs == 2.5 && second.min_lr == 0);
    assert_true(second.epochs == 100 && second.batch == 16);
    assert_true(second.crop_padding == 0 && second.flip == 0);
    assert_true(second.crop_scale[0] == 0.25 && second.crop_scale[1] == 1);
    assert_true(fe_recipe_lr(&second) == 0.125);
    assert_string_equal(second.origin[FE_FIELD_epochs], "recipe first");
    assert_string_equal(second.origin[FE_FIELD_batch], "recipe second");
    assert_false(fe_recipe_given(&second, FE_FIELD_weight_decay));
    unload(&l);
}

static void test_command_line_wins(void **state) {
    (void)state;
    loaded l = load(recipes);
    uint64_t seed = 7;
    static const fe_define defines[] = {
        {"lr", "0.5"},
        {"epochs", "2"},
        {"schedule", "constant"},
        {"crop_scale", "[0.5, 1]"},
    };
    fe_options options = {
        .recipe = "first", .batch = 4, .seed = &seed, .defines = defines, .define_count = 4};
    fe_recipe recipe = resolve(&l, &options);
    assert_true(recipe.lr == 0.5 && recipe.base_lr == 0 && fe_recipe_lr(&recipe) == 0.5);
    assert_true(recipe.epochs == 2 && recipe.batch == 4 && recipe.seed == 7);
    assert_true(recipe.crop_scale[0] == 0.5 && recipe.crop_padding == 4);
    assert_string_equal(recipe.schedule, "constant");
    assert_string_equal(recipe.origin[FE_FIELD_batch], "--batch");
    assert_string_equal(recipe.origin[FE_FIELD_seed], "--seed");
    assert_string_equal(recipe.origin[FE_FIELD_lr], "-D");
    unload(&l);
}

static void check_same_recipe(const fe_recipe *a, const fe_recipe *b) {
#define SAME_COUNT(name) assert_int_equal(a->name, b->name);
#define SAME_NUMBER(name) assert_true(a->name == b->name);
#define SAME_PAIR(name) assert_true(a->name[0] == b->name[0] && a->name[1] == b->name[1]);
#define SAME_WORD(name) assert_string_equal(a->name, b->name);
#define FIELD(name, kind, ...) SAME_##kind(name)
#include "fe_recipe.def"
#undef FIELD
}

/* A printed recipe is a file that gives the same recipe. */
static void test_recipes_round_trip(void **state) {
    (void)state;
    static const char *const texts[] = {recipes, "param a = 1\n", "use \"fashion.cnx\"\n",
                                        "use \"convnextv2_atto.cnx\"\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        loaded l = load(texts[i]);
        fe_options options = {.kind = IR_KIND_TRAIN};
        fe_recipe recipe = resolve(&l, &options);
        ir_text printed = {0};
        fe_print_recipe(&recipe, &printed);
        loaded again = load(printed.data);
        fe_recipe copy = resolve(&again, &options);
        assert_string_equal(copy.name, recipe.name);
        check_same_recipe(&recipe, &copy);
        ir_text_free(&printed);
        unload(&again);
        unload(&l);
    }
}

static void test_seed_has_a_limit(void **state) {
    (void)state;
    loaded l = load(recipes);
    uint64_t seed = UINT64_MAX;
    fe_options options = {.seed = &seed};
    fe_recipe recipe;
    assert_false(fe_resolve_recipe(l.model, &options, &recipe, l.diag));
    assert_string_equal(l.diag->messages[0].text,
                        "'seed' is 18446744073709551615, expected at most 9e18");
    unload(&l);
}

/* A model is not changed by elaboration: twice the same, also after an error between them. */
static void test_elaborated_twice(void **state) {
    (void)state;
    loaded l = load("use \"fashion.cnx\"\n");
    fe_options options = {.kind = IR_KIND_TRAIN, .random = true};
    ir_text first = elaborate(&l, &options);
    ir_diag *other = ir_diag_new();
    static const fe_define wrong[] = {{"classes", "-1"}};
    fe_options bad = {.kind = IR_KIND_INFER, .defines = wrong, .define_count = 1};
    assert_null(fe_elaborate(l.model, &bad, NULL, other));
    assert_true(other->errors > 0);
    ir_diag_free(other);
    ir_text second = elaborate(&l, &options);
    assert_string_equal(first.data, second.data);
    ir_text_free(&first);
    ir_text_free(&second);
    unload(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_round_trip),
        cmocka_unit_test(test_parentheses),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_recipe_fields),
        cmocka_unit_test(test_command_line_wins),
        cmocka_unit_test(test_recipes_round_trip),
        cmocka_unit_test(test_seed_has_a_limit),
        cmocka_unit_test(test_elaborated_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
