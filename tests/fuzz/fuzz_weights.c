/* Any bytes as a file of weights, all the way: its format, its tensors, the map its names are in,
 * cnx's names and axes, the way to every other library, and back.
 *
 * An input that begins as a map does ("naming", '#') is one, which then reads a file that is known;
 * a pickle gets an archive with storages around it. */
#include "fuzz.h"
#include "rt_naming.h"
#include "rt_torch.h"
#include "rt_zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const corpus[] = {"tests/names/*", "tests/fuzz/safetensors/*",
                                     "tests/fuzz/torch/*", "models/*.map", NULL};
static const char *const words[] = {"naming a\n",
                                    "prefix p. a.0\n",
                                    "needs a.0\n",
                                    "conv a.0 1 2 3\n",
                                    "a.* = o,i o,i,?\n",
                                    "~",
                                    "*",
                                    "xy,i,o",
                                    "1,1,1,c",
                                    "{\"dtype\":\"F32\",\"shape\":[",
                                    "\"data_offsets\":[0,0]}",
                                    "stages.0.blocks.0.",
                                    "encoder.stages.0.0.dwconv.kernel",
                                    "convnextv2.",
                                    "downsample_layers.1.1.weight",
                                    "[49,1]",
                                    "[4,2,3]",
                                    "[1,1,1,4]",
                                    NULL};

const struct fuzz_target fuzz_target = {
    .name = "fuzz_weights", .corpus = corpus, .dictionary = words, .max_size = 1 << 16};

static void check(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "fuzz_weights: %s\n", what);
    abort();
}

static size_t bytes_of(const rt_tensor *t) {
    return (size_t)rt_tensor_elements(t) * (size_t)rt_dtype_bytes(t->dtype);
}

static void read_all(const rt_tensor *t) {
    volatile int sum = 0;
    for (size_t i = 0; i < bytes_of(t); i++)
        sum = sum + ((const unsigned char *)t->data)[i];
}

/* What a map wrote, it reads back as the same tensor of cnx. */
static void there_and_back(const rt_naming *naming, const rt_naming_style *style,
                           const rt_named *cnx, bool trusted) {
    rt_named there, back;
    rt_error error = {.text = ""};
    if (!rt_naming_write(naming, style, &cnx->tensor, &there, &error)) {
        check(error.text[0], "refused without a message");
        return;
    }
    read_all(&there.tensor);
    check(bytes_of(&there.tensor) == bytes_of(&cnx->tensor), "another number of bytes");
    if (there.known && rt_naming_read(naming, &there.tensor, &back, &error)) {
        check(bytes_of(&back.tensor) == bytes_of(&cnx->tensor), "another number of bytes");
        bool renamed = trusted && back.known && strcmp(back.tensor.name, cnx->tensor.name) == 0;
        bool same = bytes_of(&back.tensor) == 0 ||
                    memcmp(back.tensor.data, cnx->tensor.data, bytes_of(&back.tensor)) == 0;
        check(!renamed || same, "other bytes on the way back");
        rt_named_free(&back);
    }
    rt_named_free(&there);
}

static size_t to_cnx(const rt_naming *naming, const rt_tensors *file, rt_named *named) {
    size_t count = 0;
    for (size_t i = 0; i < rt_tensors_count(file); i++) {
        rt_error error = {.text = ""};
        if (rt_naming_read(naming, rt_tensors_at(file, i), &named[count], &error))
            read_all(&named[count++].tensor);
        else
            check(error.text[0], "refused without a message");
    }
    return count;
}

/* Rules of a map that is made up may contradict each other, so `trusted` ones alone must come back.
 */
static void walk(const rt_namings *maps, const rt_tensors *file, bool trusted) {
    const rt_naming *naming;
    rt_error error = {.text = ""};
    if (!rt_namings_choose(maps, file, NULL, &naming, &error) || !naming) return;
    rt_named *cnx = calloc(rt_tensors_count(file) + 1, sizeof *cnx);
    check(cnx != NULL, "out of memory");
    size_t count = to_cnx(naming, file, cnx);
    rt_naming_style_of(naming, file);
    for (size_t m = 0; m < maps->count; m++) {
        rt_naming_style style = rt_naming_style_for(maps->item[m], cnx, count);
        rt_namings_for(maps, rt_naming_target(maps->item[m]), cnx, count);
        for (size_t i = 0; i < count; i++)
            there_and_back(maps->item[m], &style, &cnx[i], trusted);
    }
    for (size_t i = 0; i < count; i++)
        rt_named_free(&cnx[i]);
    free(cnx);
}

static rt_namings *maps_of_models(void) {
    static rt_namings *maps;
    rt_error error;
    if (!maps) maps = rt_namings_open(CNX_TEST_SOURCE_DIR "/models", &error);
    check(maps != NULL, "the maps of models/ cannot be read");
    return maps;
}

static void read_map(const uint8_t *data, size_t size) {
    static rt_tensors *file;
    rt_error error = {.text = ""};
    if (!file) file = rt_tensors_open(CNX_TEST_SOURCE_DIR "/tests/names/v2_hf.safetensors", &error);
    check(file != NULL, "the known file cannot be read");
    rt_naming *naming = rt_naming_parse("f", (const char *)data, size, &error);
    check(naming || error.text[0], "refused without a message");
    if (naming) walk(&(rt_namings){.item = &naming, .count = 1}, file, false);
    rt_naming_free(naming);
}

/* The pickle in an archive with three storages. */
static const zip *archive_of(const uint8_t *pickle, size_t size) {
    static zip archive;
    static const uint8_t storage[4096];
    archive.size = 0;
    archive.count = 0;
    zip_add(&archive, "m/data.pkl", pickle, size);
    zip_add(&archive, "m/data/0", storage, 24);
    zip_add(&archive, "m/data/1", storage, 8);
    zip_add(&archive, "m/data/2", storage, sizeof storage);
    zip_end(&archive);
    return &archive;
}

static void read_file(const uint8_t *data, size_t size) {
    rt_error error = {.text = ""};
    uint8_t *copy = malloc(size + (size == 0)); /* exactly as long, for the sanitizer */
    check(copy != NULL, "out of memory");
    memcpy(copy, data, size);
    bool is_zip = size >= 2 && memcmp(data, "PK", 2) == 0;
    rt_tensors *file = is_zip ? rt_torch_parse("f", copy, size, &error)
                              : rt_tensors_parse("f", copy, size, &error);
    check(file || error.text[0], "refused without a message");
    if (file) walk(maps_of_models(), file, true);
    rt_tensors_close(file);
    free(copy);
}

void fuzz_one(const uint8_t *data, size_t size) {
    bool map = size >= 6 && (data[0] == '#' || memcmp(data, "naming", 6) == 0);
    if (map) {
        read_map(data, size);
    } else if (size > 0 && data[0] == 0x80) {
        const zip *archive = archive_of(data, size);
        read_file(archive->bytes, archive->size);
    } else {
        read_file(data, size);
    }
}
