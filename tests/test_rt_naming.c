/* Maps of names: patterns, axes, which map a file is in, and maps that are wrong. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_axes.h"
#include "rt_naming.h"
#include "rt_scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- axes --- */

static void expect_axes(const char *text, bool good) {
    rt_axes axes;
    rt_error error;
    if (rt_axes_parse(text, &axes, &error) != good) fail_msg("axes '%s'", text);
}

static void test_axes_words(void **state) {
    (void)state;
    expect_axes("c", true);
    expect_axes("o,i,y,x", true);
    expect_axes("xy,i,o", true);
    expect_axes("1,1,1,c", true);
    expect_axes("o,i,?,?", true);
    expect_axes("1", true);
    expect_axes("a,b,c,d,e,f,g,h", true);
    expect_axes("a,b,c,d,e,f,g,h,i", false);
    expect_axes("", false);
    expect_axes("o,", false);
    expect_axes(",o", false);
    expect_axes("o,o", false);
    expect_axes("oo", false);
    expect_axes("ox,xy", false);
    expect_axes("abcd", false);
    expect_axes("11", false);
    expect_axes("?1", false);
    expect_axes("2", false);
    expect_axes("O", false);
    expect_axes("o, i", false);
}

/* Numbers 0, 1, ... as I16 of a shape. */
static rt_tensor ramp(int16_t *data, int rank, const int64_t *dim) {
    rt_tensor t = {.name = "t", .dtype = RT_I16, .rank = rank, .data = data};
    memcpy(t.dim, dim, (size_t)rank * sizeof *dim);
    for (int64_t i = 0; i < rt_tensor_elements(&t); i++)
        data[i] = (int16_t)i;
    return t;
}

#define RAMP(data, rank, ...) ramp(data, rank, (const int64_t[]){__VA_ARGS__})

/* Applies a change and gives the new shape as text, or the error. */
static const char *apply(const char *from, const char *to, const rt_tensor *t, rt_tensor *out,
                         void **copy) {
    static char text[1024];
    rt_axes a, b;
    rt_error error;
    assert_true(rt_axes_parse(from, &a, &error));
    assert_true(rt_axes_parse(to, &b, &error));
    rt_axes_change change = {.from = &a, .to = &b};
    if (!rt_axes_apply(&change, t, out, copy, &error)) return strcpy(text, error.text);
    return rt_tensor_shape(out, text, sizeof text);
}

/* Where only dimensions of 1 differ, the data stay where they are. */
static void test_axes_in_place(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *shape;
        int rank;
        int64_t dim[4];
    } cases[] = {
        {"c", "1,1,1,c", "(1,1,1,6)", 1, {6}},
        {"1,1,1,c", "c", "(6)", 4, {1, 1, 1, 6}},
        {"1,1,1,c", "c", "(6)", 2, {1, 6}},
        {"1,1,1,c", "c", "(6)", 1, {6}},
        {"c", "c", "(6)", 3, {1, 6, 1}},
        {"c", "c", "(1)", 2, {1, 1}},
        {"o,i", "o,i,?,?", "(2,3)", 2, {2, 3}},
        {"o,i,?,?", "o,i", "(2,3)", 4, {2, 3, 1, 1}},
        {"o,i,?,?", "o,i", "(2,3)", 2, {2, 3}},
        {"o,i,?,?", "o,i", "(1,3)", 4, {1, 3, 1, 1}},
        {"o,i", "o,i,1,1", "(1,6,1,1)", 2, {1, 6}},
        {"o,i", "io", "(6)", 2, {6, 1}},
        {"xy,c", "c,1,y,x", "(6,1,1,1)", 2, {1, 6}},
    };
    int16_t data[6];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_tensor t = ramp(data, cases[i].rank, cases[i].dim), out;
        void *copy;
        assert_string_equal(apply(cases[i].from, cases[i].to, &t, &out, &copy), cases[i].shape);
        assert_null(copy);
        assert_ptr_equal(out.data, data);
    }
}

static void test_axes_in_another_order(void **state) {
    (void)state;
    int16_t data[64];
    rt_tensor t = RAMP(data, 3, 4, 2, 3), out, back;
    void *copy, *again;
    assert_string_equal(apply("xy,i,o", "o,i,y,x", &t, &out, &copy), "(3,2,2,2)");
    const int16_t *moved = out.data;
    for (int o = 0; o < 3; o++)
        for (int i = 0; i < 2; i++)
            for (int y = 0; y < 2; y++)
                for (int x = 0; x < 2; x++)
                    assert_int_equal(moved[((o * 2 + i) * 2 + y) * 2 + x],
                                     ((x * 2 + y) * 2 + i) * 3 + o);
    assert_string_equal(apply("o,i,y,x", "xy,i,o", &out, &back, &again), "(4,2,3)");
    assert_memory_equal(back.data, data, 24 * sizeof *data);
    free(copy);
    free(again);
    t = RAMP(data, 2, 27, 2);
    assert_string_equal(apply("xyz,c", "c,z,y,x", &t, &out, &copy), "(2,3,3,3)");
    free(copy);
    t = RAMP(data, 2, 0, 5);
    assert_string_equal(apply("xy,c", "c,1,y,x", &t, &out, &copy), "(5,1,0,0)");
    assert_null(copy);
}

static void test_axes_that_do_not_fit(void **state) {
    (void)state;
    int16_t data[64];
    rt_tensor t = RAMP(data, 2, 8, 2), out;
    void *copy;
    assert_string_equal(apply("xy,c", "c,1,y,x", &t, &out, &copy),
                        "tensor 't' has shape (8,2); expected (xy,c)");
    assert_string_equal(apply("1,1,1,c", "c", &t, &out, &copy),
                        "tensor 't' has shape (8,2); expected (1,1,1,c)");
    t = RAMP(data, 3, 2, 3, 4);
    assert_string_equal(apply("o,i", "o,i", &t, &out, &copy),
                        "tensor 't' has shape (2,3,4); expected (o,i)");
    t = RAMP(data, 0, 0);
    assert_string_equal(apply("c", "c", &t, &out, &copy), "tensor 't' has shape (); expected (c)");
    t = (rt_tensor){.name = "t", .dtype = RT_F32, .rank = 3, .dim = {0, 1ll << 40, 1ll << 40}};
    assert_string_equal(apply("a,b,c", "bc,a", &t, &out, &copy),
                        "tensor 't' is larger than any file");
    t = (rt_tensor){.name = "t", .dtype = RT_F32, .rank = 3, .dim = {0, 1ll << 40, 1ll << 40}};
    assert_string_equal(apply("a,b,c", "b,c,a", &t, &out, &copy),
                        "tensor 't' is larger than any file");
}

/* --- maps --- */

static rt_naming *parse(const char *text) {
    rt_error error;
    rt_naming *n = rt_naming_parse("some/m.map", text, strlen(text), &error);
    if (!n) fail_msg("%s", error.text);
    return n;
}

static void expect_refused(const char *text, const char *message) {
    rt_error error;
    rt_naming *n = rt_naming_parse("m.map", text, strlen(text), &error);
    if (n) fail_msg("accepted; expected: %s", message);
    assert_string_equal(error.text, message);
}

static void test_maps_that_are_wrong(void **state) {
    (void)state;
    expect_refused("", "m.map: no line 'naming NAME'");
    expect_refused("naming\n", "m.map: line 1: naming needs one name, once");
    expect_refused("naming a\nnaming b\n", "m.map: line 2: naming needs one name, once");
    expect_refused("naming a\n\na b c\n",
                   "m.map: line 3: 'a' has 3 words; expected name in cnx, name, axes, axes");
    expect_refused("a b c d e", "m.map: line 1: 'a' has 5 words; expected name in cnx, name, "
                                "axes, axes");
    expect_refused("a.* b c =", "m.map: line 1: 'a.*' and 'b' have unequal numbers");
    expect_refused("~a b c =", "m.map: line 1: names in cnx have no prefix");
    expect_refused("a** b** c =", "m.map: line 1: 'a**' is no pattern of names");
    expect_refused("a1* b* c =", "m.map: line 1: 'a1*' is no pattern of names");
    expect_refused("a ~ c =", "m.map: line 1: '~' is no pattern of names");
    expect_refused("a b~ c =", "m.map: line 1: 'b~' is no pattern of names");
    expect_refused("*.*.*.*.* = c =", "m.map: line 1: '*.*.*.*.*' has more than 4 numbers");
    expect_refused("a b c d", "m.map: line 1: 'c' and 'd' are not the same axes");
    expect_refused("a b c cd", "m.map: line 1: 'c' and 'cd' are not the same axes");
    expect_refused("a b c c,", "m.map: line 1: axes are 'c,'; expected letters, each once, 1 or ? "
                               "with commas between, such as xy,i,o");
    expect_refused("a b c =\nd b c =", "m.map: line 2: 'd' or 'b' has a rule already");
    expect_refused("prefix", "m.map: line 1: prefix needs one, or -");
    expect_refused("needs", "m.map: line 1: 'needs' needs 1 word");
    expect_refused("conv a", "m.map: line 1: 'conv' needs 2 words");
    expect_refused("conv a 1\nconv a 1", "m.map: line 2: 'conv' stands twice");
    expect_refused("a b c d e f g h i j k l m n o p q", "m.map: line 1: more than 16 words");
}

/* The name in cnx of a tensor in a map, or the other way; "-" if there is none. */
static const char *rename_one(const rt_naming *n, const rt_naming_style *style, const char *name) {
    static char text[256];
    static const float data[4];
    rt_tensor t = {.name = name, .dtype = RT_F32, .rank = 1, .dim = {4}, .data = data};
    rt_named named;
    rt_error error;
    bool good = style ? rt_naming_write(n, style, &t, &named, &error)
                      : rt_naming_read(n, &t, &named, &error);
    assert_true(good);
    snprintf(text, sizeof text, "%s", named.known ? named.tensor.name : "-");
    assert_string_equal(named.known ? text : name, named.tensor.name);
    rt_named_free(&named);
    return text;
}

static void test_patterns(void **state) {
    (void)state;
    rt_naming *n = parse("naming lib # comment\nprefix pre. x\nprefix -\n\n"
                         "stem.0  down.0.0  c  =\n"
                         "down.*.* ~down.*.*  c  1,c\n"
                         "a.*  ~b*c  c  =\n"
                         "same =  c  =\n");
    assert_string_equal(rt_naming_target(n), "lib");
    assert_string_equal(rt_naming_source(n), "m.map");
    assert_int_equal(rt_naming_count(n), 4);
    assert_string_equal(rt_naming_here(n, 1), "down.*.*");
    assert_string_equal(rt_naming_in_cnx(n, 2), "a.*");
    assert_string_equal(rename_one(n, NULL, "down.0.0"), "stem.0"); /* the first rule wins */
    assert_string_equal(rename_one(n, NULL, "down.0.1"), "down.0.1");
    assert_string_equal(rename_one(n, NULL, "pre.down.12.305"), "down.12.305");
    assert_string_equal(rename_one(n, NULL, "pre.down.0.0"), "down.0.0");
    assert_string_equal(rename_one(n, NULL, "b7c"), "a.7");
    assert_string_equal(rename_one(n, NULL, "same"), "same");
    static const char *const strangers[] = {"",
                                            "down",
                                            "down.1",
                                            "down.01.1",
                                            "down.1.1.1",
                                            "down.a.1",
                                            "down..1",
                                            "down.1.",
                                            "pre.same",
                                            "bc",
                                            "b-1c",
                                            "b1cc",
                                            "pre.",
                                            "prepre.b1c",
                                            "pre.pre.b1c",
                                            "b00c",
                                            "b12345678901234567c"};
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        assert_string_equal(rename_one(n, NULL, strangers[i]), "-");
    rt_naming_style with = {.prefix = "pre."}, without = {.prefix = ""};
    assert_string_equal(rename_one(n, &with, "a.7"), "pre.b7c");
    assert_string_equal(rename_one(n, &without, "a.7"), "b7c");
    assert_string_equal(rename_one(n, &with, "stem.0"), "down.0.0");
    assert_string_equal(rename_one(n, &with, "same"), "same");
    assert_string_equal(rename_one(n, &with, "b7c"), "-");
    rt_naming_free(n);
}

/* --- files --- */

/* A file with tensors of these names, of shape (40). */
static rt_tensors *file_with(const char *folder, const char *const *names) {
    static float data[40];
    rt_tensor tensors[16];
    size_t count = 0;
    for (; names[count]; count++)
        tensors[count] = (rt_tensor){
            .name = names[count], .dtype = RT_F32, .rank = 1, .dim = {40}, .data = data};
    rt_error error;
    const char *path = scratch_path(folder, "names.safetensors");
    assert_true(rt_tensors_write(path, tensors, count, NULL, 0, &error));
    rt_tensors *file = rt_tensors_open(path, &error);
    remove(path);
    assert_non_null(file);
    return file;
}

#define FILE_WITH(...) file_with(*state, (const char *const[]){__VA_ARGS__, NULL})

static bool is_b(const void *context, const char *name) {
    return strcmp(name, context) == 0;
}

static void test_choosing(void **state) {
    rt_naming *items[] = {parse("naming one\na.* p.* c =\nb q c =\n"),
                          parse("naming two\na.* r.* c =\nb q c =\n"),
                          parse("naming three\nb r.1 c =\nz p.1 c =\n")};
    rt_namings maps = {.item = items, .count = 3};
    const rt_naming *chosen;
    rt_error error;
    rt_tensors *file = FILE_WITH("p.0", "p.1", "q", "other");
    assert_true(rt_namings_choose(&maps, file, NULL, &chosen, &error));
    assert_ptr_equal(chosen, items[0]);
    assert_int_equal(rt_naming_fitting(items[0], file, NULL), 3);
    assert_int_equal(rt_naming_fitting(items[2], file, NULL), 1);
    rt_wanted wanted = {.is = is_b, .context = "z"};
    assert_true(rt_namings_choose(&maps, file, &wanted, &chosen, &error));
    assert_ptr_equal(chosen, items[2]);
    rt_tensors_close(file);
    file = FILE_WITH("q"); /* two maps know it, as the same */
    assert_true(rt_namings_choose(&maps, file, NULL, &chosen, &error));
    assert_ptr_equal(chosen, items[0]);
    rt_tensors_close(file);
    file = FILE_WITH("r.1"); /* as two things */
    assert_false(rt_namings_choose(&maps, file, NULL, &chosen, &error));
    assert_string_equal(error.text, "'r.1' is a name in both 'm.map' and 'm.map'");
    rt_tensors_close(file);
    file = FILE_WITH("x", "y");
    assert_true(rt_namings_choose(&maps, file, NULL, &chosen, &error));
    assert_null(chosen);
    rt_tensors_close(file);
    for (size_t i = 0; i < 3; i++)
        rt_naming_free(items[i]);
}

/* Tensors under cnx's names, of shape (width). */
static size_t named_tensors(rt_named *named, int64_t width, const char *const *names) {
    size_t count = 0;
    for (; names[count]; count++)
        named[count] = (rt_named){.tensor = {.name = names[count], .rank = 1, .dim = {width}}};
    return count;
}

static void test_styles(void **state) {
    rt_naming *items[] = {
        parse("naming lib\nprefix v2. head grn\nprefix v1. head\nprefix -\nconv stem 40 48\n"
              "head head c c,?\nstem ~stem c =\ngrn ~grn c =\n"),
        parse("naming lib\nneeds token\ntoken = c =\n")};
    rt_namings maps = {.item = items, .count = 2};
    rt_named n[4];
    static const char *const all[] = {"stem", "grn", "head", NULL};
    static const char *const first[] = {"head", "stem", NULL};
    static const char *const bare[] = {"stem", "token", NULL};
    rt_naming_style style = rt_naming_style_for(items[0], n, named_tensors(n, 40, all));
    assert_string_equal(style.prefix, "v2.");
    assert_true(style.optional);
    style = rt_naming_style_for(items[0], n, named_tensors(n, 96, first));
    assert_string_equal(style.prefix, "v1.");
    assert_false(style.optional);
    style = rt_naming_style_for(items[0], n, named_tensors(n, 48, bare));
    assert_string_equal(style.prefix, "");
    assert_true(style.optional);
    assert_ptr_equal(rt_namings_for(&maps, "lib", n, 2), items[1]);
    assert_ptr_equal(rt_namings_for(&maps, "lib", n, 1), items[0]);
    assert_null(rt_namings_for(&maps, "other", n, 1));
    rt_tensors *file = FILE_WITH("v1.stem", "head");
    style = rt_naming_style_of(items[0], file);
    assert_string_equal(style.prefix, "v1.");
    assert_false(style.optional);
    rt_tensors_close(file);
    assert_true(rt_naming_has_conv(items[0]) && rt_naming_has_prefixes(items[0]));
    assert_false(rt_naming_has_conv(items[1]) || rt_naming_has_prefixes(items[1]));
    assert_string_equal(rt_naming_prefix(items[0], "v1."), "v1.");
    assert_string_equal(rt_naming_prefix(items[0], ""), "");
    assert_null(rt_naming_prefix(items[0], "v3."));
    rt_naming_free(items[0]);
    rt_naming_free(items[1]);
}

/* The maps of the project: each can be read, and no two have the same meaning for a name. */
static void test_maps_of_models(void **state) {
    (void)state;
    rt_error error;
    rt_namings *maps = rt_namings_open(CNX_TEST_SOURCE_DIR "/models", &error);
    if (!maps) fail_msg("%s", error.text);
    assert_int_equal(maps->count, 4);
    assert_null(rt_namings_open(CNX_TEST_SOURCE_DIR "/tests/style", &error));
    assert_non_null(strstr(error.text, "no naming maps (*.map) in '"));
    rt_namings_free(maps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axes_words),
        cmocka_unit_test(test_axes_in_place),
        cmocka_unit_test(test_axes_in_another_order),
        cmocka_unit_test(test_axes_that_do_not_fit),
        cmocka_unit_test(test_maps_that_are_wrong),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_choosing),
        cmocka_unit_test(test_styles),
        cmocka_unit_test(test_maps_of_models),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
