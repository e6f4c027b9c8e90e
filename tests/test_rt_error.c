/* Texts of errors and checked sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_error.h"

#include <errno.h>
#include <string.h>

static void test_fail(void **state) {
    (void)state;
    rt_error error;
    assert_false(rt_fail(&error, "w: %d of %s", 3, "x"));
    assert_string_equal(error.text, "w: 3 of x");
    assert_false(rt_fail(&error, "again: %s", error.text)); /* the old text as an argument */
    assert_string_equal(error.text, "again: w: 3 of x");
}

static void test_fail_in(void **state) {
    (void)state;
    rt_error error;
    rt_fail(&error, "dtype is missing");
    assert_false(rt_fail_in(&error, "tensor '%s'", "a"));
    assert_false(rt_fail_in(&error, "f.safetensors"));
    assert_string_equal(error.text, "f.safetensors: tensor 'a': dtype is missing");
}

static void test_fail_errno(void **state) {
    (void)state;
    rt_error error;
    errno = ENOENT;
    assert_false(rt_fail_errno(&error, "cannot open '%s'", "f"));
    assert_string_equal(error.text, "cannot open 'f': No such file or directory");
}

/* Whatever is put in, the text ends inside of its room. */
static void test_long_texts(void **state) {
    (void)state;
    static char word[5000];
    memset(word, 'a', sizeof word - 1);
    rt_error error;
    rt_fail(&error, "%s", word);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    rt_fail_in(&error, "where");
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_memory_equal(error.text, "where: aaa", 10);
    errno = EIO;
    rt_fail_errno(&error, "%s", word);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
}

static void test_sizes(void **state) {
    (void)state;
    int64_t r = -1;
    assert_true(rt_multiply(3, 5, &r));
    assert_int_equal(r, 15);
    assert_true(rt_multiply(0, INT64_MAX, &r));
    assert_int_equal(r, 0);
    assert_true(rt_multiply((int64_t)1 << 31, (int64_t)1 << 31, &r));
    assert_false(rt_multiply((int64_t)1 << 32, (int64_t)1 << 31, &r));
    assert_false(rt_multiply(-1, 1, &r));
    assert_false(rt_multiply(1, -1, &r));
    assert_true(rt_add(INT64_MAX - 1, 1, &r));
    assert_true(r == INT64_MAX);
    assert_false(rt_add(INT64_MAX, 1, &r));
    assert_false(rt_add(-1, 5, &r));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),       cmocka_unit_test(test_fail_in),
        cmocka_unit_test(test_fail_errno), cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
