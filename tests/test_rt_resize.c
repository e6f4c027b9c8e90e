/* Resizing, bit for bit as Pillow does it (rows printed by tests/reference/resize.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_image.h"

#include <string.h>
#include <zlib.h>

/* The numbers of resize.py. */
static rt_image picture(int width, int height, int channels) {
    rt_image image;
    rt_error error;
    assert_true(rt_image_new(width, height, channels, &image, &error));
    uint32_t state = 12345;
    for (int i = 0; i < width * height * channels; i++) {
        state = state * 1664525u + 1013904223u;
        image.pixels[i] = (uint8_t)(state >> 24);
    }
    return image;
}

static const struct {
    int width, height, channels;
    rt_box box;
    int new_width, new_height;
    uint32_t crc; /* of the result's bytes */
} rows[] = {
    {5, 4, 1, {0, 0, 5, 4}, 3, 2, 0xdd9959f3},
    {5, 4, 1, {0, 0, 5, 4}, 9, 11, 0x1826930a},
    {5, 4, 3, {0, 0, 5, 4}, 5, 4, 0x4ed01a31},
    {64, 48, 3, {0, 0, 64, 48}, 32, 24, 0xc6ea2629},
    {64, 48, 3, {0, 0, 64, 48}, 64, 20, 0x2ee0d8d8},
    {64, 48, 3, {0, 0, 64, 48}, 20, 48, 0xf791cf43},
    {64, 48, 1, {0, 0, 64, 48}, 100, 75, 0x571808d5},
    {640, 480, 3, {0, 0, 640, 480}, 298, 224, 0x8c3e5ac9},
    {500, 375, 3, {0, 0, 500, 375}, 341, 256, 0x6b658c36},
    {333, 500, 3, {0, 0, 333, 500}, 256, 384, 0x9ada9d02},
    {28, 28, 1, {0, 0, 28, 28}, 32, 32, 0x6411dd15},
    {37, 53, 3, {0, 0, 37, 53}, 24, 24, 0xce3dab36},
    {37, 50, 3, {0, 0, 37, 50}, 24, 24, 0xd3de0d98},
    {24, 60, 1, {0, 0, 24, 60}, 40, 59, 0xb8fa570d},
    {24, 60, 1, {0, 0, 24, 60}, 40, 60, 0xc6923dba},
    {1, 1, 3, {0, 0, 1, 1}, 7, 5, 0x7d69b796},
    {1, 200, 1, {0, 0, 1, 200}, 3, 1, 0x17f30e39},
    {1000, 3, 3, {0, 0, 1000, 3}, 7, 224, 0xc632427b},
    {37, 53, 3, {3, 5, 30, 50}, 24, 24, 0x24416315},
    {37, 53, 3, {0, 5, 37, 50}, 37, 24, 0x579d0fdd},
    {37, 53, 1, {2.25, 0.5, 36.75, 51.125}, 16, 90, 0x3ffdf43d},
    {37, 53, 3, {10, 10, 12, 12}, 24, 24, 0x12c615cc},
    {37, 53, 3, {36, 52, 37, 53}, 5, 5, 0xac7503c6},
};

static void test_as_pillow(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rt_image source = picture(rows[i].width, rows[i].height, rows[i].channels), out;
        rt_error error;
        if (!rt_image_resize(&source, rows[i].box, rows[i].new_width, rows[i].new_height, &out,
                             &error))
            fail_msg("%s", error.text);
        size_t bytes = (size_t)out.width * (size_t)out.height * (size_t)out.channels;
        if (crc32(0, out.pixels, (uInt)bytes) != rows[i].crc)
            fail_msg("row %zu (%d x %d x %d to %d x %d) differs", i, rows[i].width, rows[i].height,
                     rows[i].channels, rows[i].new_width, rows[i].new_height);
        rt_image_free(&source);
        rt_image_free(&out);
    }
}

static void expect_row(const uint8_t *from, int width, const uint8_t *to, int new_width) {
    rt_image source = {.width = width, .height = 1, .channels = 1, .pixels = (uint8_t *)from}, out;
    rt_box all = {.right = width, .bottom = 1};
    rt_error error;
    assert_true(rt_image_resize(&source, all, new_width, 1, &out, &error));
    assert_memory_equal(out.pixels, to, (size_t)new_width);
    rt_image_free(&out);
}

/* Numbers that can be followed by hand: overshoot is cut at 0 and 255. */
static void test_small(void **state) {
    (void)state;
    static const uint8_t step[] = {0, 0, 0, 0, 255, 255, 255, 255};
    expect_row(step, 8, (const uint8_t[]){0, 17, 238, 255}, 4);
    expect_row(step, 8,
               (const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 52, 203, 255, 255, 255, 255, 255, 255, 255},
               16);
    rt_image source = picture(5, 4, 1), out;
    rt_box all = {.right = 5, .bottom = 4};
    rt_error error;
    assert_true(rt_image_resize(&source, all, 3, 2, &out, &error));
    assert_memory_equal(out.pixels, ((const uint8_t[]){38, 132, 184, 100, 181, 148}), 6);
    rt_image_free(&source);
    rt_image_free(&out);
}

/* A flat image stays flat: weights sum to one, also at the edges. */
static void test_flat(void **state) {
    (void)state;
    for (int value = 0; value < 256; value += 51) {
        rt_image source = picture(13, 9, 3), out;
        memset(source.pixels, value, 13 * 9 * 3);
        for (int size = 1; size < 40; size += 6) {
            rt_box all = {.right = 13, .bottom = 9};
            rt_error error;
            assert_true(rt_image_resize(&source, all, size, 41 - size, &out, &error));
            for (int i = 0; i < size * (41 - size) * 3; i++)
                assert_int_equal(out.pixels[i], value);
            rt_image_free(&out);
        }
        rt_image_free(&source);
    }
}

static void expect_refused(rt_box box, int width, int height, const char *message) {
    rt_image source = picture(8, 6, 1), out;
    rt_error error;
    assert_false(rt_image_resize(&source, box, width, height, &out, &error));
    assert_string_equal(error.text, message);
    assert_null(out.pixels);
    rt_image_free(&source);
}

static void test_refused(void **state) {
    (void)state;
    rt_box all = {.right = 8, .bottom = 6};
    expect_refused((rt_box){-1, 0, 8, 6}, 4, 4,
                   "resize of the box (-1, 0)-(8, 6); expected one inside of the image's 8 x 6 "
                   "pixels");
    expect_refused((rt_box){0, 0, 8, 6.5}, 4, 4,
                   "resize of the box (0, 0)-(8, 6.5); expected one inside of the image's 8 x 6 "
                   "pixels");
    expect_refused((rt_box){4, 0, 4, 6}, 4, 4,
                   "resize of the box (4, 0)-(4, 6); expected one inside of the image's 8 x 6 "
                   "pixels");
    expect_refused((rt_box){0, __builtin_nan(""), 8, 6}, 4, 4,
                   "resize of the box (0, nan)-(8, 6); expected one inside of the image's 8 x 6 "
                   "pixels");
    expect_refused(all, 0, 4, "resize to 0 x 4 pixels; expected sides from 1 to 16384");
    expect_refused(all, 4, 16385, "resize to 4 x 16385 pixels; expected sides from 1 to 16384");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_pillow),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
