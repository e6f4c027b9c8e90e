/* The parallel-for: every task once, on a worker that its number fixes.
 * cnx-test: tsan */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_parallel.h"

#include <sched.h>
#include <string.h>

enum { MOST_TASKS = 100 };

typedef struct record {
    int runs[MOST_TASKS];       /* how often a task ran */
    int64_t worker[MOST_TASKS]; /* on which worker */
} record;

static void note(void *argument, int64_t task, int64_t worker) {
    record *r = argument;
    r->runs[task]++;
    r->worker[task] = worker;
}

static record run(int64_t count, int64_t tasks, int64_t workers) {
    record r = {0};
    cnx_threads threads = rt_threads(count);
    threads.parallel_for(threads.context, tasks, workers, note, &r);
    return r;
}

static void test_every_task_once(void **state) {
    (void)state;
    static const int64_t tasks[] = {0, 1, 2, 3, 7, 64, MOST_TASKS};
    for (int64_t count = 1; count <= 5; count++)
        for (int64_t workers = 1; workers <= 6; workers++)
            for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
                record r = run(count, tasks[i], workers);
                int64_t most = workers < count ? workers : count;
                for (int64_t t = 0; t < MOST_TASKS; t++) {
                    assert_int_equal(r.runs[t], t < tasks[i]);
                    if (t < tasks[i]) assert_in_range(r.worker[t], 0, most - 1);
                    if (t > 0 && t < tasks[i]) assert_true(r.worker[t] >= r.worker[t - 1]);
                }
            }
}

/* Shares differ by one task at most, and are the same in every run. */
static void test_even_shares(void **state) {
    (void)state;
    record first = run(3, 20, 3);
    int64_t share[3] = {0};
    for (int t = 0; t < 20; t++)
        share[first.worker[t]]++;
    assert_int_equal(share[0], 7);
    assert_int_equal(share[1], 7);
    assert_int_equal(share[2], 6);
    for (int round = 0; round < 50; round++) {
        run(3, 2, 2); /* a smaller region between must not move anything */
        record again = run(3, 20, 3);
        assert_memory_equal(again.worker, first.worker, sizeof first.worker);
    }
}

static void test_counts(void **state) {
    (void)state;
    assert_int_equal(rt_threads(4).count, 4);
    assert_int_equal(rt_threads(0).count, 1);
    assert_int_equal(rt_threads(-3).count, 1);
    assert_true(rt_cores() >= 1);
    assert_true(rt_cores() <= CPU_SETSIZE);
}

/* A process that may run on one core gets one. */
static void test_affinity(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(rt_cores(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

/* What tasks write before the end of a region is seen after it. */
static void add_neighbour(void *argument, int64_t task, int64_t worker) {
    (void)worker;
    int64_t *v = argument;
    v[MOST_TASKS + task] = v[(task + 1) % MOST_TASKS] + 1;
}

static void copy_back(void *argument, int64_t task, int64_t worker) {
    (void)worker;
    int64_t *v = argument;
    v[task] = v[MOST_TASKS + task];
}

static void test_order_of_regions(void **state) {
    (void)state;
    cnx_threads threads = rt_threads(2);
    int64_t v[2 * MOST_TASKS] = {0};
    enum { ROUNDS = 500 };
    for (int i = 0; i < ROUNDS; i++) {
        threads.parallel_for(threads.context, MOST_TASKS, 2, add_neighbour, v);
        threads.parallel_for(threads.context, MOST_TASKS, 2, copy_back, v);
    }
    for (int t = 0; t < MOST_TASKS; t++)
        assert_int_equal(v[t], ROUNDS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_once), cmocka_unit_test(test_even_shares),
        cmocka_unit_test(test_counts),          cmocka_unit_test(test_order_of_regions),
        cmocka_unit_test(test_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
