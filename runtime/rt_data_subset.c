/* A part of a data set, with the same share of every class.
 *
 * Every class is put into an order by two draws: a fixed one, whose last images are set aside, and
 * one by the seed of those that are left, whose first images are kept. So a smaller fraction of the
 * same seed is a part of a larger one. */
#include "rt_data_parts.h"
#include "rt_random.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FIXED, SEEDED }; /* draws */

typedef struct keeping {
    const rt_data *data;
    const rt_subset *subset;
    int64_t *begin;  /* (classes + 1): where the images of a class begin in `member` */
    int32_t *member; /* images, class by class */
    int32_t *order;  /* a permutation of a class */
    int32_t *moved;
    int64_t *aside; /* per class: images set aside */
    uint8_t *kept;  /* per image */
} keeping;

static void sort_by_class(keeping *k) {
    const rt_data *data = k->data;
    int64_t *next = k->aside; /* not needed yet */
    for (int64_t i = 0; i < data->count; i++)
        k->begin[data->label[i] + 1]++;
    for (int64_t c = 0; c < data->class_count; c++) {
        k->begin[c + 1] += k->begin[c];
        next[c] = k->begin[c];
    }
    for (int64_t i = 0; i < data->count; i++)
        k->member[next[data->label[i]]++] = (int32_t)i;
}

/* The first `count` images of a class in another order. */
static void shuffle(keeping *k, int64_t c, int draw, int64_t count) {
    rt_place place = {.step = (uint32_t)draw, .stream = RT_STREAM_SUBSET, .sample = (uint32_t)c};
    int32_t *member = k->member + k->begin[c];
    for (int64_t i = 0; i < count; i++)
        k->order[i] = (int32_t)i;
    rt_random_permutation(draw == FIXED ? 0 : k->subset->seed, place, k->order, count);
    for (int64_t i = 0; i < count; i++)
        k->moved[i] = member[k->order[i]];
    for (int64_t i = 0; i < count; i++)
        member[i] = k->moved[i];
}

static void keep_class(keeping *k, int64_t c) {
    const int32_t *member = k->member + k->begin[c];
    int64_t count = k->begin[c + 1] - k->begin[c], left = count - k->aside[c];
    shuffle(k, c, FIXED, count);
    if (k->subset->aside) {
        for (int64_t i = left; i < count; i++)
            k->kept[member[i]] = 1;
        return;
    }
    shuffle(k, c, SEEDED, left);
    int64_t wanted = (int64_t)(k->subset->fraction * (double)left + 0.5);
    if (wanted < 1 && left > 0) wanted = 1;
    for (int64_t i = 0; i < wanted; i++)
        k->kept[member[i]] = 1;
}

/* Shares of `holdout` by the sizes of the classes, rounded so that they sum up to it. */
static void share_out(keeping *k) {
    int64_t done = 0;
    for (int64_t c = 0; c < k->data->class_count; c++) {
        int64_t before = k->begin[c + 1];
        int64_t until =
            (int64_t)((double)k->subset->holdout * (double)before / (double)k->data->count);
        if (before == k->data->count) until = k->subset->holdout;
        k->aside[c] = until - done;
        done = until;
    }
}

static bool compact(rt_data *data, const uint8_t *kept, rt_error *error) {
    int64_t count = 0;
    if (!data->chosen) {
        data->chosen = malloc((size_t)data->count * sizeof *data->chosen);
        if (!data->chosen) return rt_fail(error, "'%s': out of memory", data->directory);
        for (int64_t i = 0; i < data->count; i++)
            data->chosen[i] = (int32_t)i;
    }
    for (int64_t i = 0; i < data->count; i++) {
        if (!kept[i]) continue;
        data->chosen[count] = data->chosen[i];
        data->label[count++] = data->label[i];
    }
    data->count = count;
    return count > 0 || rt_fail(error, "'%s': no image is left", data->directory);
}

bool rt_data_keep(rt_data *data, const rt_subset *subset, rt_error *error) {
    if (subset->holdout < 0 || subset->holdout >= data->count)
        return rt_fail(error,
                       "'%s' holds %" PRId64 " images, of which %" PRId64
                       " cannot be held out; expected fewer",
                       data->directory, data->count, subset->holdout);
    if (!(subset->fraction > 0 && subset->fraction <= 1))
        return rt_fail(error, "a fraction of %g of the images; expected more than 0 and at most 1",
                       subset->fraction);
    size_t count = (size_t)data->count, classes = (size_t)data->class_count;
    keeping k = {.data = data,
                 .subset = subset,
                 .begin = calloc(classes + 1, sizeof *k.begin),
                 .member = malloc(count * sizeof *k.member),
                 .order = malloc(count * sizeof *k.order),
                 .moved = malloc(count * sizeof *k.moved),
                 .aside = calloc(classes + 1, sizeof *k.aside),
                 .kept = calloc(count, 1)};
    bool good = k.begin && k.member && k.order && k.moved && k.aside && k.kept;
    if (good) {
        sort_by_class(&k);
        share_out(&k);
        for (int64_t c = 0; c < data->class_count; c++)
            keep_class(&k, c);
        good = compact(data, k.kept, error);
    } else {
        rt_fail(error, "'%s': out of memory", data->directory);
    }
    free(k.begin);
    free(k.member);
    free(k.order);
    free(k.moved);
    free(k.aside);
    free(k.kept);
    return good;
}
