/* Parts of a data set: every class has its share, what is held out is nowhere else, seeds and
 * fractions mean what they say; folders of images without classes. cnx-test: tsan
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli_case.h"
#include "rt_data.h"

enum { IMAGES = 300 }; /* 100 of each class */

static rt_data *open_part(const cli_case *t, const rt_subset *subset) {
    rt_error error;
    rt_data *data = rt_data_open(cli_case_path(t, "data"), RT_TRAIN, &error);
    if (!data || !rt_data_keep(data, subset, &error)) fail_msg("%s", error.text);
    return data;
}

/* Which of the images are there, by the number that a message would give. */
static void mark(const rt_data *data, uint8_t *there) {
    memset(there, 0, IMAGES);
    for (int64_t i = 0; i < rt_data_count(data); i++) {
        char name[512];
        rt_data_name(data, i, name, sizeof name);
        int number = atoi(strstr(name, "image ") + 6);
        assert_in_range(number, 0, IMAGES - 1);
        assert_int_equal(there[number], 0);
        assert_int_equal(rt_data_label(data, i), number % CLI_CASE_CLASSES);
        there[number] = 1;
    }
}

static void marks_of(const cli_case *t, rt_subset subset, uint8_t *there) {
    rt_data *data = open_part(t, &subset);
    mark(data, there);
    rt_data_close(data);
}

static int count_class(const uint8_t *there, int label) {
    int count = 0;
    for (int i = label; i < IMAGES; i += CLI_CASE_CLASSES)
        count += there[i];
    return count;
}

static void keeps_shares(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    uint8_t aside[IMAGES], again[IMAGES], rest[IMAGES], few[IMAGES], other[IMAGES];
    cli_case_data(&t, IMAGES);
    marks_of(&t, (rt_subset){60, 1, 1, true}, aside);
    marks_of(&t, (rt_subset){60, 0.25, 2, true}, again);
    assert_memory_equal(aside, again, IMAGES); /* the same ones for every seed */
    marks_of(&t, (rt_subset){60, 1, 1, false}, rest);
    for (int i = 0; i < IMAGES; i++)
        assert_int_equal(aside[i] + rest[i], 1);
    marks_of(&t, (rt_subset){60, 0.25, 1, false}, few);
    marks_of(&t, (rt_subset){60, 0.25, 2, false}, other);
    assert_memory_not_equal(few, other, IMAGES);
    marks_of(&t, (rt_subset){60, 0.5, 1, false}, again);
    for (int label = 0; label < CLI_CASE_CLASSES; label++) {
        assert_int_equal(count_class(aside, label), 20);
        assert_int_equal(count_class(few, label), 20);
        assert_int_equal(count_class(again, label), 40);
    }
    for (int i = 0; i < IMAGES; i++) {
        assert_true(few[i] <= rest[i]);
        assert_true(few[i] <= again[i]); /* a smaller fraction is a part of a larger one */
    }
    marks_of(&t, (rt_subset){61, 1, 1, true}, aside);
    assert_int_equal(count_class(aside, 0) + count_class(aside, 1) + count_class(aside, 2), 61);
    marks_of(&t, (rt_subset){0, 1e-6, 1, false}, few);
    for (int label = 0; label < CLI_CASE_CLASSES; label++)
        assert_int_equal(count_class(few, label), 1);
    cli_case_free(&t);
}

/* The pixels go with the number, not with the place. */
static void finds_pixels(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_data(&t, IMAGES);
    rt_data *data = open_part(&t, &(rt_subset){0, 0.1, 3, false});
    for (int64_t i = 0; i < rt_data_count(data); i++) {
        char name[512];
        uint8_t pixels[CLI_CASE_SIDE * CLI_CASE_SIDE];
        rt_image image;
        rt_error error;
        rt_data_name(data, i, name, sizeof name);
        int number = atoi(strstr(name, "image ") + 6);
        cli_case_image(number, number % CLI_CASE_CLASSES, pixels);
        assert_true(rt_data_image(data, i, 1, &image, &error));
        assert_memory_equal(image.pixels, pixels, sizeof pixels);
        rt_image_free(&image);
    }
    rt_data_close(data);
    cli_case_free(&t);
}

static void refuses(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_data(&t, IMAGES);
    static const struct {
        rt_subset subset;
        const char *message;
    } wrong[] = {
        {{IMAGES, 1, 0, false}, "holds 300 images, of which 300 cannot be held out"},
        {{-1, 1, 0, false}, "of which -1 cannot be held out"},
        {{0, 0, 0, false}, "a fraction of 0 of the images"},
        {{0, 1.5, 0, false}, "a fraction of 1.5 of the images"},
        {{0, 1, 0, true}, "no image is left"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rt_error error;
        rt_data *data = rt_data_open(cli_case_path(&t, "data"), RT_TRAIN, &error);
        assert_non_null(data);
        assert_false(rt_data_keep(data, &wrong[i].subset, &error));
        if (!strstr(error.text, wrong[i].message)) print_error("%s\n", error.text);
        assert_non_null(strstr(error.text, wrong[i].message));
        rt_data_close(data);
    }
    cli_case_free(&t);
}

static void reads_loose_images(void **unused) {
    (void)unused;
    static const char *const folders[] = {"data", "data/train"};
    for (int f = 0; f < 2; f++) {
        cli_case t = cli_case_new();
        rt_error error;
        assert_int_equal(cli_case_shell(&t, "mkdir -p data/train; echo no image > data/readme"), 0);
        for (int i = 0; i < 5; i++) {
            uint8_t pixels[CLI_CASE_SIDE * CLI_CASE_SIDE];
            rt_image image = {CLI_CASE_SIDE, CLI_CASE_SIDE, 1, pixels};
            char name[64];
            cli_case_image(i, 0, pixels);
            snprintf(name, sizeof name, "%s/%d.png", folders[f], i);
            assert_true(rt_image_write_png(cli_case_path(&t, name), &image, &error));
        }
        if (f == 0) assert_int_equal(cli_case_shell(&t, "rmdir data/train"), 0);
        assert_null(rt_data_open(cli_case_path(&t, "data"), RT_TRAIN, &error));
        rt_data *data = rt_data_open_images(cli_case_path(&t, "data"), &error);
        if (!data) fail_msg("%s", error.text);
        assert_int_equal(rt_data_count(data), 5);
        rt_data_close(data);
        assert_int_equal(cli_case_shell(&t, "rm -r data/*; mkdir -p data"), 0);
        assert_null(rt_data_open_images(cli_case_path(&t, "data"), &error));
        assert_non_null(strstr(error.text, "holds no data"));
        cli_case_free(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_shares),
        cmocka_unit_test(finds_pixels),
        cmocka_unit_test(refuses),
        cmocka_unit_test(reads_loose_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
