/* Bicubic resize, equal to PIL's to the last bit (Pillow's src/libImaging/Resample.c).
 *
 * A row of the result is a weighted sum of source pixels around its centre. When the image shrinks,
 * the kernel is stretched by the ratio, so that it averages instead of skipping (antialiasing).
 * Both directions use the same code for weights; pixels are rounded to 8 bits between the two
 * passes.
 */
#include "rt_image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PRECISION = 22 /* bits of a weight behind the point: 8-bit pixels times weights fit 32 bits */
};
static const double support = 2; /* the kernel's reach */

/* Keys (1981), a = -0.5. */
static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

/* Result i is the sum of weight[i * width + k] * source[first[i] + k] over k < count[i]. */
typedef struct taps {
    int width; /* weights there is room for */
    int *first, *count;
    int32_t *weight;
} taps;

static void free_taps(taps *t) {
    free(t->first);
    free(t->count);
    free(t->weight);
}

static int32_t fixed_point(double weight) {
    double scaled = weight * (1 << PRECISION);
    return (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

/* Weights of `size` results over [from, to) of a source of `source_size` pixels; the ends of a box
 * are single precision in Pillow, and so is their difference. */
static bool make_taps(int source_size, float from, float to, int size, taps *t) {
    double scale = (double)(to - from) / size, stretch = scale < 1 ? 1 : scale,
           reach = support * stretch;
    t->width = (int)ceil(reach) * 2 + 1;
    t->first = malloc((size_t)size * sizeof *t->first);
    t->count = malloc((size_t)size * sizeof *t->count);
    t->weight = calloc((size_t)size * (size_t)t->width, sizeof *t->weight);
    double *exact = malloc((size_t)t->width * sizeof *exact);
    if (!t->first || !t->count || !t->weight || !exact) {
        free(exact);
        return false;
    }
    for (int i = 0; i < size; i++) {
        double centre = (double)from + (i + 0.5) * scale, sum = 0;
        int first = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
        first = first < 0 ? 0 : first;
        end = end > source_size ? source_size : end;
        for (int k = 0; k < end - first; k++) {
            exact[k] = bicubic((k + first - centre + 0.5) * (1 / stretch));
            sum += exact[k];
        }
        for (int k = 0; k < end - first; k++)
            t->weight[(int64_t)i * t->width + k] =
                fixed_point(sum != 0 ? exact[k] / sum : exact[k]);
        t->first[i] = first;
        t->count[i] = end - first;
    }
    free(exact);
    return true;
}

static uint8_t to_pixel(int32_t sum) {
    sum >>= PRECISION;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* from: a row of the source, to: a row of out_width results; both with `channels` per pixel. */
static void resize_row(const uint8_t *from, int channels, const taps *t, int out_width,
                       uint8_t *to) {
    for (int x = 0; x < out_width; x++, to += channels) {
        const int32_t *weight = t->weight + (int64_t)x * t->width;
        const uint8_t *pixel = from + (int64_t)t->first[x] * channels;
        int32_t sum[4] = {0};
        if (channels == 3) {
            int32_t r = 1 << (PRECISION - 1), g = r, b = r;
            for (int k = 0; k < t->count[x]; k++, pixel += 3) {
                r += pixel[0] * weight[k];
                g += pixel[1] * weight[k];
                b += pixel[2] * weight[k];
            }
            sum[0] = r;
            sum[1] = g;
            sum[2] = b;
        } else {
            for (int c = 0; c < channels; c++) {
                sum[c] = 1 << (PRECISION - 1);
                for (int k = 0; k < t->count[x]; k++)
                    sum[c] += pixel[k * channels + c] * weight[k];
            }
        }
        for (int c = 0; c < channels; c++)
            to[c] = to_pixel(sum[c]);
    }
}

/* One row of the result from `count` rows of `bytes` each; sum: room for `bytes` numbers. */
static void resize_column(const uint8_t *from, int64_t bytes, const int32_t *weight, int count,
                          int32_t *sum, uint8_t *to) {
    for (int64_t i = 0; i < bytes; i++)
        sum[i] = 1 << (PRECISION - 1);
    for (int k = 0; k < count; k++, from += bytes)
        for (int64_t i = 0; i < bytes; i++)
            sum[i] += from[i] * weight[k];
    for (int64_t i = 0; i < bytes; i++)
        to[i] = to_pixel(sum[i]);
}

/* Horizontally: rows [first_row, first_row + out->height) of the source. */
static void resize_width(const rt_image *source, const taps *t, int first_row, rt_image *out) {
    for (int y = 0; y < out->height; y++)
        resize_row(source->pixels + (int64_t)(first_row + y) * source->width * source->channels,
                   source->channels, t, out->width,
                   out->pixels + (int64_t)y * out->width * out->channels);
}

/* Vertically: `rows` begin at row first_row of what the taps count. */
static bool resize_height(const rt_image *rows, const taps *t, int first_row, rt_image *out,
                          rt_error *error) {
    int64_t bytes = (int64_t)out->width * out->channels;
    int32_t *sum = malloc((size_t)bytes * sizeof *sum);
    if (!sum) return rt_fail(error, "out of memory for a resize");
    for (int y = 0; y < out->height; y++)
        resize_column(rows->pixels + (t->first[y] - first_row) * bytes, bytes,
                      t->weight + (int64_t)y * t->width, t->count[y], sum, out->pixels + y * bytes);
    free(sum);
    return true;
}

/* Which pass comes first shows in the last bit, because pixels are rounded between them. Pillow
 * took rows first until version 12; since 13 (measured, not documented) it takes columns first
 * where the image loses more rows than twice the columns it loses. */
static bool down_first(const rt_image *source, int width, int height) {
    int rows = source->height - height, columns = source->width - width;
    return rows > 0 && rows > 2 * columns;
}

static bool check(const rt_image *source, rt_box box, int width, int height, rt_error *error) {
    if (!(box.left >= 0 && box.left < box.right && box.right <= source->width && box.top >= 0 &&
          box.top < box.bottom && box.bottom <= source->height))
        return rt_fail(error,
                       "resize of the box (%g, %g)-(%g, %g); expected one inside of the image's "
                       "%d x %d pixels",
                       box.left, box.top, box.right, box.bottom, source->width, source->height);
    if (width < 1 || height < 1 || width > RT_MAX_IMAGE_SIDE || height > RT_MAX_IMAGE_SIDE)
        return rt_fail(error, "resize to %d x %d pixels; expected sides from 1 to %d", width,
                       height, RT_MAX_IMAGE_SIDE);
    return true;
}

/* Rows first, columns of the result after: only the rows that the second pass reads are made. */
static bool across_then_down(const rt_image *source, const taps *across, const taps *down,
                             rt_image *out, rt_error *error) {
    int first = down->first[0], last = out->height - 1;
    int end = down->first[last] + down->count[last];
    rt_image between;
    if (!rt_image_new(out->width, end - first, out->channels, &between, error)) return false;
    resize_width(source, across, first, &between);
    bool good = resize_height(&between, down, first, out, error);
    rt_image_free(&between);
    return good;
}

static bool down_then_across(const rt_image *source, const taps *across, const taps *down,
                             rt_image *out, rt_error *error) {
    rt_image between;
    if (!rt_image_new(source->width, out->height, out->channels, &between, error)) return false;
    bool good = resize_height(source, down, 0, &between, error);
    if (good) resize_width(&between, across, 0, out);
    rt_image_free(&between);
    return good;
}

bool rt_image_resize(const rt_image *source, rt_box box, int width, int height, rt_image *out,
                     rt_error *error) {
    *out = (rt_image){0};
    if (!check(source, box, width, height, error)) return false;
    if (!rt_image_new(width, height, source->channels, out, error)) return false;
    /* A pass that would change nothing is left out. */
    bool wide = width != source->width || box.left != 0 || box.right != source->width;
    bool high = height != source->height || box.top != 0 || box.bottom != source->height;
    taps across = {0}, down = {0};
    bool good =
        (!wide || make_taps(source->width, (float)box.left, (float)box.right, width, &across)) &&
        (!high || make_taps(source->height, (float)box.top, (float)box.bottom, height, &down));
    if (!good)
        rt_fail(error, "out of memory for a resize to %d x %d", width, height);
    else if (wide && high && down_first(source, width, height))
        good = down_then_across(source, &across, &down, out, error);
    else if (wide && high)
        good = across_then_down(source, &across, &down, out, error);
    else if (wide)
        resize_width(source, &across, 0, out);
    else if (high)
        good = resize_height(source, &down, 0, out, error);
    else
        memcpy(out->pixels, source->pixels,
               (size_t)width * (size_t)height * (size_t)source->channels);
    free_taps(&across);
    free_taps(&down);
    if (!good) rt_image_free(out);
    return good;
}
