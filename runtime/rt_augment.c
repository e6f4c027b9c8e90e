/* Random resized crop, padded crop, flip; in this order, each only if asked for. */
#include "rt_augment.h"

#include "rt_random.h"

#include <inttypes.h>
#include <math.h>

/* The kinds of draws; each is a stream of its own, so that one more never shifts another. */
enum { DRAW_AREA, DRAW_RATIO, DRAW_LEFT, DRAW_TOP, DRAW_PAD_LEFT, DRAW_PAD_TOP, DRAW_FLIP };
enum { CROP_TRIES = 10 };

static rt_place place_of(rt_augment_place at, uint32_t draw, uint32_t index) {
    return (rt_place){.step = at.epoch,
                      .stream = RT_STREAM_AUGMENT + draw,
                      .sample = at.position,
                      .index = index};
}

static double between(rt_augment_place at, uint32_t draw, uint32_t index, const double range[2]) {
    double u = (double)rt_random_uniform(at.seed, place_of(at, draw, index));
    return range[0] + (range[1] - range[0]) * u;
}

static int below(rt_augment_place at, uint32_t draw, uint32_t index, int64_t bound) {
    return (int)rt_random_below(at.seed, place_of(at, draw, index), bound);
}

static bool has_resized_crop(const rt_augment *augment) {
    return augment->scale[0] != 0 || augment->scale[1] != 0;
}

bool rt_augment_check(const rt_augment *a, rt_error *error) {
    if (a->crop_padding < 0 || a->crop_padding > RT_MAX_IMAGE_SIDE / 4)
        return rt_fail(error, "crop_padding is %" PRId64 "; expected 0 to %d", a->crop_padding,
                       RT_MAX_IMAGE_SIDE / 4);
    if (!(a->flip >= 0 && a->flip <= 1))
        return rt_fail(error, "flip is %g; expected a probability from 0 to 1", a->flip);
    if (!has_resized_crop(a)) return true;
    if (!(a->scale[0] > 0 && a->scale[0] <= a->scale[1] && a->scale[1] <= 1))
        return rt_fail(error,
                       "the resized crop's scale is %g to %g; expected 0 < least <= most <= 1",
                       a->scale[0], a->scale[1]);
    if (!(a->ratio[0] > 0 && a->ratio[0] <= a->ratio[1] && a->ratio[1] < INFINITY))
        return rt_fail(error, "the resized crop's ratio is %g to %g; expected 0 < least <= most",
                       a->ratio[0], a->ratio[1]);
    return true;
}

static rt_box box_at(int left, int top, int width, int height) {
    return (rt_box){left, top, left + width, top + height};
}

/* torchvision's RandomResizedCrop.get_params; rounding is to even, as Python's round(). */
rt_box rt_augment_box(const rt_augment *augment, rt_augment_place place, int width, int height) {
    double area = (double)width * height;
    const double *ratio = augment->ratio, logs[2] = {log(ratio[0]), log(ratio[1])};
    for (uint32_t i = 0; i < CROP_TRIES; i++) {
        double target = area * between(place, DRAW_AREA, i, augment->scale);
        double aspect = exp(between(place, DRAW_RATIO, i, logs));
        double w = nearbyint(sqrt(target * aspect)), h = nearbyint(sqrt(target / aspect));
        if (w < 1 || h < 1 || w > width || h > height) continue;
        return box_at(below(place, DRAW_LEFT, i, width - (int)w + 1),
                      below(place, DRAW_TOP, i, height - (int)h + 1), (int)w, (int)h);
    }
    int w = width, h = height;
    double found = (double)width / height;
    if (found < ratio[0])
        h = (int)nearbyint(width / ratio[0]);
    else if (found > ratio[1])
        w = (int)nearbyint(height * ratio[1]);
    w = w < 1 ? 1 : w;
    h = h < 1 ? 1 : h;
    return box_at((width - w) / 2, (height - h) / 2, w, h);
}

static void flip(rt_image *image) {
    for (int y = 0; y < image->height; y++) {
        uint8_t *row = image->pixels + (int64_t)y * image->width * image->channels;
        for (int left = 0, right = image->width - 1; left < right; left++, right--)
            for (int c = 0; c < image->channels; c++) {
                uint8_t *a = row + left * image->channels + c,
                        *b = row + right * image->channels + c, kept = *a;
                *a = *b;
                *b = kept;
            }
    }
}

/* Cuts first and resizes the cut, so that no pixel outside of it has a share in the result. */
static bool resized_crop(const rt_loader_options *options, rt_augment_place place,
                         const rt_image *source, rt_image *out, rt_error *error) {
    rt_box box = rt_augment_box(&options->augment, place, source->width, source->height);
    int width = (int)(box.right - box.left), height = (int)(box.bottom - box.top);
    rt_image cut;
    if (!rt_image_crop(source, (int)box.left, (int)box.top, width, height, &cut, error))
        return false;
    rt_box all = {.right = width, .bottom = height};
    bool good = rt_image_resize(&cut, all, options->width, options->height, out, error);
    rt_image_free(&cut);
    return good;
}

static bool padded_crop(int padding, rt_augment_place place, rt_image *image, rt_error *error) {
    int left = below(place, DRAW_PAD_LEFT, 0, 2 * padding + 1) - padding;
    int top = below(place, DRAW_PAD_TOP, 0, 2 * padding + 1) - padding;
    rt_image moved;
    bool good = rt_image_crop(image, left, top, image->width, image->height, &moved, error);
    rt_image_free(image);
    if (good) *image = moved;
    return good;
}

bool rt_augment_image(const rt_loader_options *options, const rt_augment_place *place,
                      const rt_image *source, rt_image *out, rt_error *error) {
    const rt_augment *augment = &options->augment;
    if (!place) return rt_image_evaluate(source, &options->evaluate, out, error);
    bool good = has_resized_crop(augment)
                    ? resized_crop(options, *place, source, out, error)
                    : rt_image_evaluate(source, &options->evaluate, out, error);
    if (good && augment->crop_padding > 0)
        good = padded_crop((int)augment->crop_padding, *place, out, error);
    if (good && augment->flip > 0 &&
        (double)rt_random_uniform(place->seed, place_of(*place, DRAW_FLIP, 0)) < augment->flip)
        flip(out);
    return good;
}
