/* Learning rates by step, against numbers computed by hand; signals. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_schedule.h"
#include "rt_signal.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_rate(const rt_schedule *s, int64_t step, double rate) {
    double found = rt_schedule_rate(s, step);
    if (fabs(found - rate) > 1e-12 * (1 + fabs(rate)))
        fail_msg("step %lld: %.17g, expected %.17g", (long long)step, found, rate);
}

static void test_cosine(void **state) {
    (void)state;
    rt_schedule s = {.peak = 4e-3, .least = 1e-6, .warmup_steps = 10, .steps = 110, .cosine = true};
    expect_rate(&s, 0, 0);
    expect_rate(&s, 1, 4e-4);
    expect_rate(&s, 9, 3.6e-3);
    expect_rate(&s, 10, 4e-3);                                       /* t = 0 */
    expect_rate(&s, 35, 1e-6 + (4e-3 - 1e-6) * (1 + sqrt(0.5)) / 2); /* t = 1/4 */
    expect_rate(&s, 60, (4e-3 + 1e-6) / 2);                          /* t = 1/2 */
    expect_rate(&s, 85, 1e-6 + (4e-3 - 1e-6) * (1 - sqrt(0.5)) / 2);
    expect_rate(&s, 109, 1e-6 + (4e-3 - 1e-6) * (1 + cos(acos(-1) * 0.99)) / 2);
}

static void test_other_shapes(void **state) {
    (void)state;
    rt_schedule constant = {.peak = 0.5, .least = 0.1, .warmup_steps = 4, .steps = 8};
    expect_rate(&constant, 2, 0.25);
    expect_rate(&constant, 4, 0.5);
    expect_rate(&constant, 7, 0.5);
    rt_schedule at_once = {.peak = 1, .steps = 4, .cosine = true};
    expect_rate(&at_once, 0, 1);
    expect_rate(&at_once, 2, 0.5);
    rt_schedule part = {.peak = 1, .warmup_steps = 2.5, .steps = 10}; /* half a step of warm-up */
    expect_rate(&part, 2, 0.8);
    expect_rate(&part, 3, 1);
    rt_schedule only_warm = {.peak = 1, .warmup_steps = 8, .steps = 4, .cosine = true};
    expect_rate(&only_warm, 3, 0.375);
}

/* It never rises after the warm-up and never leaves [least, peak]. */
static void test_monotonic(void **state) {
    (void)state;
    rt_schedule s = {.peak = 1, .least = 0.01, .warmup_steps = 20, .steps = 500, .cosine = true};
    for (int64_t step = 20; step < 500; step++) {
        double rate = rt_schedule_rate(&s, step);
        assert_true(rate >= 0.01 && rate <= 1);
        if (step > 20) assert_true(rate < rt_schedule_rate(&s, step - 1));
    }
}

static void test_first_signal(void **state) {
    (void)state;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < 3; i++) {
        signal(numbers[i], SIG_DFL);
        rt_signal_watch();
        assert_false(rt_signal_stop());
        raise(numbers[i]);
        assert_true(rt_signal_stop());
    }
}

/* The process ends by the signal itself, so that a shell sees what happened. */
static void test_second_signal(void **state) {
    (void)state;
    static const int pairs[][2] = {
        {SIGINT, SIGINT}, {SIGTERM, SIGTERM}, {SIGINT, SIGTERM}, {SIGHUP, SIGINT}};
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            rt_signal_watch();
            raise(pairs[i][0]);
            raise(pairs[i][1]);
            _exit(1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), pairs[i][1]);
    }
}

/* A closed terminal sends SIGHUP twice, the shell's and its own. */
static void test_hang_up(void **state) {
    (void)state;
    rt_signal_watch();
    raise(SIGHUP);
    raise(SIGHUP);
    assert_true(rt_signal_stop());
}

/* As under nohup, or in the background of a script. */
static void test_ignored_signals(void **state) {
    (void)state;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < 3; i++) {
        signal(numbers[i], SIG_IGN);
        rt_signal_watch();
        raise(numbers[i]);
        raise(numbers[i]);
        assert_false(rt_signal_stop());
        signal(numbers[i], SIG_DFL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cosine),          cmocka_unit_test(test_other_shapes),
        cmocka_unit_test(test_monotonic),       cmocka_unit_test(test_first_signal),
        cmocka_unit_test(test_second_signal),   cmocka_unit_test(test_hang_up),
        cmocka_unit_test(test_ignored_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
