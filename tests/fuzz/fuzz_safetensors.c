/* Any bytes as a safetensors file: they end in a message or in tensors whose every byte can be
 * read, and which are the same after writing and reading. */
#include "fuzz.h"
#include "rt_safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const corpus[] = {"tests/fuzz/safetensors/*", NULL};
static const char *const words[] = {
    "\"__metadata__\":{\"k\":\"v\"}",
    "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}",
    "\"dtype\":",
    "\"shape\":[",
    "\"data_offsets\":[0,4]",
    "\"F16\"",
    "\"BF16\"",
    "\"I64\"",
    "\"U8\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    NULL};

const struct fuzz_target fuzz_target = {
    .name = "fuzz_safetensors", .corpus = corpus, .dictionary = words, .max_size = 1 << 16};

static void check(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "fuzz_safetensors: %s\n", what);
    abort();
}

/* Converts a tensor both ways; the sum keeps the compiler from leaving the reads out. */
static double read_all(const rt_tensor *t) {
    size_t elements = (size_t)rt_tensor_elements(t);
    float *floats = malloc((elements + 1) * sizeof *floats);
    int64_t *wholes = malloc((elements + 1) * sizeof *wholes);
    check(floats && wholes, "out of memory");
    rt_error error;
    double sum = 0;
    if (rt_tensor_to_f32(t, floats, &error))
        for (size_t i = 0; i < elements; i++)
            sum += (double)floats[i];
    if (rt_tensor_to_i64(t, wholes, &error))
        for (size_t i = 0; i < elements; i++)
            sum += (double)wholes[i];
    const unsigned char *bytes = t->data;
    for (size_t i = 0; i < elements * (size_t)rt_dtype_bytes(t->dtype); i++)
        sum += bytes[i];
    free(floats);
    free(wholes);
    return sum;
}

/* Half of the inputs get a length that fits, so that mutations reach what is behind it. */
static void mend_length(uint8_t *data, size_t size) {
    if (size < 16 || data[8] != '{') return;
    const uint8_t *end = memchr(data, '\n', size);
    uint64_t length = end ? (uint64_t)(end - data - 8) : size - 8;
    if (data[size - 1] & 1) memcpy(data, &length, sizeof length);
}

void fuzz_one(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size + (size == 0)); /* exactly as long, for the sanitizer */
    check(copy != NULL, "out of memory");
    memcpy(copy, data, size);
    mend_length(copy, size);
    rt_error error = {.text = ""};
    rt_tensors *file = rt_tensors_parse("f", copy, size, &error);
    check(file || error.text[0], "refused without a message");
    volatile double sum = 0;
    for (size_t i = 0; file && i < rt_tensors_count(file); i++) {
        const rt_tensor *t = rt_tensors_at(file, i);
        check(rt_tensors_find(file, t->name) == t, "a tensor is not found by its name");
        sum = sum + read_all(t);
    }
    for (size_t i = 0; file && i < rt_tensors_pair_count(file); i++) {
        const rt_pair *pair = rt_tensors_pair_at(file, i);
        check(rt_tensors_metadata(file, pair->key) == pair->value, "metadata are not found");
    }
    rt_tensors_close(file);
    free(copy);
}
