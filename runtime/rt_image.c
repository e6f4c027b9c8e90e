/* Images: decoding with every field checked, conversion of channels, crop, evaluation, PNG files.
 */
#define _GNU_SOURCE
#include "rt_image.h"

#include "rt_file.h"
#include "rt_image_check.h"
#include "rt_stb.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

bool rt_image_new(int width, int height, int channels, rt_image *image, rt_error *error) {
    *image = (rt_image){.width = width, .height = height, .channels = channels};
    if (width < 1 || height < 1 || width > RT_MAX_IMAGE_SIDE || height > RT_MAX_IMAGE_SIDE)
        return rt_fail(error, "the image would be %d x %d; expected sides from 1 to %d", width,
                       height, RT_MAX_IMAGE_SIDE);
    int64_t bytes = (int64_t)width * height * channels;
    if (bytes > RT_MAX_IMAGE_BYTES)
        return rt_fail(error, "the image would be %d x %d x %d, %lld bytes; expected at most %d",
                       width, height, channels, (long long)bytes, RT_MAX_IMAGE_BYTES);
    image->pixels = calloc((size_t)bytes, 1);
    return image->pixels || rt_fail(error, "out of memory for an image of %d x %d", width, height);
}

void rt_image_free(rt_image *image) {
    free(image->pixels);
    *image = (rt_image){0};
}

/* --- decoding --- */

/* Grey as PIL has it (ITU-R 601-2): (19595 R + 38470 G + 7471 B + 2^15) / 2^16. Alpha is dropped.
 */
static void convert(const uint8_t *from, int from_channels, uint8_t *to, int to_channels,
                    size_t pixels) {
    bool colour = from_channels >= 3;
    for (size_t i = 0; i < pixels; i++, from += from_channels, to += to_channels) {
        if (to_channels == 1)
            to[0] =
                colour
                    ? (uint8_t)((19595u * from[0] + 38470u * from[1] + 7471u * from[2] + 0x8000u) >>
                                16)
                    : from[0];
        else
            for (int c = 0; c < to_channels; c++)
                to[c] = from[colour ? c : 0];
    }
}

bool rt_image_decode(const char *name, const uint8_t *bytes, size_t size, int channels,
                     rt_image *image, rt_error *error) {
    *image = (rt_image){0};
    rt_stb_info info = {0};
    const char *reason;
    if (!rt_image_check(name, bytes, size, error)) return false;
    if (!rt_stb_size(bytes, size, &info, &reason))
        return rt_fail(error, "%s: no image (%s); expected PNG, JPEG or BMP", name, reason);
    if (info.width < 1 || info.height < 1 || info.width > RT_MAX_IMAGE_SIDE ||
        info.height > RT_MAX_IMAGE_SIDE)
        return rt_fail(error, "%s: image of %d x %d pixels; expected sides from 1 to %d", name,
                       info.width, info.height, RT_MAX_IMAGE_SIDE);
    int64_t needed = (int64_t)info.width * info.height * info.channels * info.bytes;
    if (needed > RT_MAX_IMAGE_BYTES)
        return rt_fail(error, "%s: image of %d x %d pixels takes %lld bytes; expected at most %d",
                       name, info.width, info.height, (long long)needed, RT_MAX_IMAGE_BYTES);
    uint8_t *pixels = rt_stb_decode(bytes, size, &info, &reason);
    if (!pixels) return rt_fail(error, "%s: broken image (%s)", name, reason);
    bool good = rt_image_new(info.width, info.height, channels, image, error);
    if (good)
        convert(pixels, info.channels, image->pixels, channels, (size_t)info.width * info.height);
    else
        rt_fail_in(error, "%s", name);
    rt_stb_free(pixels);
    return good;
}

bool rt_image_load(const char *path, int channels, rt_image *image, rt_error *error) {
    *image = (rt_image){0};
    uint8_t *bytes;
    size_t size;
    if (!rt_file_read(path, RT_MAX_IMAGE_BYTES, &bytes, &size, error)) return false;
    bool good = rt_image_decode(path, bytes, size, channels, image, error);
    free(bytes);
    return good;
}

/* --- geometry --- */

bool rt_image_crop(const rt_image *source, int left, int top, int width, int height, rt_image *out,
                   rt_error *error) {
    if (!rt_image_new(width, height, source->channels, out, error)) return false;
    int64_t first = left < 0 ? -(int64_t)left : 0;
    int64_t last = (int64_t)source->width - left < width ? (int64_t)source->width - left : width;
    for (int64_t y = 0; y < height && first < last; y++) {
        int64_t from = top + y;
        if (from < 0 || from >= source->height) continue;
        memcpy(out->pixels + (y * width + first) * source->channels,
               source->pixels + (from * source->width + left + first) * source->channels,
               (size_t)(last - first) * (size_t)source->channels);
    }
    return true;
}

static bool resize_whole(const rt_image *source, int width, int height, rt_image *out,
                         rt_error *error) {
    rt_box all = {.right = source->width, .bottom = source->height};
    return rt_image_resize(source, all, width, height, out, error);
}

/* Half of what is left around the crop, halves to even as Python rounds. */
static int centre(int side, int size) {
    return (int)nearbyint((side - size) / 2.0);
}

/* Sides before the crop: the shorter one as asked for and the longer one in proportion, or both the
 * same. */
static bool sides(const rt_image *source, const rt_eval_transform *how, int *width, int *height,
                  rt_error *error) {
    double exact = floor(how->size / how->crop_pct);
    if (!(exact <= RT_MAX_IMAGE_SIDE))
        return rt_fail(error,
                       "a crop of %d pixels that is %g of the image's side needs %.0f pixels; "
                       "expected at most %d",
                       how->size, how->crop_pct, exact, RT_MAX_IMAGE_SIDE);
    int side = (int)exact;
    bool wide = source->width > source->height;
    int64_t shorter = wide ? source->height : source->width;
    int64_t longer = (int64_t)side * (wide ? source->width : source->height) / shorter;
    if (how->squash) longer = side;
    if (longer > RT_MAX_IMAGE_SIDE)
        return rt_fail(error,
                       "an image of %d x %d pixels with its shorter side at %d would be "
                       "%lld pixels long; expected at most %d",
                       source->width, source->height, side, (long long)longer, RT_MAX_IMAGE_SIDE);
    *width = wide ? (int)longer : side;
    *height = wide ? side : (int)longer;
    return true;
}

bool rt_image_evaluate(const rt_image *source, const rt_eval_transform *how, rt_image *out,
                       rt_error *error) {
    int size = how->size, width = 0, height = 0;
    *out = (rt_image){0};
    if (size <= RT_SMALL_IMAGE && source->width == size && source->height == size)
        return rt_image_crop(source, 0, 0, size, size, out, error);
    if (!sides(source, how, &width, &height, error)) return false;
    rt_image resized;
    if (!resize_whole(source, width, height, &resized, error)) return false;
    bool good =
        rt_image_crop(&resized, centre(width, size), centre(height, size), size, size, out, error);
    rt_image_free(&resized);
    return good;
}

void rt_image_normalize(const rt_image *image, const float *mean, const float *std, float *out) {
    int64_t pixels = (int64_t)image->width * image->height;
    for (int c = 0; c < image->channels; c++) {
        float value[256];
        for (int i = 0; i < 256; i++)
            value[i] = ((float)i / 255.0f - mean[c]) / std[c];
        const uint8_t *from = image->pixels + c;
        for (int64_t i = 0; i < pixels; i++)
            out[c * pixels + i] = value[from[i * image->channels]];
    }
}

/* --- PNG files --- */

static void put_be32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_chunk(rt_file *file, const char *type, const uint8_t *data, uint32_t size) {
    uint8_t word[4];
    put_be32(word, size);
    rt_file_write(file, word, sizeof word);
    rt_file_write(file, type, 4);
    rt_file_write(file, data, size);
    uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)type, 4);
    put_be32(word, (uint32_t)(size ? crc32(crc, data, size) : crc));
    rt_file_write(file, word, sizeof word);
}

/* The rows, each behind its filter byte (0, none), as one zlib stream; free(). */
static uint8_t *pack_rows(const rt_image *image, uLongf *bytes) {
    size_t row = (size_t)image->width * (size_t)image->channels, height = (size_t)image->height;
    uint8_t *rows = malloc((row + 1) * height);
    *bytes = compressBound((row + 1) * height);
    uint8_t *packed = malloc(*bytes);
    for (size_t y = 0; rows && y < height; y++) {
        rows[y * (row + 1)] = 0;
        memcpy(rows + y * (row + 1) + 1, image->pixels + y * row, row);
    }
    bool good = rows && packed && compress2(packed, bytes, rows, (row + 1) * height, 6) == Z_OK;
    free(rows);
    if (good) return packed;
    free(packed);
    return NULL;
}

bool rt_image_write_png(const char *path, const rt_image *image, rt_error *error) {
    if (image->channels != 1 && image->channels != 3)
        return rt_fail(error, "cannot write '%s': image of %d channels; expected 1 or 3", path,
                       image->channels);
    uLongf bytes = 0;
    uint8_t *packed = pack_rows(image, &bytes);
    if (!packed) return rt_fail(error, "cannot write '%s': out of memory", path);
    rt_file *file = rt_file_create(path, error);
    if (file) {
        uint8_t header[13] = {0};
        put_be32(header, (uint32_t)image->width);
        put_be32(header + 4, (uint32_t)image->height);
        header[8] = 8; /* bits a channel */
        header[9] = image->channels == 3 ? 2 : 0;
        rt_file_write(file, "\x89PNG\r\n\x1a\n", 8);
        write_chunk(file, "IHDR", header, sizeof header);
        write_chunk(file, "IDAT", packed, (uint32_t)bytes);
        write_chunk(file, "IEND", header, 0);
    }
    free(packed);
    return file && rt_file_commit(file, error);
}
