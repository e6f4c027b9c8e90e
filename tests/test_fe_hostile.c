/* Texts made to hurt: each must end in a message that says what is wrong, soon and in little
 * memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fe_compile.h"

enum { MEGABYTE = 1 << 20, SECONDS = 20 };

/* Loads and elaborates; the first message must contain `expected`. */
static void check(const char *text, const char *expected) {
    ir_diag *diag = ir_diag_new();
    clock_t start = clock();
    fe_model *model = fe_load_text("hostile.cnx", text, NULL, diag);
    fe_options options = {.kind = IR_KIND_TRAIN, .random = true};
    ir_graph *graph = model ? fe_elaborate(model, &options, NULL, diag) : NULL;
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (graph) fail_msg("this went well, expected '%s': %.200s", expected, text);
    assert_true(diag->errors > 0);
    assert_true(diag->count <= IR_DIAG_LIMIT);
    if (!strstr(diag->messages[0].text, expected))
        fail_msg("expected '%s', found '%s'", expected, diag->messages[0].text);
    if (seconds > SECONDS) fail_msg("'%s' took %g s", expected, seconds);
    fe_model_free(model);
    ir_diag_free(diag);
}

/* `head`, then `unit` until the text has `bytes` bytes, then `tail`. */
static void check_repeated(const char *head, const char *unit, size_t bytes, const char *tail,
                           const char *expected) {
    ir_text text = {0};
    ir_text_printf(&text, "%s", head);
    while (text.length < bytes)
        ir_text_append(&text, unit, strlen(unit));
    ir_text_printf(&text, "%s", tail);
    check(text.data, expected);
    ir_text_free(&text);
}

static const size_t most = MEGABYTE - 256;

static void test_nesting(void **state) {
    (void)state;
    static const struct {
        const char *head, *unit, *expected;
    } cases[] = {
        {"param a = ", "(", "nested deeper than 96 levels"},
        {"param a = ", "[", "nested deeper than 96 levels"},
        {"param a = ", "-", "nested deeper than 96 levels"},
        {"param a = ", "not ", "nested deeper than 96 levels"},
        {"param a = ", "f(", "nested deeper than 96 levels"},
        {"param a = ", "1 ** ", "nested deeper than 96 levels"},
        {"param a = 1", " + 1", "nested deeper than 96 levels"},
        {"param a = x", "[0]", "nested deeper than 96 levels"},
        {"param a = ", "1 if true else ", "nested deeper than 96 levels"},
        {"param a = ", "[1 for x in ", "nested deeper than 96 levels"},
        {"model m {\n", "if true {\n", "nested deeper than 96 levels"},
        {"model m {\n", "for i in [1] {\n", "nested deeper than 96 levels"},
        {"model m { if true { } ", "else if true { } ", "nested deeper than 96 levels"},
        {"model m {\n", "{", "expected a statement"},
        {"", "{", "expected use, param"},
        {"", ")", "expected use, param"},
        {"model m {\n y = ", "a.", "expected end of line"},
        {"model m {\n y = ", "{a}", "expected an expression"},
        {"param a = ", "\"", "expected end of line"},
        {"", "param\n", "expected the name of a parameter"},
        {"", "\x01\x80", "unexpected byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_repeated(cases[i].head, cases[i].unit, most, "", cases[i].expected);
}

static void test_long_lists(void **state) {
    (void)state;
    check_repeated("block B(a", ",a", most, ") { return a }", "stands twice");
    check_repeated("param a = max(1", ",1", most, ")", "more than 256 arguments");
    check_repeated("param a = [1", ",1", most, "]\nmodel m { b = a }", "list of 524");
    check_repeated("recipe r {\n", "lr = 1\n", most, "}", "stands twice");
    check_repeated("", "param a = 1\n", most, "", "more than 4096 items");
    check_repeated("param a = ", "aaaaaaaaaaaaaaaa", most, "", "unknown name");
    check_repeated("param a = ", "1", most, "", "whole number is too large");
    check_repeated("param a = \"", "aaaaaaaaaaaaaaaa", most, "\"", "string has");
    check_repeated("", "# a comment\n", 2 * MEGABYTE, "", "at most 1048576");
}

/* Distinct names by the thousand, where each is compared with those before it. */
static void test_many_names(void **state) {
    (void)state;
    static const struct {
        const char *head, *format, *tail, *expected;
    } cases[] = {
        {"block B(", "a%d, ", "z) { return z }", "more than 256 parameters"},
        {"param a = f(", "a%d = 1, ", ")", "more than 256 arguments"},
        {"recipe r {\n", "a%d = 1\n", "}\n", "more than 256 fields"},
        {"block B(x) {\n", "a%d = 1\n", "return x }", "more than 512 names"},
        {"model m {\n", "input a%d: f32[1]\n", "}", "more than 512 names"},
        {"model m {\n", "meta a%d = 1\n", "}", "more than 64 metas"},
        {"", "param a%d = 1\n", "", "more than 4096 items"},
        {"", "use \"no%d.cnx\"\n", "", "cannot read"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ir_text text = {0};
        ir_text_printf(&text, "%s", cases[i].head);
        for (int k = 0; text.length < most; k++) {
            char unit[64];
            snprintf(unit, sizeof unit, "%s", cases[i].format);
            char *hole = strstr(unit, "%d");
            ir_text_append(&text, unit, (size_t)(hole - unit));
            ir_text_printf(&text, "%d%s", k, hole + 2);
        }
        ir_text_printf(&text, "%s", cases[i].tail);
        check(text.data, cases[i].expected);
        ir_text_free(&text);
    }
}

/* 4000 parameters and half a megabyte of names that are looked up among them. */
static void test_many_lookups(void **state) {
    (void)state;
    ir_text text = {0};
    for (int i = 0; i < 4000; i++)
        ir_text_printf(&text, "param a%d = 1\n", i);
    ir_text_printf(&text, "model m {\nx = [");
    while (text.length < most)
        ir_text_printf(&text, "a3999, ");
    ir_text_printf(&text, "]\n}");
    check(text.data, "list of ");
    ir_text_free(&text);
}

static const char rest[] = "output y = x }";

static void check_body(const char *body, const char *expected) {
    ir_text text = {0};
    ir_text_printf(&text,
                   "block Id(x) { return x }\nblock Rec(x) { return Rec(x) }\n"
                   "block Ping(x) { return Pong(x) }\nblock Pong(x) { return Ping(x) }\n"
                   "block Two(x) { return Two(x) + Two(x) }\n"
                   "block Deep(x, n) { y = x\n if n > 0 { y = Deep(x, n - 1)\n"
                   " y = Deep(y, n - 1) }\n return y }\n"
                   "model m {\ninput x: f32[1, 8]\n%s\n%s",
                   body, rest);
    check(text.data, expected);
    ir_text_free(&text);
}

static void test_sizes(void **state) {
    (void)state;
    check_body("input z: f32[1000000000000000000]", "'shape' is 1000000000000000000, expected");
    check_body("input z: f32[1000000000, 1000000000, 1000000000]", "more than 2147483647 elements");
    check_body("input z: f32[1, 1, 1, 1, 1, 1, 1, 1]", "expected a list of at most 6");
    check_body("input z: f32[0]", "expected at least 1");
    check_body("input z: f32[-1]", "expected at least 1");
    check_body("y = a: linear(x, 1000000000000000000)", "expected a whole number from 1");
    check_body("y = a: linear(x, 16777216)\ny = b: linear(y, 16777216)", "larger than 2^46 bytes");
    check_body("y = reshape(x, [1000000000000000000])", "expected at most 1073741824");
    check_body("y = reshape(x, [1073741824, 1073741824, 1073741824])", "reshape");
    check_body("y = broadcast(x, [1073741824, 1073741824, 1073741824, 8])", "broadcast");
    check_body("y = a: parameter([1073741824, 1073741824, 1073741824])", "larger than 2^46 bytes");
    check_body("y = range(1000000000000000000)", "list of 1000000000000000000 elements");
    check_body("y = range(-9223372036854775807, 9223372036854775807)", "elements, at most 65536");
    check_body("y = linspace(0, 1, 1000000000000000000)", "elements, at most 65536");
    check_body("y = 9223372036854775807 + 1", "too large for a whole number");
    check_body("y = -9223372036854775807 - 2", "too large for a whole number");
    check_body("y = (-9223372036854775807 - 1) // -1", "too large for a whole number");
    check_body("y = -(-9223372036854775807 - 1)", "too large for a whole number");
    check_body("y = abs(-9223372036854775807 - 1)", "too large for a whole number");
    check_body("y = 3 ** 1000000000000000000", "too large for a whole number");
    check_body("y = 10.0 ** 1000000000", "not a finite number");
    check_body("y = int(1e300)", "at most 9.2e18");
    check_body("y = 0 ** -1", "not a finite number");
    check_body("y = (-8.0) ** 0.5", "not a finite number");
    check_body("y = unfold(reshape(x, [1, 2, 2, 2]), kernel = 1000000000, stride = 1, pad = 0)",
               "unfold");
    check_body("y = reshape(x, [1, 2, 2, 2])\nz = c: conv2d(y, 1, kernel = 1, stride = 1, "
               "pad = 10000000000)",
               "'pad' is 10000000000");
}

static void test_endless(void **state) {
    (void)state;
    check_body("y = Rec(x)", "deeper than 48 calls");
    check_body("y = Ping(x)", "deeper than 48 calls");
    check_body("y = Two(x)", "deeper than 48 calls");
    check_body("y = Deep(x, 40)", "more than 500000 steps");
    check_body(
        "for a in range(60000) { for b in range(60000) { for c in range(60000) { d = 1 } } }",
        "more than 500000 steps");
    check_body("y = [[[1 for a in range(60000)] for b in range(60000)] for c in range(60000)]",
               "more than 500000 steps");
    check_body("y = [[1 for a in range(300)] for b in range(300)]",
               "list of more than 65536 elements");
    check_body("for a in range(60000) { y = str(range(60000)) }", "'x' of str");
    check_body("for a in range(60000) { y = range(3000) }", "more than 500000 steps");
    check_body("for a in range(60000) { y = sum(range(3000)) }", "more than 500000 steps");
    check_body("for a in range(60000) { y = 5 in range(3000) }", "more than 500000 steps");
    check_body("z = range(60000)\nfor a in z { y = z == z }", "more than 500000 steps");
    check_body("z = range(60000)\nfor a in z { y = max(z) }", "more than 500000 steps");
    check_body("z = range(60000)\nfor a in z { meta n = z }", "more than 500000 steps");
    check_body("for a in range(60000) { x = x + x }", "more than 20000 nodes");
    check_body("for a in range(60000) { x = l.{a}: linear(x, 8) }", "more than 20000 nodes");
    check_body("for a in range(60000) { assert false, str(a) }", "0");
}

/* Values that double at each step. */
static void test_bombs(void **state) {
    (void)state;
    check_body("y = [1]\nfor a in range(60) { y = y + y }", "elements, at most 65536");
    check_body("y = [1]\nfor a in range(60) { y = [y, y] }", "nested deeper than 8 levels");
    check_body("y = [1]\nfor a in range(7) { y = [y, y, y, y, y, y, y, y, y, y] }",
               "list of more than 65536 elements");
    check_body("y = \"ab\"\nfor a in range(60) { y = y + y }", "at most 4096");
    check_body("y = \"a\"\nfor a in range(12) { y = y + y }\nfor a in range(60000) { meta k = y }",
               "more than 500000 steps");
    check_body("y = \"a\"\nfor a in range(12) { y = y + y }\nz = {y}: linear(x, 8)",
               "label of 4096 characters");
    check_body("y = \"a\"\nfor a in range(12) { y = y + y }\nz = a.{y}: linear(x, 8)",
               "label of 4098 characters");
    check_body("y = a.{\"b/c\"}: linear(x, 8)", "expected a whole number or a word");
}

/* ---- files ---- */

static char folder[200]; /* made by test_files */

static char *in_folder(const char *name) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text, size_t bytes) {
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void check_file(const char *name, const char *expected) {
    ir_diag *diag = ir_diag_new();
    assert_null(fe_load(in_folder(name), NULL, diag));
    assert_true(diag->errors > 0);
    if (!strstr(diag->messages[0].text, expected))
        fail_msg("expected '%s', found '%s'", expected, diag->messages[0].text);
    ir_diag_free(diag);
}

static void check_text_file(const char *text, const char *expected) {
    write_file("main.cnx", text, strlen(text));
    check_file("main.cnx", expected);
}

static void test_files(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/cnx-hostile-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
    check_text_file("use \"main.cnx\"", "uses itself");
    check_text_file("use \"./././main.cnx\"", "uses itself");
    write_file("a.cnx", "use \"b.cnx\"\n", 12);
    write_file("b.cnx", "use \"main.cnx\"\n", 15);
    check_text_file("use \"a.cnx\"", "uses itself, directly or through other files");
    check_text_file("use \"none.cnx\"", "No such file");
    check_text_file("use \".\"", "not a regular file");
    check_text_file("use \"/dev/zero\"", "not a regular file");
    check_text_file("use \"\"", "cannot read");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    check_text_file("use \"pipe\"", "not a regular file");
    write_file("nul.cnx", "param a\0= 1", 11);
    check_file("nul.cnx", "contains a NUL byte");
    check_file("none.cnx", "No such file");
    for (int i = 0; i < 70; i++) {
        char name[32], text[64];
        snprintf(name, sizeof name, "chain%d.cnx", i);
        snprintf(text, sizeof text, "use \"chain%d.cnx\"\n", i + 1);
        write_file(name, text, strlen(text));
    }
    check_file("chain0.cnx", "more than 64 files are used");
    char *comment = malloc(MEGABYTE);
    memset(comment, '#', MEGABYTE);
    ir_text uses = {0};
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "big%d.cnx", i);
        write_file(name, comment, MEGABYTE);
        ir_text_printf(&uses, "use \"%s\"\n", name);
    }
    check_text_file(uses.data, "more than 4194304 bytes together");
    ir_text_free(&uses);
    free(comment);
    char command[300];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nesting),    cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_many_names), cmocka_unit_test(test_many_lookups),
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_endless),
        cmocka_unit_test(test_bombs),      cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
