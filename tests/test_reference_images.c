/* Evaluation of real photos against timm: every pixel after resize and crop, normalised values, and
 * what `cnxc predict` says of PNG and JPEG files (tests/reference/make_images.py). cnx-test:
 * codegen
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reference_compare.h"
#include "rt_image.h"

#include <unistd.h>

enum { TOP = 5, PATH = 4096 };

static void photo_path(char *path, const char *name) {
    snprintf(path, PATH, "%s/tests/reference/data/%s", CNX_TEST_SOURCE_DIR, name);
}

static rt_image load(const char *name) {
    char path[PATH];
    rt_error error;
    rt_image image;
    photo_path(path, name);
    if (!rt_image_load(path, 3, &image, &error)) fail_msg("%s", error.text);
    return image;
}

static rt_image evaluate(const char *photo, rt_eval_transform how) {
    rt_error error;
    rt_image image = load(photo), out;
    if (!rt_image_evaluate(&image, &how, &out, &error)) fail_msg("%s", error.text);
    rt_image_free(&image);
    return out;
}

/* "chelsea.png 96 0.95", "astronaut.png 112 squash", "... rows": every eighth row only. The largest
 * difference of a pixel. */
static int compare_pixels(const rt_tensor *t) {
    char photo[64], crop[16];
    rt_eval_transform how = {.crop_pct = 1};
    assert_int_equal(sscanf(t->name, "%63s %d %15s", photo, &how.size, crop), 3);
    how.squash = strcmp(crop, "squash") == 0;
    if (!how.squash) how.crop_pct = atof(crop);
    rt_image found = evaluate(photo, how);
    int step = ref_ends_with(t->name, " rows") ? 8 : 1, worst = 0;
    int64_t row = (int64_t)how.size * 3;
    assert_int_equal(found.width, how.size);
    assert_int_equal(found.height, how.size);
    assert_int_equal(rt_tensor_elements(t), (how.size + step - 1) / step * row);
    const uint8_t *expected = t->data;
    for (int64_t i = 0; i < rt_tensor_elements(t); i++) {
        int difference = abs(found.pixels[i / row * step * row + i % row] - expected[i]);
        worst = difference > worst ? difference : worst;
    }
    rt_image_free(&found);
    printf("parity %s pixels differ by %d\n", t->name, worst);
    return worst;
}

static void equals_pillow(void **unused) {
    (void)unused;
    rt_tensors *file = ref_open("images");
    int compared = 0;
    for (size_t i = 0; i < rt_tensors_count(file); i++) {
        const rt_tensor *t = rt_tensors_at(file, i);
        if (t->dtype != RT_U8) continue;
        assert_true(compare_pixels(t) <= 1);
        compared++;
    }
    assert_int_equal(compared, 8);
    rt_tensors_close(file);
}

static void normalizes(void **unused) {
    (void)unused;
    static const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
    rt_tensors *file = ref_open("images");
    const rt_tensor *t = rt_tensors_find(file, "normalized");
    assert_non_null(t);
    rt_image image = evaluate("chelsea.png", (rt_eval_transform){.size = 32, .crop_pct = 0.875});
    static float found[3 * 32 * 32];
    rt_image_normalize(&image, mean, deviation, found);
    double *expected = ref_read(t), *wide = ref_widen(found, 3 * 32 * 32);
    assert_int_equal(rt_tensor_elements(t), 3 * 32 * 32);
    assert_true(ref_max_error(wide, expected, 3 * 32 * 32) < 1e-6);
    free(expected);
    free(wide);
    rt_image_free(&image);
    rt_tensors_close(file);
}

/* --- predict --- */

/* Atto's weights by the generator, as a file. */
static void write_weights(const char *path) {
    ref_program p;
    ref_build(&p, &(ref_model){.path = "convnextv2_atto.cnx", .batch = 1}, IR_KIND_INFER);
    size_t count = p.plan->weight_count;
    rt_tensor *tensors = calloc(count, sizeof *tensors);
    for (size_t i = 0; i < count; i++) {
        tensors[i] = ref_shape(p.plan->weights[i].name, p.plan->weights[i].type);
        tensors[i].data = p.first + p.plan->weights[i].offset;
    }
    rt_error error;
    if (!rt_tensors_write(path, tensors, count, NULL, 0, &error)) fail_msg("%s", error.text);
    free(tensors);
    ref_free(&p);
}

/* Stdout of `cnxc predict` of one photo, with --json. */
static void run_predict(const char *weights, const char *photo, char *text, size_t size) {
    char command[4 * PATH], path[PATH];
    photo_path(path, photo);
    snprintf(command, sizeof command,
             "%s predict %s/models/convnextv2_atto.cnx --weights %s --top %d --json %s",
             CNX_TEST_CNXC, CNX_TEST_SOURCE_DIR, weights, TOP, path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t length = fread(text, 1, size - 1, pipe);
    text[length] = 0;
    assert_int_equal(pclose(pipe), 0);
}

/* The number behind `"key":`; moves *text behind it. */
static double next_number(const char **text, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(*text, quoted);
    if (!at) fail_msg("predict printed no \"%s\"", key);
    char *end;
    double value = strtod(at + strlen(quoted), &end);
    assert_true(end > at + strlen(quoted));
    *text = end;
    return value;
}

static double *read_result(const rt_tensors *file, const char *photo, const char *what) {
    char name[128];
    snprintf(name, sizeof name, "%s %s", photo, what);
    const rt_tensor *t = rt_tensors_find(file, name);
    assert_non_null(t);
    assert_int_equal(rt_tensor_elements(t), TOP);
    if (t->dtype == RT_F32) return ref_read(t);
    int64_t whole[TOP];
    rt_error error;
    assert_true(rt_tensor_to_i64(t, whole, &error));
    double *wide = malloc(TOP * sizeof *wide);
    for (int i = 0; i < TOP; i++)
        wide[i] = (double)whole[i];
    return wide;
}

/* Probabilities within `most`; the same class wherever the gaps to its neighbours are larger. */
static void check_predict(const rt_tensors *file, const char *weights, const char *photo,
                          double most) {
    static char text[1 << 16];
    run_predict(weights, photo, text, sizeof text);
    double *class = read_result(file, photo, "classes");
    double *probability = read_result(file, photo, "probabilities"), worst = 0;
    const char *rest = strstr(text, "\"top\"");
    assert_non_null(rest);
    for (int i = 0; i < TOP; i++) {
        const char *entry = rest;
        double found = next_number(&entry, "class");
        double error = fabs(next_number(&rest, "probability") - probability[i]);
        bool clear = (i == 0 || probability[i - 1] - probability[i] > 2 * most) &&
                     (i + 1 == TOP || probability[i] - probability[i + 1] > 2 * most);
        if (clear) assert_true(found == class[i]);
        worst = worst_of(worst, error);
        rest = entry > rest ? entry : rest;
    }
    printf("parity %s probabilities differ by %.1e\n", photo, worst);
    assert_true(worst <= most);
    free(class);
    free(probability);
}

static void predicts(void **unused) {
    (void)unused;
    char weights[512];
    const char *base = getenv("TMPDIR");
    snprintf(weights, sizeof weights, "%s/cnx-reference-XXXXXX", base ? base : "/tmp");
    int fd = mkstemp(weights);
    assert_true(fd >= 0);
    close(fd);
    write_weights(weights);
    rt_tensors *file = ref_open("images");
    check_predict(file, weights, "chelsea.png", 1e-5);
    check_predict(file, weights, "astronaut.png", 1e-5);
    check_predict(file, weights, "rocket.jpg", 2e-4); /* another JPEG decoder */
    rt_tensors_close(file);
    unlink(weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_pillow),
                                       cmocka_unit_test(normalizes), cmocka_unit_test(predicts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
