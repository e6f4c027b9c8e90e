/* Batches: the same for any number of threads and from any starting point; what augmentation does.
 * cnx-test: tsan */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_augment.h"
#include "rt_loader.h"
#include "rt_scratch.h"

#include <math.h>

enum { IMAGES = 53, SIDE = 8, ELEMENTS = SIDE * SIDE, CLASSES = 7, BATCH = 10 };

static uint8_t pixel(int image, int x, int y) {
    return (uint8_t)(image * 4 + x + 3 * y);
}

static void put_be32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* 53 images of 8 x 8 whose pixels tell which image they are. */
static rt_data *make_data(void **state) {
    const char *folder = scratch_path(*state, "data");
    static uint8_t images[16 + IMAGES * ELEMENTS] = {0, 0, 8, 3}, labels[8 + IMAGES] = {0, 0, 8, 1};
    put_be32(images + 4, IMAGES);
    put_be32(images + 8, SIDE);
    put_be32(images + 12, SIDE);
    put_be32(labels + 4, IMAGES);
    for (int i = 0; i < IMAGES; i++) {
        labels[8 + i] = (uint8_t)(i % CLASSES);
        for (int k = 0; k < ELEMENTS; k++)
            images[16 + i * ELEMENTS + k] = pixel(i, k % SIDE, k / SIDE);
    }
    scratch_write(folder, "train-images-idx3-ubyte", images, sizeof images);
    scratch_write(folder, "train-labels-idx1-ubyte", labels, sizeof labels);
    rt_error error;
    rt_data *data = rt_data_open(folder, RT_TRAIN, &error);
    if (!data) fail_msg("%s", error.text);
    return data;
}

static rt_loader_options usual(void) {
    return (rt_loader_options){.batch = BATCH,
                               .channels = 1,
                               .height = SIDE,
                               .width = SIDE,
                               .std = {1 / 255.0f, 1 / 255.0f, 1 / 255.0f}, /* values as pixels */
                               .evaluate = {.size = SIDE, .crop_pct = 1},
                               .training = true,
                               .seed = 7,
                               .threads = 2};
}

static rt_loader *make_loader(const rt_data *data, const rt_loader_options *options) {
    rt_error error;
    rt_loader *loader = rt_loader_new(data, options, &error);
    if (!loader) fail_msg("%s", error.text);
    return loader;
}

typedef struct batch {
    float image[BATCH * ELEMENTS];
    int64_t label[BATCH];
    int64_t count;
} batch;

static bool take(rt_loader *loader, batch *b) {
    rt_error error;
    memset(b, 0x55, sizeof *b);
    if (!rt_loader_next(loader, b->image, b->label, &b->count, &error)) fail_msg("%s", error.text);
    return b->count > 0;
}

/* Which image stands at place i, judging by its first pixel. */
static int image_of(const batch *b, int i) {
    return (int)lrintf(b->image[i * ELEMENTS]) / 4;
}

static void test_evaluation(void **state) {
    rt_data *data = make_data(state);
    rt_loader_options options = usual();
    options.training = false;
    rt_loader *loader = make_loader(data, &options);
    assert_int_equal(rt_loader_batches(loader), 6);
    for (int round = 0; round < 2; round++) {
        rt_loader_start(loader, 0, 0);
        batch b;
        for (int k = 0; k < 6; k++) { /* in order, the last batch partly filled */
            assert_true(take(loader, &b));
            assert_int_equal(b.count, k < 5 ? 10 : 3);
            for (int i = 0; i < BATCH; i++)
                for (int e = 0; e < ELEMENTS; e++) {
                    int expected = i < b.count ? pixel(k * 10 + i, e % SIDE, e / SIDE) : 0;
                    assert_true(fabsf(b.image[i * ELEMENTS + e] - (float)expected) < 1e-3f);
                }
            for (int i = 0; i < BATCH; i++)
                assert_int_equal(b.label[i], i < b.count ? (k * 10 + i) % CLASSES : 0);
        }
        assert_false(take(loader, &b));
        assert_false(take(loader, &b)); /* the end stays the end */
    }
    rt_loader_free(loader);
    rt_data_close(data);
}

/* A batch as large as the data, one larger, and one that divides them. */
static void test_batch_sizes(void **state) {
    rt_data *data = make_data(state);
    static const struct {
        int64_t batch;
        bool training;
        int64_t batches;
    } cases[] = {{53, true, 1},  {53, false, 1}, {1, true, 53},
                 {54, false, 1}, {27, true, 1},  {27, false, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_loader_options options = usual();
        options.batch = cases[i].batch;
        options.training = cases[i].training;
        rt_loader *loader = make_loader(data, &options);
        assert_int_equal(rt_loader_batches(loader), cases[i].batches);
        rt_loader_start(loader, 0, 0);
        float *image = calloc((size_t)cases[i].batch * ELEMENTS, sizeof *image);
        int64_t *label = calloc((size_t)cases[i].batch, sizeof *label), count, batches = 0;
        rt_error error;
        while (rt_loader_next(loader, image, label, &count, &error) && count > 0)
            batches++;
        assert_int_equal(count, 0);
        assert_int_equal(batches, cases[i].batches);
        free(image);
        free(label);
        rt_loader_free(loader);
    }
    rt_data_close(data);
}

/* Every epoch shows every image at most once, in another order. */
static void test_permutation(void **state) {
    rt_data *data = make_data(state);
    rt_loader_options options = usual();
    rt_loader *loader = make_loader(data, &options);
    int order[3][50];
    for (int epoch = 0; epoch < 3; epoch++) {
        int seen[IMAGES] = {0};
        batch b;
        rt_loader_start(loader, epoch, 0);
        for (int k = 0; take(loader, &b); k++) {
            assert_int_equal(b.count, BATCH); /* the incomplete batch is dropped */
            for (int i = 0; i < BATCH; i++) {
                int image = image_of(&b, i);
                assert_int_equal(seen[image]++, 0);
                assert_int_equal(b.label[i], image % CLASSES);
                order[epoch][k * BATCH + i] = image;
            }
        }
    }
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    assert_memory_not_equal(order[1], order[2], sizeof order[0]);
    rt_loader_free(loader);
    options.seed = 8;
    loader = make_loader(data, &options);
    batch b;
    rt_loader_start(loader, 0, 0);
    assert_true(take(loader, &b));
    int same = 0;
    for (int i = 0; i < BATCH; i++)
        same += image_of(&b, i) == order[0][i];
    assert_true(same < 5); /* another seed, another order */
    rt_loader_free(loader);
    rt_data_close(data);
}

/* --- the same batches, however they are made --- */

static rt_loader_options augmented(void) {
    rt_loader_options options = usual();
    options.augment = (rt_augment){
        .crop_padding = 2, .flip = 0.5, .scale = {0.3, 1}, .ratio = {3.0 / 4, 4.0 / 3}};
    return options;
}

static batch all[3][5]; /* three epochs of an augmented run */

static void make_all(const rt_data *data, int threads) {
    rt_loader_options options = augmented();
    options.threads = threads;
    rt_loader *loader = make_loader(data, &options);
    for (int epoch = 0; epoch < 3; epoch++) {
        rt_loader_start(loader, epoch, 0);
        for (int k = 0; k < 5; k++)
            assert_true(take(loader, &all[epoch][k]));
    }
    rt_loader_free(loader);
}

static void test_threads(void **state) {
    rt_data *data = make_data(state);
    static batch once[3][5];
    make_all(data, 1);
    memcpy(once, all, sizeof all);
    for (int threads = 2; threads <= 5; threads++) {
        make_all(data, threads);
        assert_memory_equal(once, all, sizeof all);
    }
    assert_memory_not_equal(all[0], all[1], sizeof all[0]);
    rt_data_close(data);
}

static void test_resume(void **state) {
    rt_data *data = make_data(state);
    make_all(data, 2);
    rt_loader_options options = augmented();
    options.threads = 3;
    rt_loader *loader = make_loader(data, &options);
    for (int epoch = 2; epoch >= 0; epoch--)
        for (int first = 0; first <= 6; first++) {
            rt_loader_start(loader, epoch, first);
            batch b;
            for (int k = first; k < 5; k++) {
                assert_true(take(loader, &b));
                assert_memory_equal(&b, &all[epoch][k], sizeof b);
                if (first == 2 && k == 3) break; /* start anew in the middle */
            }
            if (first != 2) assert_false(take(loader, &b));
        }
    rt_loader_free(loader);
    rt_data_close(data);
}

/* Starting again and again while threads work, and freeing in the middle. */
static void test_restarts(void **state) {
    rt_data *data = make_data(state);
    make_all(data, 1);
    rt_loader_options options = augmented();
    options.threads = 4;
    for (int round = 0; round < 20; round++) {
        rt_loader *loader = make_loader(data, &options);
        for (int i = 0; i < 10; i++)
            rt_loader_start(loader, i, i % 5);
        rt_loader_start(loader, round % 3, 4);
        batch b;
        assert_true(take(loader, &b));
        assert_memory_equal(&b, &all[round % 3][4], sizeof b);
        rt_loader_start(loader, 0, 0);
        rt_loader_free(loader);
    }
    rt_loader_options idle = usual();
    rt_loader *loader = make_loader(data, &idle);
    batch b;
    assert_false(take(loader, &b)); /* never started: nothing to give */
    rt_loader_free(loader);
    rt_loader_free(NULL);
    rt_data_close(data);
}

/* --- what augmentation does --- */

/* An image with a flip of certainty is the image mirrored. */
static void test_flip(void **state) {
    rt_data *data = make_data(state);
    for (int pass = 0; pass < 3; pass++) {
        rt_loader_options options = usual();
        options.augment.flip = pass / 2.0;
        rt_loader *loader = make_loader(data, &options);
        batch b;
        int flipped = 0, total = 0;
        for (int epoch = 0; epoch < 20; epoch++) {
            rt_loader_start(loader, epoch, 0);
            while (take(loader, &b))
                for (int i = 0; i < BATCH; i++, total++)
                    flipped += b.image[i * ELEMENTS] > b.image[i * ELEMENTS + SIDE - 1];
        }
        assert_int_equal(total, 1000);
        if (pass == 0) assert_int_equal(flipped, 0);
        if (pass == 1) assert_in_range(flipped, 420, 580); /* deviation 16 */
        if (pass == 2) assert_int_equal(flipped, 1000);
        rt_loader_free(loader);
    }
    rt_data_close(data);
}

/* Where the crop of a padded image lay: every offset comes up, and the pixels fit it. */
static void test_padded_crop(void **state) {
    rt_data *data = make_data(state);
    rt_loader_options options = usual();
    enum { PAD = 2 };
    options.augment.crop_padding = PAD;
    rt_loader *loader = make_loader(data, &options);
    int found[2 * PAD + 1][2 * PAD + 1] = {0};
    batch b;
    for (int epoch = 0; epoch < 10; epoch++) {
        rt_loader_start(loader, epoch, 0);
        while (take(loader, &b))
            for (int i = 0; i < BATCH; i++) {
                int fits = 0;
                for (int dy = -PAD; dy <= PAD; dy++)
                    for (int dx = -PAD; dx <= PAD; dx++) {
                        bool same = true;
                        int image = ((int)lrintf(b.image[i * ELEMENTS + 3 * SIDE + 3]) -
                                     pixel(0, 3 + dx, 3 + dy)) /
                                    4;
                        for (int e = 0; e < ELEMENTS && same; e++) {
                            int x = e % SIDE + dx, y = e / SIDE + dy;
                            bool in = x >= 0 && x < SIDE && y >= 0 && y < SIDE;
                            int expected = in ? pixel(image, x, y) : 0;
                            same = lrintf(b.image[i * ELEMENTS + e]) == expected;
                        }
                        if (same && image % CLASSES == b.label[i]) {
                            fits++;
                            found[dy + PAD][dx + PAD]++;
                        }
                    }
                assert_int_equal(fits, 1);
            }
    }
    for (int k = 0; k < 25; k++) /* 500 crops on 25 places */
        assert_in_range(found[k / 5][k % 5], 4, 45);
    rt_loader_free(loader);
    rt_data_close(data);
}

/* Boxes lie inside of the image and keep area and ratio, as far as whole pixels allow. */
static void test_resized_crop(void **state) {
    (void)state;
    rt_augment a = {.scale = {0.2, 0.8}, .ratio = {3.0 / 4, 4.0 / 3}};
    double least = 1, most = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        rt_augment_place place = {.seed = 3, .epoch = i / 100, .position = i};
        rt_box box = rt_augment_box(&a, place, 200, 300);
        assert_true(box.left >= 0 && box.top >= 0 && box.right <= 200 && box.bottom <= 300);
        double w = box.right - box.left, h = box.bottom - box.top, share = w * h / (200.0 * 300);
        assert_true(w == floor(w) && h == floor(h));
        assert_true(w / h > 0.74 && w / h < 1.35);
        assert_true(share > 0.195 && share < 0.805);
        least = fmin(least, share);
        most = fmax(most, share);
    }
    assert_true(least < 0.22);
    assert_true(most > 0.6); /* a wide box of a large share does not fit into a tall image */
}

/* When no try fits: the largest centred box within the ratios. */
static void test_crop_fallback(void **state) {
    (void)state;
    rt_augment a = {.scale = {1, 1}, .ratio = {0.75, 1.25}};
    static const struct {
        int width, height;
        rt_box box;
    } cases[] = {
        {1000, 100, {437, 0, 562, 100}}, /* 125 wide, (1000 - 125) / 2 = 437 */
        {90, 1000, {0, 440, 90, 560}},   /* 90 / 0.75 = 120 tall */
        {1, 50, {0, 24, 1, 25}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_box box =
            rt_augment_box(&a, (rt_augment_place){.seed = i}, cases[i].width, cases[i].height);
        assert_memory_equal(&box, &cases[i].box, sizeof box);
    }
}

/* --- what is refused, and what a broken image does --- */

static void expect_refused(const rt_data *data, const rt_loader_options *options,
                           const char *message) {
    rt_error error;
    rt_loader *loader = rt_loader_new(data, options, &error);
    rt_loader_free(loader);
    if (loader) fail_msg("accepted; expected: %s", message);
    assert_string_equal(error.text, message);
}

#define REFUSE(field, value, message)                                                              \
    do {                                                                                           \
        rt_loader_options o = usual();                                                             \
        o.augment.scale[0] = o.augment.scale[1] = o.augment.ratio[0] = o.augment.ratio[1] = 1;     \
        o.field = value;                                                                           \
        expect_refused(data, &o, message);                                                         \
    } while (0)

static void test_refused(void **state) {
    rt_data *data = make_data(state);
    REFUSE(batch, 0, "batch is 0; expected at least 1");
    REFUSE(batch, 54,
           "53 images for a batch of 54; training needs one whole batch, try a smaller "
           "--batch");
    REFUSE(batch, INT64_MAX,
           "53 images for a batch of 9223372036854775807; training needs one "
           "whole batch, try a smaller --batch");
    REFUSE(channels, 2, "the model takes images of 2 channels; expected 1 or 3");
    REFUSE(height, 9, "the model takes images of 8 x 9; expected a square of 1 to 16384");
    REFUSE(evaluate.size, 9, "evaluation makes images of size 9; the model takes 8");
    REFUSE(evaluate.crop_pct, 0, "crop_pct is 0; expected more than 0 and at most 1");
    REFUSE(evaluate.crop_pct, (double)NAN, "crop_pct is nan; expected more than 0 and at most 1");
    REFUSE(std[0], 0, "mean and std of channel 0 are 0 and 0; expected std above 0");
    REFUSE(threads, 0, "0 loader threads; expected 1 to 256");
    REFUSE(augment.crop_padding, -1, "crop_padding is -1; expected 0 to 4096");
    REFUSE(augment.flip, 1.5, "flip is 1.5; expected a probability from 0 to 1");
    REFUSE(augment.scale[1], 2,
           "the resized crop's scale is 1 to 2; expected 0 < least <= most <= 1");
    REFUSE(augment.ratio[0], 0, "the resized crop's ratio is 0 to 1; expected 0 < least <= most");
    rt_loader_options large = usual();
    large.training = false;
    large.batch = INT64_MAX / 4;
    expect_refused(data, &large, "out of memory for batches of 2305843009213693951 images");
    rt_data_close(data);
}

/* The first broken image of a batch is named, by any number of threads; before it all is well. */
static void test_broken_image(void **state) {
    const char *folder = scratch_path(*state, "tree");
    rt_image image;
    rt_error error;
    assert_true(rt_image_new(SIDE, SIDE, 1, &image, &error));
    scratch_text(folder, "a/x", "");
    for (int i = 0; i < 40; i++) {
        char name[32];
        snprintf(name, sizeof name, "a/%02d.png", i);
        if (i == 33 || i == 37)
            scratch_text(folder, name, "broken");
        else
            assert_true(rt_image_write_png(scratch_path(folder, name), &image, &error));
    }
    rt_image_free(&image);
    rt_data *data = rt_data_open(folder, RT_TRAIN, &error);
    assert_non_null(data);
    rt_loader_options options = usual();
    options.training = false;
    for (options.threads = 1; options.threads <= 4; options.threads++) {
        rt_loader *loader = make_loader(data, &options);
        rt_loader_start(loader, 0, 0);
        batch b;
        for (int k = 0; k < 3; k++)
            assert_true(take(loader, &b));
        for (int again = 0; again < 2; again++) {
            assert_false(rt_loader_next(loader, b.image, b.label, &b.count, &error));
            assert_int_equal(b.count, 0);
            assert_string_equal(
                scratch_message(&error, folder),
                "@/a/33.png: no image (unknown image type); expected PNG, JPEG or BMP");
        }
        rt_loader_start(loader, 0, 1); /* it can go on elsewhere */
        assert_true(take(loader, &b));
        rt_loader_free(loader);
    }
    rt_data_close(data);
}

/* Three channels: planes one behind the other, each with its own mean and deviation. */
static void test_channels(void **state) {
    rt_data *data = make_data(state);
    rt_loader_options options = usual();
    options.training = false;
    options.channels = 3;
    options.batch = 2;
    for (int c = 0; c < 3; c++) {
        options.mean[c] = 0.1f * (float)c;
        options.std[c] = 0.5f + (float)c;
    }
    rt_loader *loader = make_loader(data, &options);
    rt_loader_start(loader, 0, 0);
    float image[2 * 3 * ELEMENTS];
    int64_t label[2], count;
    rt_error error;
    assert_true(rt_loader_next(loader, image, label, &count, &error));
    for (int i = 0; i < 2 * 3 * ELEMENTS; i++) {
        int n = i / (3 * ELEMENTS), c = i / ELEMENTS % 3, e = i % ELEMENTS;
        float expected =
            ((float)pixel(n, e % SIDE, e / SIDE) / 255.0f - options.mean[c]) / options.std[c];
        assert_true(image[i] == expected);
    }
    rt_loader_free(loader);
    rt_data_close(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluation),   cmocka_unit_test(test_batch_sizes),
        cmocka_unit_test(test_permutation),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_resume),       cmocka_unit_test(test_restarts),
        cmocka_unit_test(test_flip),         cmocka_unit_test(test_padded_crop),
        cmocka_unit_test(test_resized_crop), cmocka_unit_test(test_crop_fallback),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_broken_image),
        cmocka_unit_test(test_channels),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
