/* Any bytes as a PyTorch checkpoint: a message, or tensors whose every byte can be read.
 *
 * An input that begins as a zip archive does is taken as one; any other is a pickle, and an archive
 * with right checksums and two storages is put around it. */
#include "fuzz.h"
#include "rt_torch.h"
#include "rt_zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const corpus[] = {"tests/fuzz/torch/*", NULL};
static const char *const words[] = {"ccollections\nOrderedDict\n",
                                    "ctorch._utils\n_rebuild_tensor_v2\n",
                                    "ctorch._utils\n_rebuild_parameter\n",
                                    "ctorch\nFloatStorage\n",
                                    "ctorch\nLongStorage\n",
                                    "cargparse\nNamespace\n",
                                    "cos\nsystem\n",
                                    "X\7\0\0\0storage",
                                    ")R",
                                    "tR",
                                    "tQ",
                                    "(",
                                    "]",
                                    "}",
                                    "u.",
                                    "\x85",
                                    "\x86",
                                    "\x87",
                                    "PK\3\4",
                                    "PK\1\2",
                                    "PK\5\6",
                                    NULL};

const struct fuzz_target fuzz_target = {
    .name = "fuzz_torch", .corpus = corpus, .dictionary = words, .max_size = 1 << 16};

static void check(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "fuzz_torch: %s\n", what);
    abort();
}

static void read_all(const rt_tensor *t) {
    volatile int sum = 0;
    const unsigned char *bytes = t->data;
    for (int64_t i = 0; i < rt_tensor_elements(t) * rt_dtype_bytes(t->dtype); i++)
        sum = sum + bytes[i];
}

static void parse(const void *bytes, size_t size) {
    rt_error error = {.text = ""};
    rt_tensors *file = rt_torch_parse("f", bytes, size, &error);
    check(file || error.text[0], "refused without a message");
    for (size_t i = 0; file && i < rt_tensors_count(file); i++) {
        read_all(rt_tensors_at(file, i));
        check(rt_tensors_find(file, rt_tensors_at(file, i)->name) == rt_tensors_at(file, i),
              "a tensor is not found by its name");
    }
    rt_tensors_close(file);
}

void fuzz_one(const uint8_t *data, size_t size) {
    static zip archive;
    static const uint8_t storage[64];
    const void *bytes = data;
    if (size < 2 || memcmp(data, "PK", 2) != 0) {
        archive.size = 0;
        archive.count = 0;
        zip_add(&archive, "m/data.pkl", data, size);
        zip_add(&archive, "m/data/0", storage, 24);
        zip_add(&archive, "m/data/1", storage, 8);
        zip_add(&archive, "m/data/2", storage, 64);
        zip_end(&archive);
        bytes = archive.bytes;
        size = archive.size;
    }
    uint8_t *copy = malloc(size + (size == 0)); /* exactly as long, for the sanitizer */
    check(copy != NULL, "out of memory");
    memcpy(copy, bytes, size);
    parse(copy, size);
    free(copy);
}
