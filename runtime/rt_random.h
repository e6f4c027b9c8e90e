/* Random numbers by counter: Philox4x32-10 (Salmon et al., SC 2011). A number depends on the seed
 * and its place (step, stream, sample, index) alone, never on what was drawn before. Compiled
 * programs use the same mapping: key = the two halves of the seed, counter = low words of (index,
 * sample, stream, step), uniform = (first word >> 8) * 2^-24. */
#ifndef RT_RANDOM_H
#define RT_RANDOM_H

#include <stdint.h>

typedef struct rt_place {
    uint32_t step, stream, sample, index;
} rt_place;

void rt_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* The first word at a place. */
uint32_t rt_random_word(uint64_t seed, rt_place place);
/* In [0, 1). */
float rt_random_uniform(uint64_t seed, rt_place place);
/* A whole number in [0, bound), bound >= 1, without bias that matters (bound < 2^31: multiply-shift
 * of 64 random bits). */
int64_t rt_random_below(uint64_t seed, rt_place place, int64_t bound);
/* Standard normal (Box-Muller on the four words of a place, in double). */
double rt_random_normal(uint64_t seed, rt_place place);
/* order[0..count) becomes a permutation of 0..count-1 (Fisher-Yates; draw i is index i). */
void rt_random_permutation(uint64_t seed, rt_place place, int32_t *order, int64_t count);

/* Streams of the runtime; programs count theirs from 0. */
enum {
    RT_STREAM_SHUFFLE = 0x10000,
    RT_STREAM_AUGMENT = 0x20000,
    RT_STREAM_INIT = 0x30000,
    RT_STREAM_SUBSET = 0x40000,
    RT_STREAM_MASK = 0x50000
};

#endif
