/* One image made ready for a model: the random changes of training, or the fixed ones of
 * evaluation. Every draw comes from the image's place (epoch, position in the epoch), never from a
 * state. */
#ifndef RT_AUGMENT_H
#define RT_AUGMENT_H

#include "rt_loader.h"

/* Where an image stands in training. */
typedef struct rt_augment_place {
    uint64_t seed;
    uint32_t epoch, position;
} rt_augment_place;

/* False, with the reason, if the numbers of `augment` make no sense. */
bool rt_augment_check(const rt_augment *augment, rt_error *error);
/* The part of a width x height image that a random resized crop takes, in whole pixels. */
rt_box rt_augment_box(const rt_augment *augment, rt_augment_place place, int width, int height);
/* out: options->height x options->width, as training (place) or evaluation (place NULL) wants it.
 */
bool rt_augment_image(const rt_loader_options *options, const rt_augment_place *place,
                      const rt_image *source, rt_image *out, rt_error *error);

#endif
