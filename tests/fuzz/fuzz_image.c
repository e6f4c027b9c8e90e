/* Any bytes as an image: a message, or pixels that can all be read, cropped and resized.
 *
 * Checksums of PNG chunks are mended in three of four inputs; otherwise no mutation would get
 * behind them. Images of more than a few megapixels are left alone: they are slow, not wrong. */
#include "fuzz.h"
#include "rt_image.h"
#include "rt_image_check.h"
#include "rt_stb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char *const corpus[] = {"tests/fuzz/images/*", NULL};
static const char *const words[] = {
    "IHDR",     "PLTE",     "IDAT",     "IEND",     "tRNS",
    "\xff\xd8", "\xff\xd9", "\xff\xda", "\xff\xc0", "\xff\xc2",
    "\xff\xc4", "\xff\xdb", "\xff\xdd", "BM",       "\xff\xff\xff\xff",
    NULL};

const struct fuzz_target fuzz_target = {
    .name = "fuzz_image", .corpus = corpus, .dictionary = words, .max_size = 1 << 14};

enum { MOST_PIXELS = 1 << 20 };

static void check(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "fuzz_image: %s\n", what);
    abort();
}

static uint32_t read_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void mend_checksums(uint8_t *data, size_t size) {
    if (size < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0) return;
    for (size_t at = 8; size - at >= 12;) {
        uint32_t length = read_be32(data + at);
        if (length > size - at - 12) return;
        uint32_t crc = (uint32_t)crc32(0, data + at + 4, length + 4);
        for (int i = 0; i < 4; i++)
            data[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + length;
    }
}

static void use(const rt_image *image) {
    rt_image out;
    rt_error error;
    rt_eval_transform how = {.size = 9, .crop_pct = 0.875};
    volatile int sum = 0;
    for (int i = 0; i < image->width * image->height * image->channels; i++)
        sum = sum + image->pixels[i];
    if (rt_image_evaluate(image, &how, &out, &error)) {
        check(out.width == 9 && out.height == 9, "evaluation has another size");
        rt_image_free(&out);
    } else {
        check(strstr(error.text, "pixels long") != NULL, error.text);
    }
}

void fuzz_one(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size + (size == 0)); /* exactly as long, for the sanitizer */
    check(copy != NULL, "out of memory");
    memcpy(copy, data, size);
    if (size > 0 && data[size / 2] & 3) mend_checksums(copy, size);
    rt_stb_info info;
    rt_error ignored;
    const char *reason;
    bool large = rt_image_check("f", copy, size, &ignored) &&
                 rt_stb_size(copy, size, &info, &reason) &&
                 (int64_t)info.width * info.height > MOST_PIXELS;
    for (int channels = 1; channels <= 3 && !large; channels += 2) {
        rt_image image;
        rt_error error = {.text = ""};
        if (rt_image_decode("f", copy, size, channels, &image, &error)) {
            check(image.channels == channels, "other channels");
            use(&image);
            rt_image_free(&image);
        } else {
            check(error.text[0] != 0, "refused without a message");
            check(image.pixels == NULL, "pixels after an error");
        }
    }
    free(copy);
}
