/* A data set in the four files of MNIST, held in memory. */
#define _GNU_SOURCE
#include "rt_data_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* PATH of "train-labels-idx1-ubyte" or the like in DIR, as it is or with .gz; free(), NULL if there
 * is neither. */
static char *find_file(const char *directory, rt_part part, const char *what) {
    static const char *const endings[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        char *path;
        if (asprintf(&path, "%s/%s-%s-ubyte%s", directory, part == RT_TRAIN ? "train" : "t10k",
                     what, endings[i]) < 0)
            return NULL;
        if (access(path, F_OK) == 0) return path;
        free(path);
    }
    return NULL;
}

bool rt_idx_data_present(const char *directory, rt_part part) {
    char *images = find_file(directory, part, "images-idx3");
    free(images);
    return images != NULL;
}

static bool open_labels(const char *directory, rt_part part, rt_idx *labels, rt_error *error) {
    char *path = find_file(directory, part, "labels-idx1");
    if (!path)
        return rt_fail(error, "'%s' has images, but no %s-labels-idx1-ubyte[.gz]", directory,
                       part == RT_TRAIN ? "train" : "t10k");
    bool good = rt_idx_open(path, 1, labels, error);
    free(path);
    return good;
}

static int64_t classes_of(const rt_idx *labels) {
    int64_t classes = 0;
    for (int64_t i = 0; i < labels->dim[0]; i++)
        if (labels->data[i] >= classes) classes = labels->data[i] + 1;
    return classes;
}

/* Fashion-MNIST has the file names of MNIST. It is known by its first labels, which no other set of
 * clothes or digits shares. */
static bool is_fashion(const rt_idx *labels, rt_part part) {
    static const uint8_t first[2][24] = {
        [RT_TRAIN] = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9, 1, 0, 6, 4, 3, 1, 4, 8},
        [RT_TEST] = {9, 2, 1, 1, 6, 1, 4, 6, 5, 7, 4, 5, 7, 3, 4, 1, 2, 4, 8, 0, 2, 5, 7, 9}};
    return labels->dim[0] >= 24 && memcmp(labels->data, first[part], 24) == 0;
}

static bool name_classes(rt_data *data, int64_t classes, bool fashion, rt_error *error) {
    static const char *const clothes[10] = {"t-shirt", "trouser",   "pullover", "dress",
                                            "coat",    "sandal",    "shirt",    "sneaker",
                                            "bag",     "ankle boot"};
    bool good = true;
    for (int64_t i = 0; good && i < classes; i++) {
        char digits[24];
        snprintf(digits, sizeof digits, "%" PRId64, i);
        good = rt_texts_add(&data->classes, fashion ? clothes[i] : digits);
    }
    return good || rt_fail(error, "'%s': out of memory", data->directory);
}

/* The training part says which classes there are; without it, the part itself does. */
static bool find_classes(rt_data *data, rt_part part, const rt_idx *labels, rt_error *error) {
    rt_idx training = {0};
    rt_part known = rt_idx_data_present(data->directory, RT_TRAIN) ? RT_TRAIN : part;
    if (known != part && !open_labels(data->directory, RT_TRAIN, &training, error)) return false;
    const rt_idx *all = known != part ? &training : labels;
    int64_t classes = classes_of(all);
    bool fashion = is_fashion(all, known) && classes == 10;
    rt_idx_free(&training);
    return name_classes(data, classes, fashion, error);
}

static bool copy_labels(rt_data *data, const rt_idx *labels, rt_error *error) {
    data->label = malloc((size_t)labels->dim[0] * sizeof *data->label);
    if (!data->label) return rt_fail(error, "'%s': out of memory", data->directory);
    for (int64_t i = 0; i < labels->dim[0]; i++) {
        if (labels->data[i] >= data->classes.count)
            return rt_fail(error,
                           "'%s': the label of test image %" PRId64 " is %d; the training part has "
                           "labels 0 to %zu",
                           data->directory, i, labels->data[i], data->classes.count - 1);
        data->label[i] = labels->data[i];
    }
    return true;
}

static bool check_images(const rt_data *data, const rt_idx *labels, rt_error *error) {
    const int64_t *dim = data->images.dim;
    if (dim[0] == 0) return rt_fail(error, "%s: no images", data->file);
    if (dim[0] > INT32_MAX)
        return rt_fail(error, "%s: %" PRId64 " images; expected at most %d", data->file, dim[0],
                       INT32_MAX);
    if (dim[1] < 1 || dim[2] < 1 || dim[1] > RT_MAX_IMAGE_SIDE || dim[2] > RT_MAX_IMAGE_SIDE)
        return rt_fail(
            error, "%s: images of %" PRId64 " x %" PRId64 " pixels; expected sides from 1 to %d",
            data->file, dim[2], dim[1], RT_MAX_IMAGE_SIDE);
    if (labels->dim[0] != dim[0])
        return rt_fail(error, "%s: %" PRId64 " images, but %" PRId64 " labels in the file beside",
                       data->file, dim[0], labels->dim[0]);
    return true;
}

static bool decode(const rt_data *data, int64_t index, int channels, rt_image *image,
                   rt_error *error) {
    int64_t pixels = data->images.dim[1] * data->images.dim[2];
    if (!rt_image_new((int)data->images.dim[2], (int)data->images.dim[1], channels, image, error))
        return false;
    const uint8_t *from = data->images.data + index * pixels;
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < channels; c++)
            image->pixels[i * channels + c] = from[i];
    return true;
}

static void name(const rt_data *data, int64_t index, char *text, size_t size) {
    snprintf(text, size, "%s, image %" PRId64, data->file, index);
}

bool rt_idx_data_open(rt_data *data, rt_part part, rt_error *error) {
    static const rt_data_kind kind = {.image = decode, .name = name};
    rt_idx labels = {0};
    data->kind = &kind;
    data->file = find_file(data->directory, part, "images-idx3");
    if (!data->file) return rt_fail(error, "'%s': out of memory", data->directory);
    bool good = rt_idx_open(data->file, 3, &data->images, error) &&
                open_labels(data->directory, part, &labels, error) &&
                check_images(data, &labels, error) && find_classes(data, part, &labels, error) &&
                copy_labels(data, &labels, error);
    if (good) data->count = data->images.dim[0];
    rt_idx_free(&labels);
    return good;
}
