/* Images: every form that is read, what broken files say, crops, evaluation, PNG files written. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_image.h"
#include "rt_scratch.h"

#include <math.h>
#include <zlib.h>

enum { W = 20, H = 12 }; /* of the pictures in tests/fuzz/images, see tests/reference/images.py */

static int red(int x) {
    return 255 * x / (W - 1);
}

static int green(int y) {
    return 255 * y / (H - 1);
}

static int grey(int x, int y) { /* PIL's weights */
    return (red(x) * 19595 + green(y) * 38470 + 128 * 7471 + 0x8000) >> 16;
}

static uint8_t *picture(const char *name, size_t *size) {
    return (uint8_t *)scratch_read(CNX_TEST_SOURCE_DIR "/tests/fuzz/images", name, size);
}

/* Every pixel of a picture, to within `tolerance`. */
static void expect_picture(const char *name, bool colour, int tolerance) {
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/fuzz/images/%s", CNX_TEST_SOURCE_DIR, name);
    for (int channels = 1; channels <= 3; channels += 2) {
        rt_image image;
        rt_error error;
        if (!rt_image_load(path, channels, &image, &error)) fail_msg("%s", error.text);
        assert_int_equal(image.width, W);
        assert_int_equal(image.height, H);
        assert_int_equal(image.channels, channels);
        for (int i = 0; i < W * H * channels; i++) {
            int x = i / channels % W, y = i / channels / W, c = i % channels;
            int expected = channels == 1 || !colour ? grey(x, y)
                           : c == 0                 ? red(x)
                           : c == 1                 ? green(y)
                                                    : 128;
            if (abs(image.pixels[i] - expected) > tolerance)
                fail_msg("%s: (%d, %d)[%d] is %d, expected %d", name, x, y, c, image.pixels[i],
                         expected);
        }
        rt_image_free(&image);
    }
}

static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool colour;
        int tolerance;
    } pictures[] = {
        {"grey.png", false, 0},   {"grey16.png", false, 0},     {"grey_alpha.png", false, 0},
        {"rgb.png", true, 0},     {"rgb_alpha.png", true, 0},   {"interlaced.png", true, 0},
        {"palette.png", true, 9}, {"grey.jpg", false, 3},       {"rgb444.jpg", true, 6},
        {"rgb420.jpg", true, 16}, {"progressive.jpg", true, 6}, {"cmyk.jpg", true, 12},
        {"rgb.bmp", true, 0},     {"grey.bmp", false, 0},       {"rgb_alpha.bmp", true, 0},
    };
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++)
        expect_picture(pictures[i].name, pictures[i].colour, pictures[i].tolerance);
}

/* One bit a pixel becomes black and white. */
static void test_bits(void **state) {
    (void)state;
    size_t size;
    uint8_t *bytes = picture("bits.png", &size);
    rt_image image;
    rt_error error;
    assert_true(rt_image_decode("bits", bytes, size, 1, &image, &error));
    int white = 0;
    for (int i = 0; i < W * H; i++) {
        assert_true(image.pixels[i] == 0 || image.pixels[i] == 255);
        white += image.pixels[i] == 255;
    }
    assert_in_range(white, W * H * 4 / 10, W * H * 6 / 10);
    rt_image_free(&image);
    free(bytes);
}

static void expect_broken(const uint8_t *bytes, size_t size, const char *message) {
    rt_image image = {.width = 5};
    rt_error error;
    if (rt_image_decode("f", bytes, size, 3, &image, &error)) {
        rt_image_free(&image);
        fail_msg("accepted; expected: %s", message);
    }
    assert_null(image.pixels);
    if (message) assert_string_equal(error.text, message);
}

/* A file that ends early is an error, wherever it ends; never a picture with a grey rest. */
static void test_cut_files(void **state) {
    (void)state;
    static const char *const names[] = {"rgb.png",         "interlaced.png", "rgb420.jpg",
                                        "progressive.jpg", "grey.jpg",       "rgb.bmp",
                                        "grey.bmp",        "rgb_alpha.bmp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t size;
        uint8_t *whole = picture(names[i], &size);
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *part = malloc(cut ? cut : 1); /* exactly as long, so that ASan sees the end */
            memcpy(part, whole, cut);
            expect_broken(part, cut, NULL);
            free(part);
        }
        free(whole);
    }
}

/* A flipped bit in a PNG is found by its checksums. */
static void test_flipped_bits(void **state) {
    (void)state;
    size_t size;
    uint8_t *bytes = picture("rgb.png", &size);
    for (size_t i = 0; i < size * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        expect_broken(bytes, size, NULL);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    free(bytes);
}

static void put_be32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* A PNG of a header and `size` bytes of packed data; returns its length. */
static size_t make_png(uint8_t *out, uint32_t width, uint32_t height, int colour,
                       const uint8_t *data, uint32_t size) {
    memcpy(out, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
    put_be32(out + 16, width);
    put_be32(out + 20, height);
    memcpy(out + 24, (uint8_t[]){8, (uint8_t)colour, 0, 0, 0}, 5);
    put_be32(out + 29, (uint32_t)crc32(0, out + 12, 17));
    put_be32(out + 33, size);
    memcpy(out + 37, "IDAT", 4);
    memcpy(out + 41, data, size);
    put_be32(out + 41 + size, (uint32_t)crc32(0, out + 37, size + 4));
    memcpy(out + 45 + size, "\0\0\0\0IEND\xae\x42\x60\x82", 12);
    return size + 57;
}

static void test_sizes(void **state) {
    (void)state;
    uint8_t png[200], packed[64];
    uLongf length = sizeof packed;
    compress(packed, &length, (const uint8_t *)"\0abcdef", 7);
    size_t size = make_png(png, 2, 1, 2, packed, (uint32_t)length);
    rt_image image;
    rt_error error;
    assert_true(rt_image_decode("f", png, size, 3, &image, &error));
    assert_memory_equal(image.pixels, "abcdef", 6);
    rt_image_free(&image);
    size = make_png(png, 3, 1, 2, packed, (uint32_t)length); /* more pixels than data */
    expect_broken(png, size, "f: broken image (not enough pixels)");
    size = make_png(png, 16384, 16384, 2, packed, (uint32_t)length);
    expect_broken(png, size,
                  "f: image of 16384 x 16384 pixels takes 805306368 bytes; expected at "
                  "most 268435456");
    size = make_png(png, 16385, 1, 0, packed, (uint32_t)length);
    expect_broken(png, size, "f: image of 16385 x 1 pixels; expected sides from 1 to 16384");
    size = make_png(png, 0, 1, 0, packed, (uint32_t)length);
    expect_broken(png, size, "f: no image (unknown image type); expected PNG, JPEG or BMP");
    size = make_png(png, 0xffffffff, 0xffffffff, 0, packed, (uint32_t)length);
    expect_broken(png, size, NULL);
}

/* A few kilobytes that unpack to gigabytes are stopped by the bound on memory. */
static void test_zip_bomb(void **state) {
    (void)state;
    static uint8_t zeros[1 << 20], packed[4 << 20], png[5 << 20];
    z_stream z = {0};
    assert_int_equal(deflateInit(&z, 9), Z_OK);
    z.next_out = packed;
    z.avail_out = sizeof packed;
    for (int i = 0; i < 700; i++) { /* 700 MB */
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        assert_int_equal(deflate(&z, i == 699 ? Z_FINISH : Z_NO_FLUSH), i == 699);
    }
    size_t size = make_png(png, 2, 2, 2, packed, (uint32_t)z.total_out);
    deflateEnd(&z);
    expect_broken(png, size, "f: broken image (outofmem)");
}

static void test_other_files(void **state) {
    rt_image image;
    rt_error error;
    expect_broken((const uint8_t *)"", 0,
                  "f: no image (unknown image type); expected PNG, JPEG or BMP");
    expect_broken((const uint8_t *)"GIF89a\1\0\1\0\0\0\0;", 14,
                  "f: no image (unknown image type); expected PNG, JPEG or BMP");
    assert_false(rt_image_load(scratch_path(*state, "no.png"), 3, &image, &error));
    assert_string_equal(scratch_message(&error, *state),
                        "cannot open '@/no.png': No such file or directory");
    scratch_text(*state, "text.png", "hello");
    assert_false(rt_image_load(scratch_path(*state, "text.png"), 3, &image, &error));
    assert_string_equal(scratch_message(&error, *state),
                        "@/text.png: no image (unknown image type); expected PNG, JPEG or BMP");
}

static void test_chunks(void **state) {
    (void)state;
    size_t size;
    uint8_t *bytes = picture("grey.png", &size);
    memcpy(bytes + 37, "ABCD", 4); /* a chunk that may not be skipped */
    put_be32(bytes + 41 + 46, (uint32_t)crc32(0, bytes + 37, 50));
    uint32_t length = (uint32_t)bytes[35] << 8 | bytes[36];
    put_be32(bytes + 41 + length, (uint32_t)crc32(0, bytes + 37, length + 4));
    expect_broken(bytes, size,
                  "f: PNG chunk at byte 33 has type 41 42 43 44; expected IHDR, PLTE, IDAT, IEND "
                  "or one that may be skipped");
    put_be32(bytes + 33, 0xfffffff0);
    expect_broken(bytes, size,
                  "f: PNG chunk at byte 33 has 4294967280 bytes, but the file ends at 103");
    free(bytes);
    bytes = picture("grey.png", &size);
    expect_broken(bytes, size - 12, "f: PNG ends at byte 91 without an IEND chunk");
    bytes[40] ^= 0;
    bytes[50] ^= 1;
    expect_broken(bytes, size, NULL);
    free(bytes);
}

/* Where a JPEG's Huffman table begins: behind ff c4 and a length. */
static size_t find_table(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i + 4 < size; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xc4) return i + 4;
    fail_msg("no table");
    return 0;
}

/* Tables that would be written behind their end, segments behind the file's, no end at all. */
static void test_jpeg_parts(void **state) {
    (void)state;
    size_t size;
    uint8_t *bytes = picture("grey.jpg", &size);
    size_t table = find_table(bytes, size);
    char message[200];
    uint8_t kept = bytes[table + 8];
    bytes[table + 8] = 250;
    snprintf(message, sizeof message,
             "f: JPEG Huffman table at byte %zu has 261 symbols; expected at most 255", table);
    expect_broken(bytes, size, message);
    bytes[table + 8] = 9;
    snprintf(message, sizeof message,
             "f: JPEG Huffman table at byte %zu takes 37 bytes; its segment has 29 left", table);
    expect_broken(bytes, size, message);
    bytes[table + 8] = kept;
    bytes[table - 2] = 0x7f;
    snprintf(message, sizeof message,
             "f: JPEG segment ff c4 at byte %zu has 32543 bytes; expected 2 to %zu", table - 4,
             size - table + 2);
    expect_broken(bytes, size, message);
    bytes[table - 3] = 0;
    snprintf(message, sizeof message,
             "f: JPEG marker ff 00 at byte %zu; expected that of a segment", table - 4);
    expect_broken(bytes, size, message);
    free(bytes);
    bytes = picture("grey.jpg", &size);
    snprintf(message, sizeof message, "f: JPEG ends at byte %zu without an end marker", size - 2);
    expect_broken(bytes, size - 2, message);
    free(bytes);
    expect_broken((const uint8_t *)"\xff\xff", 2,
                  "f: no image (it begins with ff, but is no JPEG)");
}

/* --- BMP --- */

typedef struct bmp {
    uint32_t length;       /* of the second header */
    int32_t width, height; /* height below 0: the first row stands first */
    uint32_t bits, packing;
    size_t palette; /* bytes between headers and pixels */
} bmp;

static void put_le(uint8_t *p, int bytes, uint32_t value) {
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

/* The headers; returns where the pixels begin. What is behind them is the caller's. */
static size_t make_bmp(uint8_t *out, bmp b) {
    int side = b.length == 12 ? 2 : 4;
    size_t pixels = 14 + b.length + b.palette;
    memset(out, 0, pixels);
    memcpy(out, "BM", 2);
    put_le(out + 10, 4, (uint32_t)pixels);
    put_le(out + 14, 4, b.length);
    put_le(out + 18, side, (uint32_t)b.width);
    put_le(out + 18 + side, side, (uint32_t)b.height);
    put_le(out + 18 + 2 * side, 2, 1);
    put_le(out + 20 + 2 * side, 2, b.bits);
    if (b.length > 12) put_le(out + 30, 4, b.packing);
    return pixels;
}

/* Two rows of two pixels with either of them first, and cut off anywhere. */
static void test_bmp(void **state) {
    (void)state;
    static const bmp kinds[] = {{12, 2, 2, 24, 0, 0}, {40, 2, -2, 24, 0, 0}, {108, 2, 2, 24, 0, 0}};
    static const uint8_t rows[] = "cbafed\0\0ihglkj\0";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint8_t file[256];
        size_t pixels = make_bmp(file, kinds[i]);
        memcpy(file + pixels, rows, sizeof rows);
        rt_image image;
        rt_error error;
        if (!rt_image_decode("f", file, pixels + 16, 3, &image, &error)) fail_msg("%s", error.text);
        assert_int_equal(image.width, 2);
        assert_int_equal(image.height, 2);
        assert_memory_equal(image.pixels, kinds[i].height < 0 ? "abcdefghijkl" : "ghijklabcdef",
                            12);
        rt_image_free(&image);
        for (size_t cut = 0; cut < pixels + 16; cut++)
            expect_broken(file, cut, NULL);
    }
}

static void expect_bmp(bmp b, size_t behind, const char *message) {
    static uint8_t file[4096];
    size_t pixels = make_bmp(file, b);
    memset(file + pixels, 0x21, behind); /* a pixel of 4 bits is 2 or 1, one of 8 bits 33 */
    rt_image image;
    rt_error error;
    if (message) {
        expect_broken(file, pixels + behind, message);
    } else {
        if (!rt_image_decode("f", file, pixels + behind, 3, &image, &error))
            fail_msg("%s", error.text);
        rt_image_free(&image);
    }
}

/* Sizes that no file has, and what stb would not read as it is meant. */
static void test_bmp_lies(void **state) {
    (void)state;
    expect_bmp((bmp){40, 3, 2, 24, 0, 0}, 24, NULL);
    expect_bmp((bmp){40, 3, 2, 24, 0, 0}, 23,
               "f: BMP of 3 x 2 pixels with 24 bits from byte 54 on; the file ends at byte 77");
    expect_bmp((bmp){40, INT32_MAX, INT32_MIN, 32, 0, 0}, 24,
               "f: BMP of 2147483647 x 2147483648 pixels with 32 bits from byte 54 on; the file "
               "ends at byte 78");
    expect_bmp((bmp){40, -3, 2, 24, 0, 0}, 24,
               "f: BMP of -3 x 2 pixels with 24 bits from byte 54 on; the file ends at byte 78");
    expect_bmp((bmp){40, 0, 2, 24, 0, 0}, 24,
               "f: image of 0 x 2 pixels; expected sides from 1 to 16384");
    expect_bmp((bmp){64, 3, 2, 24, 0, 0}, 24,
               "f: BMP with a second header of 64 bytes; expected 12, 40, 56, 108 or 124");
    expect_bmp((bmp){40, 3, 2, 8, 1, 1024}, 24,
               "f: BMP with a header of 40 bytes, 8 bits a pixel and packing 1 is not read; try to "
               "save it as PNG");
    expect_bmp((bmp){12, 3, 2, 8, 0, 768}, 24,
               "f: BMP with a header of 12 bytes, 8 bits a pixel and packing 0 is not read; try to "
               "save it as PNG");
    expect_bmp((bmp){40, 4, 2, 8, 0, 4 * 34}, 8, NULL);
    expect_bmp((bmp){40, 4, 2, 8, 0, 4 * 33}, 8, "f: BMP with colour 33 in a palette of 33");
    expect_bmp((bmp){40, 4, 2, 4, 0, 4 * 3}, 8, NULL);
    expect_bmp((bmp){40, 4, 2, 4, 0, 4 * 2}, 8, "f: BMP with colour 2 in a palette of 2");
    expect_bmp((bmp){40, 4, 2, 1, 0, 4 * 1}, 8, "f: BMP with colour 1 in a palette of 1");
    uint8_t file[64];
    size_t pixels = make_bmp(file, (bmp){40, 1, 1, 24, 0, 0});
    expect_broken(file, 30, "f: BMP ends at byte 30, inside of its headers");
    expect_broken(file, 2, "f: BMP ends at byte 2, inside of its headers");
    put_le(file + 10, 4, 0xfffffff0);
    expect_broken(file, pixels + 4,
                  "f: BMP of 1 x 1 pixels with 24 bits from byte 4294967280 on; the file ends at "
                  "byte 58");
}

/* --- writing --- */

static void test_write_png(void **state) {
    const char *path = scratch_path(*state, "written.png");
    rt_error error;
    for (int channels = 1; channels <= 3; channels += 2) {
        rt_image image, back;
        assert_true(rt_image_new(31, 17, channels, &image, &error));
        for (int i = 0; i < 31 * 17 * channels; i++)
            image.pixels[i] = (uint8_t)(i * i + 7 * i);
        assert_true(rt_image_write_png(path, &image, &error));
        assert_true(rt_image_load(path, channels, &back, &error));
        assert_int_equal(back.width, 31);
        assert_int_equal(back.height, 17);
        assert_memory_equal(back.pixels, image.pixels, 31 * 17 * (size_t)channels);
        rt_image_free(&back);
        image.channels = 2;
        assert_false(rt_image_write_png(path, &image, &error));
        rt_image_free(&image);
    }
    assert_string_equal(scratch_message(&error, *state),
                        "cannot write '@/written.png': image of 2 channels; expected 1 or 3");
}

static void test_new(void **state) {
    (void)state;
    rt_image image;
    rt_error error;
    assert_false(rt_image_new(0, 5, 1, &image, &error));
    assert_string_equal(error.text, "the image would be 0 x 5; expected sides from 1 to 16384");
    assert_false(rt_image_new(5, 16385, 1, &image, &error));
    assert_false(rt_image_new(16384, 16384, 3, &image, &error));
    assert_null(image.pixels);
    assert_true(rt_image_new(3, 2, 3, &image, &error));
    for (int i = 0; i < 18; i++)
        assert_int_equal(image.pixels[i], 0);
    rt_image_free(&image);
    rt_image_free(&image);
}

/* --- crop and evaluation --- */

static uint8_t count_up(int x, int y, int c) {
    return (uint8_t)(1 + 40 * y + 3 * x + c);
}

static rt_image counted(int width, int height, int channels) {
    rt_image image;
    rt_error error;
    assert_true(rt_image_new(width, height, channels, &image, &error));
    for (int i = 0; i < width * height * channels; i++)
        image.pixels[i] = count_up(i / channels % width, i / channels / width, i % channels);
    return image;
}

/* Every crop of a small image, inside, across each edge, and far away. */
static void test_crop(void **state) {
    (void)state;
    enum { SW = 4, SH = 3 };
    for (int channels = 1; channels <= 3; channels += 2) {
        rt_image source = counted(SW, SH, channels);
        for (int left = -6; left <= 6; left++)
            for (int top = -5; top <= 5; top++)
                for (int size = 1; size <= 5; size++) {
                    rt_image out;
                    rt_error error;
                    assert_true(rt_image_crop(&source, left, top, size, size + 1, &out, &error));
                    for (int i = 0; i < size * (size + 1) * channels; i++) {
                        int x = left + i / channels % size, y = top + i / channels / size;
                        bool inside = x >= 0 && x < SW && y >= 0 && y < SH;
                        int expected = inside ? count_up(x, y, i % channels) : 0;
                        assert_int_equal(out.pixels[i], expected);
                    }
                    rt_image_free(&out);
                }
        rt_image out;
        rt_error error;
        assert_true(rt_image_crop(&source, -2000000000, 2000000000, 2, 2, &out, &error));
        assert_int_equal(out.pixels[0], 0);
        rt_image_free(&out);
        assert_false(rt_image_crop(&source, 0, 0, 0, 1, &out, &error));
        rt_image_free(&source);
    }
}

/* Where the centre crop lies, seen through an image that keeps its size: only the crop moves. */
static void expect_centre(int width, int height, int size, int left, int top) {
    rt_image source = counted(width, height, 1), out, crop;
    rt_eval_transform how = {.size = size, .crop_pct = 1};
    rt_error error;
    assert_true(rt_image_evaluate(&source, &how, &out, &error));
    assert_int_equal(out.width, size);
    assert_int_equal(out.height, size);
    assert_true(rt_image_crop(&source, left, top, size, size, &crop, &error));
    assert_memory_equal(out.pixels, crop.pixels, (size_t)size * (size_t)size);
    rt_image_free(&source);
    rt_image_free(&out);
    rt_image_free(&crop);
}

static void test_centre(void **state) {
    (void)state;
    expect_centre(8, 4, 4, 2, 0);
    expect_centre(4, 8, 4, 0, 2);
    expect_centre(5, 4, 4, 0, 0); /* 0.5 to 0, 1.5 to 2, 2.5 to 2: halves to even */
    expect_centre(7, 4, 4, 2, 0);
    expect_centre(9, 4, 4, 2, 0);
    expect_centre(4, 11, 4, 0, 4);
    expect_centre(4, 4, 4, 0, 0);
}

/* The sizes on the way: shorter side int(size / crop_pct), longer int(side * longer / shorter). */
static void test_evaluate(void **state) {
    (void)state;
    rt_image source = counted(50, 37, 3), out, resized, crop;
    rt_error error;
    rt_eval_transform how = {.size = 24, .crop_pct = 0.875}; /* 27; 27 * 50 / 37 = 36 */
    assert_true(rt_image_evaluate(&source, &how, &out, &error));
    rt_box all = {.right = 50, .bottom = 37};
    assert_true(rt_image_resize(&source, all, 36, 27, &resized, &error));
    assert_true(rt_image_crop(&resized, 6, 2, 24, 24, &crop, &error)); /* 6; 1.5 to 2 */
    assert_memory_equal(out.pixels, crop.pixels, 24 * 24 * 3);
    rt_image_free(&out);
    rt_image_free(&crop);
    rt_image_free(&resized);
    how.squash = true;
    assert_true(rt_image_evaluate(&source, &how, &out, &error));
    assert_true(rt_image_resize(&source, all, 27, 27, &resized, &error));
    assert_true(rt_image_crop(&resized, 2, 2, 24, 24, &crop, &error));
    assert_memory_equal(out.pixels, crop.pixels, 24 * 24 * 3);
    rt_image_free(&out);
    rt_image_free(&crop);
    rt_image_free(&resized);
    how.crop_pct = 1;
    assert_true(rt_image_evaluate(&source, &how, &out, &error));
    assert_true(rt_image_resize(&source, all, 24, 24, &resized, &error));
    assert_memory_equal(out.pixels, resized.pixels, 24 * 24 * 3);
    rt_image_free(&out);
    rt_image_free(&resized);
    rt_image_free(&source);
}

/* An image that has the right size already: taken as it is up to 32 pixels, resized and cropped as
 * any other above. */
static void test_evaluate_same_size(void **state) {
    (void)state;
    static const bool squash[] = {false, true};
    for (int size = 31; size <= 34; size++)
        for (int i = 0; i < 2; i++) {
            rt_image source = counted(size, size, 3), out;
            rt_eval_transform how = {.size = size, .crop_pct = 0.875, .squash = squash[i]};
            rt_error error;
            assert_true(rt_image_evaluate(&source, &how, &out, &error));
            size_t bytes = (size_t)size * (size_t)size * 3;
            assert_int_equal(memcmp(out.pixels, source.pixels, bytes) == 0, size <= 32);
            rt_image_free(&out);
            how.crop_pct = 1;
            assert_true(rt_image_evaluate(&source, &how, &out, &error));
            assert_memory_equal(out.pixels, source.pixels, bytes);
            rt_image_free(&out);
            rt_image_free(&source);
        }
}

static void test_evaluate_strip(void **state) {
    (void)state;
    rt_image source = counted(2000, 1, 1), out;
    rt_eval_transform how = {.size = 224, .crop_pct = 0.875};
    rt_error error;
    assert_false(rt_image_evaluate(&source, &how, &out, &error));
    assert_string_equal(error.text,
                        "an image of 2000 x 1 pixels with its shorter side at 256 would be 512000 "
                        "pixels long; expected at most 16384");
    how.crop_pct = 1e-300;
    assert_false(rt_image_evaluate(&source, &how, &out, &error));
    assert_non_null(strstr(error.text, "a crop of 224 pixels that is 1e-300 of the image's side"));
    how = (rt_eval_transform){.size = 224, .crop_pct = 0.875, .squash = true};
    assert_true(rt_image_evaluate(&source, &how, &out, &error));
    assert_int_equal(out.width, 224);
    rt_image_free(&out);
    rt_image_free(&source);
}

static void test_normalize(void **state) {
    (void)state;
    rt_image image = counted(3, 2, 3);
    const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
    float out[18];
    rt_image_normalize(&image, mean, std, out);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 2; y++)
            for (int x = 0; x < 3; x++)
                assert_true(out[(c * 2 + y) * 3 + x] ==
                            ((float)count_up(x, y, c) / 255.0f - mean[c]) / std[c]);
    rt_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_zip_bomb),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_jpeg_parts),
        cmocka_unit_test(test_bmp),
        cmocka_unit_test(test_bmp_lies),
        cmocka_unit_test(test_write_png),
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_crop),
        cmocka_unit_test(test_centre),
        cmocka_unit_test(test_evaluate),
        cmocka_unit_test(test_evaluate_same_size),
        cmocka_unit_test(test_evaluate_strip),
        cmocka_unit_test(test_normalize),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
