/* Philox4x32-10 and what is drawn with it. */
#include "rt_random.h"

#include <math.h>
#include <string.h>

void rt_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u; /* golden ratio and sqrt(3) - 1, as in the paper */
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void draw(uint64_t seed, rt_place place, uint32_t word[4]) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t counter[4] = {place.index, place.sample, place.stream, place.step};
    rt_philox(counter, key, word);
}

uint32_t rt_random_word(uint64_t seed, rt_place place) {
    uint32_t word[4];
    draw(seed, place, word);
    return word[0];
}

float rt_random_uniform(uint64_t seed, rt_place place) {
    return (float)(rt_random_word(seed, place) >> 8) * 0x1p-24f;
}

int64_t rt_random_below(uint64_t seed, rt_place place, int64_t bound) {
    uint32_t word[4];
    draw(seed, place, word);
    /* The upper half of (word1:word0) * bound, in two steps that fit 64 bits. */
    uint64_t high = (uint64_t)word[1] * (uint64_t)bound;
    uint64_t low = (uint64_t)word[0] * (uint64_t)bound;
    return (int64_t)((high + (low >> 32)) >> 32);
}

double rt_random_normal(uint64_t seed, rt_place place) {
    uint32_t word[4];
    draw(seed, place, word);
    /* 53 bits each; the first in (0, 1], so that its logarithm is finite. */
    uint64_t a = ((uint64_t)word[1] << 32 | word[0]) >> 11;
    uint64_t b = ((uint64_t)word[3] << 32 | word[2]) >> 11;
    double u = (double)(a + 1) * 0x1p-53, v = (double)b * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

void rt_random_permutation(uint64_t seed, rt_place place, int32_t *order, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        order[i] = (int32_t)i;
    for (int64_t i = count - 1; i > 0; i--) {
        place.index = (uint32_t)i;
        int64_t j = rt_random_below(seed, place, i + 1);
        int32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
