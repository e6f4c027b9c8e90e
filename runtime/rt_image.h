/* Images: 8 bits a channel, rows from the top, channels last; decoded by stb_image. */
#ifndef RT_IMAGE_H
#define RT_IMAGE_H

#include "rt_error.h"

enum { RT_MAX_IMAGE_SIDE = 16384, RT_MAX_IMAGE_BYTES = 256 << 20 };

typedef struct rt_image {
    int width, height, channels;
    uint8_t *pixels; /* (height, width, channels) */
} rt_image;

/* PNG, JPEG or BMP by content. channels: 1 (grey) or 3, converted if the file has others. */
bool rt_image_load(const char *path, int channels, rt_image *image, rt_error *error);
bool rt_image_decode(const char *name, const uint8_t *bytes, size_t size, int channels,
                     rt_image *image, rt_error *error);
bool rt_image_new(int width, int height, int channels, rt_image *image, rt_error *error);
void rt_image_free(rt_image *image);
/* PNG (8-bit grey or RGB), written whole or not at all. */
bool rt_image_write_png(const char *path, const rt_image *image, rt_error *error);

/* Bicubic (a = -0.5) with antialiasing, as resize of PIL (Pillow 13) does it: two passes,
 * coefficients in 22-bit fixed point, each pass rounded to 8 bits. `box` is the part of the source
 * that is used, in pixels. */
typedef struct rt_box {
    double left, top, right, bottom;
} rt_box;
bool rt_image_resize(const rt_image *source, rt_box box, int width, int height, rt_image *out,
                     rt_error *error);
/* The part at (left, top) of this size; what lies outside of the source is 0. */
bool rt_image_crop(const rt_image *source, int left, int top, int width, int height, rt_image *out,
                   rt_error *error);
/* Evaluation: shorter side to int(size / crop_pct), centre crop of size x size; with `squash`, both
 * sides to int(size / crop_pct), whatever the shape. crop_pct in (0, 1]. Sizes and rounding as timm
 * and torchvision: the longer side is int(side * longer / shorter), the crop starts at round half
 * to even of (side - size) / 2. A small image (of 32 pixels or less, as CIFAR and MNIST have them)
 * that has the right size already is taken as it is. */
enum { RT_SMALL_IMAGE = 32 };
typedef struct rt_eval_transform {
    int size;
    double crop_pct;
    bool squash;
} rt_eval_transform;
bool rt_image_evaluate(const rt_image *source, const rt_eval_transform *how, rt_image *out,
                       rt_error *error);
/* out[c][y][x] = (pixel / 255 - mean[c]) / std[c]; out: (C,H,W) f32. */
void rt_image_normalize(const rt_image *image, const float *mean, const float *std, float *out);

#endif
