/* The test harness itself: a program of this kind is built, linked with every library of the
 * project, found by CTest, and can fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The tests find their data through these; a wrong path would make later tests skip silently. */
static void test_paths_exist(void **state) {
    (void)state;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/tests/CMakeLists.txt", CNX_TEST_SOURCE_DIR);
    assert_in_range(n, 1, sizeof path - 1);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    fclose(f);
}

/* Contraction would make a*b+c differ between builds; -ffp-contract=off must be in force. */
static void test_no_contraction(void **state) {
    (void)state;
    volatile float a = 1.0f + 0x1p-12f, b = 1.0f - 0x1p-12f, c = -1.0f;
    float product = a * b;
    assert_true(a * b + c == product + c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_exist),
        cmocka_unit_test(test_no_contraction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
