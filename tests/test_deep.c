/* Deep networks: lowering takes memory in proportion to the nodes, and no recursion as deep as the
 * network is. A thousand layers with 22,000 nodes make a plan within 900 MB of addresses and a
 * stack of 256 KB. cnx-test: release
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli_case.h"

static const char deep[] = "model deep {\n"
                           "    input x: f32[batch, 4]\n"
                           "    for i in range(1000) {\n"
                           "        y = {i}: linear(x, 4)\n"
                           "        x = x + gelu(y)\n"
                           "    }\n"
                           "    output logits = x\n"
                           "    if training { output loss = mean(square(x), axes = [0, 1]) }\n"
                           "}\n";

static void lowering_takes_little_memory(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_write(&t, "deep.cnx", deep, sizeof deep - 1);
    int code =
        cli_case_shell(&t, "ulimit -v 900000 && ulimit -s 256 && '" CNX_TEST_CNXC
                           "' deep.cnx --train --emit-plan -o deep.plan && head -n 1 deep.plan");
    if (code) print_error("exit %d: %s\n", code, t.err);
    assert_int_equal(code, 0);
    assert_memory_equal(t.out, "plan deep train batch ", 22);
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lowering_takes_little_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
