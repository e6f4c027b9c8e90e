/* Random numbers against published vectors, and the distributions made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eval.h"
#include "rt_init.h"
#include "rt_random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* kat_vectors of Random123, philox4x32 with 10 rounds. */
static void test_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        rt_philox(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].out, sizeof out);
        ir_philox(known[i].key, known[i].counter, out); /* compiled programs' reference */
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

/* The mapping of a place to key and counter, which programs share. */
static void test_place(void **state) {
    (void)state;
    uint64_t seed = 0x299f31d0a4093822u;
    rt_place place = {
        .index = 0x243f6a88, .sample = 0x85a308d3, .stream = 0x13198a2e, .step = 0x03707344};
    assert_int_equal(rt_random_word(seed, place), 0xd16cfe09);
    assert_true(rt_random_uniform(seed, place) == (float)(0xd16cfe09 >> 8) * 0x1p-24f);
    assert_int_equal(rt_random_word(0, (rt_place){0}), 0x6627e8d5);
}

static void test_uniform(void **state) {
    (void)state;
    enum { DRAWS = 200000 };
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        double u = (double)rt_random_uniform(5, (rt_place){.step = 3, .index = i});
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    double mean = sum / DRAWS; /* its deviation is 1 / sqrt(12 DRAWS) = 0.00065 */
    assert_true(fabs(mean - 0.5) < 0.003);
    assert_true(fabs(squares / DRAWS - 1.0 / 3) < 0.003);
}

static void test_below(void **state) {
    (void)state;
    enum { BOUND = 7, DRAWS = 70000 };
    int count[BOUND] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        int64_t k = rt_random_below(1, (rt_place){.index = i}, BOUND);
        assert_in_range(k, 0, BOUND - 1);
        count[k]++;
    }
    for (int k = 0; k < BOUND; k++) /* deviation: sqrt(70000 * 6/49) = 93 */
        assert_in_range(count[k], DRAWS / BOUND - 450, DRAWS / BOUND + 450);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(rt_random_below(9, (rt_place){.index = i}, 1), 0);
        int64_t large = rt_random_below(9, (rt_place){.index = i}, INT32_MAX);
        assert_in_range(large, 0, INT32_MAX - 1);
    }
    /* Exactly floor(r * bound / 2^64) of the first two words. */
    unsigned __int128 r = (uint64_t)0xe169c58d << 32 | 0x6627e8d5;
    assert_int_equal(rt_random_below(0, (rt_place){0}, 1000003), (int64_t)(r * 1000003 >> 64));
}

static void test_permutation(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    static int32_t order[COUNT], again[COUNT], other[COUNT], seen[COUNT];
    rt_place place = {.step = 4, .stream = RT_STREAM_SHUFFLE};
    rt_random_permutation(11, place, order, COUNT);
    rt_random_permutation(11, place, again, COUNT);
    assert_memory_equal(order, again, sizeof order);
    int fixed = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(order[i], 0, COUNT - 1);
        assert_int_equal(seen[order[i]]++, 0);
        fixed += order[i] == i;
    }
    assert_true(fixed < 10); /* one is expected */
    place.step = 5;
    rt_random_permutation(11, place, other, COUNT);
    assert_memory_not_equal(order, other, sizeof order);
    rt_random_permutation(12, place, again, COUNT);
    assert_memory_not_equal(again, other, sizeof order);
    rt_random_permutation(1, place, order, 1);
    assert_int_equal(order[0], 0);
    rt_random_permutation(1, place, NULL, 0);
}

/* All orders of four things are about equally frequent. */
static void test_permutation_is_fair(void **state) {
    (void)state;
    enum { DRAWS = 24000 };
    static int count[256];
    for (uint32_t i = 0; i < DRAWS; i++) {
        int32_t o[4];
        rt_random_permutation(3, (rt_place){.step = i}, o, 4);
        count[o[0] << 6 | o[1] << 4 | o[2] << 2 | o[3]]++;
    }
    int orders = 0;
    for (int i = 0; i < 256; i++) {
        if (count[i] == 0) continue;
        orders++;
        assert_in_range(count[i], 1000 - 160, 1000 + 160); /* deviation 31 */
    }
    assert_int_equal(orders, 24);
}

typedef struct moments {
    double mean, deviation, fourth, least, most;
} moments;

static moments measure(const float *x, int64_t count) {
    moments m = {.least = INFINITY, .most = -INFINITY};
    for (int64_t i = 0; i < count; i++)
        m.mean += (double)x[i] / (double)count;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)x[i] - m.mean;
        m.deviation += d * d / (double)count;
        m.fourth += d * d * d * d / (double)count;
        m.least = fmin(m.least, (double)x[i]);
        m.most = fmax(m.most, (double)x[i]);
    }
    m.deviation = sqrt(m.deviation);
    m.fourth /= pow(m.deviation, 4);
    return m;
}

enum { VALUES = 200000 };

static moments fill(const char *rule, double std) {
    static float x[VALUES];
    assert_true(rt_init_fill(rule, std, 42, 7, x, VALUES));
    return measure(x, VALUES);
}

static void test_normal(void **state) {
    (void)state;
    moments m = fill("normal", 0.02);
    assert_true(fabs(m.mean) < 0.02 * 0.012);
    assert_true(fabs(m.deviation - 0.02) < 0.02 * 0.01);
    assert_true(fabs(m.fourth - 3) < 0.06);
    assert_true(m.most > 0.02 * 4 && m.least < -0.02 * 4);
}

/* Deviation of a normal cut at +-2: for std 1 it is sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) = 0.87963;
 * for a very wide one, that of a uniform over 4, 1.1547. */
static void test_trunc_normal(void **state) {
    (void)state;
    static const struct {
        double std, deviation;
    } cases[] = {{0.02, 0.02}, {1, 0.87963}, {2, 1.07912}, {1000, 1.154701}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        moments m = fill("trunc_normal", cases[i].std);
        assert_true(m.least >= -2 && m.most <= 2);
        assert_true(fabs(m.mean) < 0.012 * cases[i].deviation);
        assert_true(fabs(m.deviation / cases[i].deviation - 1) < 0.008);
    }
}

static void test_constants(void **state) {
    (void)state;
    assert_true(fill("zeros", 3).most == 0 && fill("zeros", 3).least == 0);
    assert_true(fill("ones", 3).most == 1 && fill("ones", 3).least == 1);
    moments m = fill("constant", -0.25);
    assert_true(m.most == -0.25 && m.least == -0.25);
    m = fill("normal", 0);
    assert_true(m.most == 0 && m.least == 0);
}

static void test_rules(void **state) {
    (void)state;
    float x[4] = {9, 9, 9, 9};
    assert_false(rt_init_fill("uniform", 1, 0, 0, x, 4));
    assert_false(rt_init_fill("", 1, 0, 0, x, 4));
    assert_false(rt_init_fill("normal", -1, 0, 0, x, 4));
    assert_false(rt_init_fill("trunc_normal", (double)NAN, 0, 0, x, 4));
    assert_false(rt_init_fill("normal", (double)INFINITY, 0, 0, x, 4));
    assert_true(x[0] == 9 && x[3] == 9);
    assert_true(rt_init_fill("normal", 1, 0, 0, x, 0));
}

/* A value depends on seed, number and element: not on the count, and each of the three matters. */
static void test_init_places(void **state) {
    (void)state;
    float all[100], part[10], other[100];
    assert_true(rt_init_fill("trunc_normal", 0.5, 1, 2, all, 100));
    assert_true(rt_init_fill("trunc_normal", 0.5, 1, 2, part, 10));
    assert_memory_equal(all, part, sizeof part);
    assert_true(rt_init_fill("trunc_normal", 0.5, 2, 2, other, 100));
    assert_memory_not_equal(all, other, sizeof all);
    assert_true(rt_init_fill("trunc_normal", 0.5, 1, 3, other, 100));
    assert_memory_not_equal(all, other, sizeof all);
    for (int i = 1; i < 100; i++)
        assert_true(all[i] != all[i - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_place),
        cmocka_unit_test(test_uniform),       cmocka_unit_test(test_below),
        cmocka_unit_test(test_permutation),   cmocka_unit_test(test_permutation_is_fair),
        cmocka_unit_test(test_normal),        cmocka_unit_test(test_trunc_normal),
        cmocka_unit_test(test_constants),     cmocka_unit_test(test_rules),
        cmocka_unit_test(test_init_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
