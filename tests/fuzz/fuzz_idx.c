/* Any bytes as an IDX file, packed or not: a message, or as many bytes as its dimensions say. */
#include "fuzz.h"
#include "rt_idx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const corpus[] = {"tests/fuzz/idx/*", NULL};
static const char *const words[] = {"\x1f\x8b\x08", "\xff\xff\xff\xff", "\x08\x03", "\x08\x01",
                                    NULL};

const struct fuzz_target fuzz_target = {
    .name = "fuzz_idx", .corpus = corpus, .dictionary = words, .max_size = 1 << 16};

static void check(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "fuzz_idx: %s\n", what);
    abort();
}

void fuzz_one(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size + (size == 0)); /* exactly as long, for the sanitizer */
    check(copy != NULL, "out of memory");
    memcpy(copy, data, size);
    for (int rank = 1; rank <= RT_IDX_MAX_RANK; rank++) {
        rt_idx idx;
        rt_error error = {.text = ""};
        if (rt_idx_parse("f", copy, size, rank, &idx, &error)) {
            int64_t bytes = 1;
            for (int i = 0; i < rank; i++)
                bytes *= idx.dim[i];
            volatile uint8_t last = 0;
            for (int64_t i = 0; i < bytes; i++)
                last = idx.data[i];
            (void)last;
            rt_idx_free(&idx);
        } else {
            check(error.text[0] != 0, "refused without a message");
            check(idx.data == NULL, "data after an error");
        }
    }
    free(copy);
}
