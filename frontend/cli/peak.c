#include "peak.h"

#include "progress.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* The chains must stay in registers in every build. */
#if defined(__clang__)
#define PEAK_TARGET(features) __attribute__((target(features), noinline))
#else
#define PEAK_TARGET(features)                                                                      \
    __attribute__((target(features), optimize("O3,unroll-loops"), noinline))
#endif

enum { CHAINS = 12, ROUNDS = 20000 }; /* enough chains to hide the latency of two units */

/* Twelve independent chains of fused multiply-adds; the sum keeps them alive. */
#define PEAK_BODY(vector, set, fma, sum_of)                                                        \
    vector chain[CHAINS], a = set(0.999999f), b = set(1e-6f);                                      \
    for (int c = 0; c < CHAINS; c++)                                                               \
        chain[c] = set((float)c);                                                                  \
    for (int r = 0; r < ROUNDS; r++)                                                               \
        for (int c = 0; c < CHAINS; c++)                                                           \
            chain[c] = fma(chain[c], a, b);                                                        \
    float total = 0;                                                                               \
    for (int c = 0; c < CHAINS; c++)                                                               \
        total += sum_of(chain[c]);                                                                 \
    return total

PEAK_TARGET("avx2,fma") static float chains_256(void) {
    PEAK_BODY(__m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_cvtss_f32);
}

PEAK_TARGET("avx512f") static float chains_512(void) {
    PEAK_BODY(__m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_cvtss_f32);
}

double cli_fma_peak(void) {
    float (*chains)(void) = NULL;
    double lanes = 0;
    if (__builtin_cpu_supports("avx512f"))
        chains = chains_512, lanes = 16;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        chains = chains_256, lanes = 8;
    if (!chains) return 0;
    volatile float sink = chains(); /* the first run wakes the vector units */
    double best = 0, end = cli_seconds() + 0.05;
    do {
        double start = cli_seconds();
        sink = chains();
        double rate = 2 * lanes * CHAINS * ROUNDS / (cli_seconds() - start) * 1e-9;
        if (rate > best) best = rate;
    } while (cli_seconds() < end);
    (void)sink;
    return best;
}

#else

double cli_fma_peak(void) {
    return 0;
}

#endif
