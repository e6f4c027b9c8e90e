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

/* Weights of `size` results over [from, to) of a source of `source_size` pixels. */
static bool make_taps(int source_size, double from, double to, int size, taps *t) {
    double scale = (to - from) / size, stretch = scale < 1 ? 1 : scale, reach = support * stretch;
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
        double centre = from + (i + 0.5) * scale, sum = 0;
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
static bool resize_width(const rt_image *source, rt_box box, int first_row, rt_image *out) {
    taps t = {0};
    bool good = make_taps(source->width, box.left, box.right, out->width, &t);
    for (int y = 0; good && y < out->height; y++)
        resize_row(source->pixels + (int64_t)(first_row + y) * source->width * source->channels,
                   source->channels, &t, out->width,
                   out->pixels + (int64_t)y * out->width * out->channels);
    free_taps(&t);
    return good;
}

/* Vertically: rows of `rows` begin at row first_row of what the taps count. */
static bool resize_height(const rt_image *rows, const taps *t, int first_row, rt_image *out) {
    int64_t bytes = (int64_t)out->width * out->channels;
    int32_t *sum = malloc((size_t)bytes * sizeof *sum);
    for (int y = 0; sum && y < out->height; y++)
        resize_column(rows->pixels + (t->first[y] - first_row) * bytes, bytes,
                      t->weight + (int64_t)y * t->width, t->count[y], sum, out->pixels + y * bytes);
    free(sum);
    return sum != NULL;
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

/* Both passes through the rows that the vertical one reads; the same when a pass changes nothing.
 */
static bool resize_both(const rt_image *source, rt_box box, const taps *vertical, rt_image *out,
                        rt_error *error) {
    int first = vertical->first[0], last = out->height - 1;
    int end = vertical->first[last] + vertical->count[last];
    bool across = out->width != source->width || box.left != 0 || box.right != source->width;
    rt_image rows;
    if (!across) { /* the rows as they are, seen from the first one */
        rows = *source;
        first = 0;
    } else {
        if (!rt_image_new(out->width, end - first, out->channels, &rows, error)) return false;
        if (!resize_width(source, box, first, &rows)) {
            rt_image_free(&rows);
            return rt_fail(error, "out of memory for a resize");
        }
    }
    bool good =
        resize_height(&rows, vertical, first, out) || rt_fail(error, "out of memory for a resize");
    if (across) rt_image_free(&rows);
    return good;
}

bool rt_image_resize(const rt_image *source, rt_box box, int width, int height, rt_image *out,
                     rt_error *error) {
    *out = (rt_image){0};
    if (!check(source, box, width, height, error)) return false;
    if (!rt_image_new(width, height, source->channels, out, error)) return false;
    bool down = height != source->height || box.top != 0 || box.bottom != source->height;
    bool across = width != source->width || box.left != 0 || box.right != source->width;
    taps vertical = {0};
    bool good = true;
    if (!down && !across)
        memcpy(out->pixels, source->pixels,
               (size_t)width * (size_t)height * (size_t)source->channels);
    else if (!down)
        good = resize_width(source, box, 0, out) || rt_fail(error, "out of memory for a resize");
    else if (make_taps(source->height, box.top, box.bottom, height, &vertical))
        good = resize_both(source, box, &vertical, out, error);
    else
        good = rt_fail(error, "out of memory for a resize");
    free_taps(&vertical);
    if (!good) rt_image_free(out);
    return good;
}
