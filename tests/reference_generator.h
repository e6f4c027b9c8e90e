/* The numbers of tests/reference/generator.py, bit for bit: first weights and inputs of reference
 * cases, and sketches, which stand for tensors too large to be committed.
 *
 * Element i of a tensor is word i % 4 of the Philox block at counter (i / 4, 0, stream, 0), with
 * stream = FNV-1a of the tensor's name; values are offset + half * t with t in (-1, 1) of 25 bits,
 * so nothing here depends on how a compiler rounds.
 */
#ifndef REFERENCE_GENERATOR_H
#define REFERENCE_GENERATOR_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_random.h"
#include "rt_safetensors.h"

enum { REF_SEED = 20230102, REF_PROJECTIONS = 8 };

/* Parameters whose name ends so are multiplied by this power of two. */
typedef struct ref_factor {
    const char *end;
    float factor;
} ref_factor;

static inline bool ref_ends_with(const char *name, const char *end) {
    size_t a = strlen(name), b = strlen(end);
    return a >= b && strcmp(name + a - b, end) == 0;
}

static inline uint32_t ref_stream(const char *name) {
    uint32_t value = 0x811C9DC5u;
    for (; *name; name++)
        value = (value ^ (uint8_t)*name) * 0x01000193u;
    return value;
}

/* Words 4 block .. 4 block + 3 of a stream. */
static inline void ref_words(uint32_t stream, uint64_t block, uint32_t word[4]) {
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), stream, 0};
    rt_philox(counter, (const uint32_t[]){REF_SEED, 0}, word);
}

/* The table SCALES of generator.py. False if a name has no row. */
static inline bool ref_scale(const rt_tensor *t, double *offset, float *half) {
    static const struct {
        const char *end;
        int least, most; /* rank */
        double offset, half;
    } scales[] = {
        {"image", 4, 4, 0, 1.7320508075688772},
        {"grn.weight", 1, 1, 0.25, 0.75},
        {"grn.bias", 1, 1, 0, 0.5},
        {"gamma", 1, 1, 0.5, 0.375},
        {"running_mean", 1, 1, 0, 0.25},
        {"running_var", 1, 1, 1, 0.5},
        {"_token", 4, 4, 0, 1},
        {"se.fc1.bias", 1, 1, 0.75, 0.25},
        {"cbam.fc1.bias", 1, 1, 0.5, 0.5},
        {".bias", 1, 1, 0, 0.25},
        {".weight", 1, 1, 1, 0.375},
        {".weight", 2, 4, 0, 0},
    };
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        if (!ref_ends_with(t->name, scales[i].end)) continue;
        if (t->rank < scales[i].least || t->rank > scales[i].most) continue;
        int64_t fan_in = 1;
        for (int d = 1; d < t->rank; d++)
            fan_in *= t->dim[d];
        *offset = scales[i].offset;
        *half = (float)(scales[i].half > 0 ? scales[i].half : sqrt(3.0 / (double)fan_in));
        return true;
    }
    return false;
}

/* Fills a tensor by its name and shape; factors end with {0}. False if its name has no scale. */
static inline bool ref_fill(const rt_tensor *t, const ref_factor *factors, float *out) {
    double offset;
    float half, factor = 1;
    if (!ref_scale(t, &offset, &half)) return false;
    for (; factors && factors->end; factors++)
        if (ref_ends_with(t->name, factors->end)) factor *= factors->factor;
    uint32_t stream = ref_stream(t->name), word[4];
    int64_t count = rt_tensor_elements(t);
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) ref_words(stream, (uint64_t)i / 4, word);
        double x = (double)((word[i % 4] >> 8) * 2 + 1) * 0x1p-24 - 1;
        out[i] = (float)(offset + (double)half * x) * factor;
    }
    return true;
}

static inline void ref_labels(int64_t count, int64_t classes, int64_t *label) {
    uint32_t stream = ref_stream("label"), word[4];
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) ref_words(stream, (uint64_t)i / 4, word);
        label[i] = word[i % 4] % classes;
    }
}

/* mask (count, patches), 1 = removed: the `kept` patches of a row with the smallest words stay. */
static inline void ref_masks(int64_t count, int64_t patches, int64_t kept, float *mask) {
    uint32_t stream = ref_stream("mask"), block[4];
    uint32_t *word = malloc((size_t)(count * patches) * sizeof *word);
    for (int64_t i = 0; i < count * patches; i++) {
        if (i % 4 == 0) ref_words(stream, (uint64_t)i / 4, block);
        word[i] = block[i % 4];
    }
    for (int64_t i = 0; i < count * patches; i++) {
        const uint32_t *row = word + i / patches * patches;
        int64_t smaller = 0;
        for (int64_t j = 0; j < patches; j++)
            smaller += row[j] < word[i] || (row[j] == word[i] && j < i % patches);
        mask[i] = smaller < kept ? 0 : 1;
    }
    free(word);
}

/* The norm of a tensor and its products with REF_PROJECTIONS random vectors of -1 and 1. The mean
 * of squares of the products of a difference estimates the square of its norm. */
static inline void ref_sketch(const char *name, const double *value, int64_t count,
                              double sketch[1 + REF_PROJECTIONS]) {
    char full[512];
    uint32_t word[4];
    snprintf(full, sizeof full, "sketch %s", name);
    uint32_t stream = ref_stream(full);
    memset(sketch, 0, (1 + REF_PROJECTIONS) * sizeof *sketch);
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) ref_words(stream, (uint64_t)i / 4, word);
        sketch[0] += value[i] * value[i];
        for (int k = 0; k < REF_PROJECTIONS; k++)
            sketch[1 + k] += word[i % 4] >> k & 1 ? value[i] : -value[i];
    }
    sketch[0] = sqrt(sketch[0]);
}

#endif
