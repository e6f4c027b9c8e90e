/* Any bytes as an image: a message, or pixels that can all be read, cropped, resized and evaluated
 * at sizes and places that depend on them.
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

enum { MOST_PIXELS = 1 << 20, MOST_SIDE = 80 };

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

/* Pixels that were never written show up under valgrind and the memory sanitizer. */
static void read_all(const rt_image *image) {
    volatile int sum = 0;
    for (int64_t i = 0; i < (int64_t)image->width * image->height * image->channels; i++)
        sum = sum + image->pixels[i];
}

/* A number below `bound` out of the picture's bytes; *state goes on. */
static int draw(uint32_t *state, int bound) {
    *state = *state * 1664525u + 1013904223u;
    return (int)((*state >> 8) % (uint32_t)bound);
}

static void evaluate(const rt_image *image, const rt_eval_transform *how) {
    static const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
    static float values[3 * MOST_SIDE * MOST_SIDE];
    rt_image out;
    rt_error error = {.text = ""};
    if (!rt_image_evaluate(image, how, &out, &error)) {
        check(strstr(error.text, "expected") != NULL, error.text);
        check(out.pixels == NULL, "pixels after an error");
        return;
    }
    check(out.width == how->size && out.height == how->size, "evaluation has another size");
    check(out.channels == image->channels, "evaluation has other channels");
    read_all(&out);
    rt_image_normalize(&out, mean, std, values);
    rt_image_free(&out);
}

/* Some part of the picture, to some other size; and a crop that may lie outside. */
static void resize_and_crop(const rt_image *image, uint32_t *state) {
    rt_image out;
    rt_error error = {.text = ""};
    double left = draw(state, image->width) + draw(state, 4) / 4.0,
           top = draw(state, image->height) + draw(state, 4) / 4.0;
    rt_box box = {left, top, left + draw(state, 4 * image->width) / 4.0,
                  top + draw(state, 4 * image->height) / 4.0};
    int width = 1 + draw(state, MOST_SIDE), height = 1 + draw(state, MOST_SIDE);
    if (rt_image_resize(image, box, width, height, &out, &error)) {
        check(out.width == width && out.height == height, "resize has another size");
        check(box.right <= image->width && box.bottom <= image->height, "a box outside");
        read_all(&out);
        rt_image_free(&out);
    } else {
        check(error.text[0] != 0, "a resize was refused without a message");
    }
    int x = draw(state, 3 * image->width) - image->width,
        y = draw(state, 3 * image->height) - image->height;
    check(rt_image_crop(image, x, y, width, height, &out, &error), "a crop was refused");
    read_all(&out);
    rt_image_free(&out);
}

static void use(const rt_image *image) {
    uint32_t state = 1;
    for (int64_t i = 0; i < (int64_t)image->width * image->height * image->channels; i++)
        state = state * 31 + image->pixels[i];
    read_all(image);
    evaluate(image, &(rt_eval_transform){.size = 9, .crop_pct = 0.875});
    evaluate(image, &(rt_eval_transform){.size = 1 + draw(&state, MOST_SIDE),
                                         .crop_pct = (40 + draw(&state, 61)) / 100.0,
                                         .squash = draw(&state, 2) == 1});
    resize_and_crop(image, &state);
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
