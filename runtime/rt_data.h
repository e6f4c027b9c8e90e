/* Data sets: labelled images that are read by number.
 *
 * Two kinds. IDX files as MNIST comes (train-images-idx3-ubyte[.gz] and so on; t10k- is the test
 * part); they are held in memory. A folder per class: DIR/train/CLASS/IMAGE and DIR/val/CLASS/IMAGE
 * (or test/), or DIR/CLASS/IMAGE alone; classes and images in byte order of their names; PNG, JPEG
 * and BMP, decoded when asked for. Every field of a file is checked before it is used. What learns
 * without labels also takes DIR/train/IMAGE or DIR/IMAGE, images without classes.
 */
#ifndef RT_DATA_H
#define RT_DATA_H

#include "rt_image.h"

typedef enum rt_part { RT_TRAIN, RT_TEST } rt_part;

typedef struct rt_data rt_data;

/* Whether DIR holds the part at all; its files may still be broken. */
bool rt_data_has(const char *directory, rt_part part);
/* NULL after an error; DIR without a test part has none for RT_TEST. Classes are those of the
 * training part, if there is one; a test part with others is an error. */
rt_data *rt_data_open(const char *directory, rt_part part, rt_error *error);
/* The training part for something that reads no labels: images need not be sorted into classes. */
rt_data *rt_data_open_images(const char *directory, rt_error *error);
void rt_data_close(rt_data *data);
/* What was passed over because it is no image, as a sentence; "" if there is nothing to say. */
void rt_data_note(const rt_data *data, char *text, size_t size);
int64_t rt_data_count(const rt_data *data);
int64_t rt_data_classes(const rt_data *data);
/* Names of the classes, as many: the folders', or Fashion-MNIST's, or "0", "1"... */
const char *const *rt_data_class_names(const rt_data *data);
int64_t rt_data_label(const rt_data *data, int64_t index);
/* Decodes image `index` with `channels` (1 or 3); free with rt_image_free. Safe from any thread. */
bool rt_data_image(const rt_data *data, int64_t index, int channels, rt_image *image,
                   rt_error *error);
/* A part of the images, the same share of each class. `holdout` of them are set aside by a fixed
 * draw, whatever the seed; the others shrink to `fraction`, drawn by the seed, at least one of a
 * class. Keeps those set aside (`aside`) or the others. False, with the reason, if there are too
 * few images or no memory. */
typedef struct rt_subset {
    int64_t holdout;
    double fraction; /* in (0, 1] */
    uint64_t seed;
    bool aside;
} rt_subset;
bool rt_data_keep(rt_data *data, const rt_subset *subset, rt_error *error);
/* For messages: the file of an image. */
void rt_data_name(const rt_data *data, int64_t index, char *text, size_t size);

#endif
