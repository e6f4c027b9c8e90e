/* Batches of training or evaluation images, prepared by threads ahead of the step that takes them.
 *
 * Batch b of an epoch depends on seed, epoch and b alone: the order of images is the permutation of
 * (seed, epoch), each image's augmentation draws come from its place in it. So neither threads nor
 * a resumed run change what is learnt. Training drops the last, incomplete batch; evaluation keeps
 * it, with `count` images and the rest of the batch zero.
 *
 *     rt_loader *loader = rt_loader_new(data, &options, &error);
 *     rt_loader_start(loader, epoch, first_batch);
 *     while (rt_loader_next(loader, image, label, &count, &error) && count > 0) step();
 *     rt_loader_free(loader);
 */
#ifndef RT_LOADER_H
#define RT_LOADER_H

#include "rt_data.h"

enum {
    RT_MAX_CHANNELS = 3,
    RT_MAX_LOADER_THREADS = 256,
    RT_LOADER_SLOTS = 2 /* batches a loader holds: one being taken, one being prepared */
};

typedef struct rt_augment {
    int64_t crop_padding; /* random crop out of the image with this many zeros around; 0: none */
    double flip;          /* probability of a horizontal flip */
    double scale[2];      /* share of the area of a random resized crop; both 0: no such crop */
    double ratio[2];      /* its aspect ratios, width by height; log-uniform; ten tries, then the
                             largest centred crop within the ratios (torchvision) */
} rt_augment;

typedef struct rt_loader_options {
    int64_t batch;
    int channels, height, width; /* of the model's input; height == width */
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS];
    rt_eval_transform evaluate; /* what happens to an image without augmentation */
    rt_augment augment;
    bool training; /* shuffled and augmented, last batch dropped */
    uint64_t seed;
    int threads; /* that prepare; 1 to RT_MAX_LOADER_THREADS */
} rt_loader_options;

typedef struct rt_loader rt_loader;

/* False at once if the data cannot fit: no images, or training with fewer images than a batch. */
rt_loader *rt_loader_new(const rt_data *data, const rt_loader_options *options, rt_error *error);
void rt_loader_free(rt_loader *loader);
int64_t rt_loader_batches(const rt_loader *loader); /* of an epoch */
/* Begins an epoch (from 0) at a batch; what was prepared for another one is thrown away. */
void rt_loader_start(rt_loader *loader, int64_t epoch, int64_t first_batch);
/* Copies the next batch: image (batch, C, H, W) f32, label (batch) i64; *count images of it are
 * real, 0 at the end of the epoch. False if an image could not be read. */
bool rt_loader_next(rt_loader *loader, float *image, int64_t *label, int64_t *count,
                    rt_error *error);

#endif
