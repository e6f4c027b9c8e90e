/* predict and eval: names of classes, many images, broken ones, accuracy of each class; and every
 * pixel of evaluation, as timm's transforms have it, on real photos. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli_case.h"
#include "rt_image.h"

#include <math.h>
#include <zlib.h>

/* --- pixels --- */

/* The upper left `width` x `height` of a photo, and the checksum of what the network would see of
 * it; printed by tests/reference/predict.py. */
static const struct {
    const char *photo;
    int width, height, channels;
    rt_eval_transform how;
    uint32_t crc;
} pixels[] = {
    {"chelsea.png", 451, 300, 3, {224, 0.875, false}, 0xbbea560e},
    {"chelsea.png", 451, 300, 3, {224, 1.0, false}, 0x9fdcdd35},
    {"chelsea.png", 451, 300, 3, {288, 1.0, false}, 0x717f2ab7},
    {"chelsea.png", 451, 300, 3, {160, 0.95, false}, 0x306d83a3},
    {"chelsea.png", 451, 300, 3, {32, 1.0, false}, 0xee748e15},
    {"chelsea.png", 451, 300, 3, {512, 1.0, true}, 0xd4ddafec},
    {"chelsea.png", 451, 300, 1, {224, 0.9, false}, 0xc899fe7f},
    {"chelsea.png", 451, 300, 1, {288, 0.95, false}, 0xa31c0534},
    {"chelsea.png", 451, 300, 1, {256, 0.965, false}, 0xdac70e00},
    {"chelsea.png", 451, 300, 1, {65, 0.875, false}, 0x4915b81a},
    {"chelsea.png", 451, 300, 1, {384, 1.0, true}, 0x1953a0c8},
    {"chelsea.png", 451, 300, 1, {384, 0.9, true}, 0xbf679cf6},
    {"chelsea.png", 200, 299, 3, {224, 0.9, false}, 0x49a59e14},
    {"chelsea.png", 200, 299, 3, {288, 0.95, false}, 0xd273669c},
    {"chelsea.png", 200, 299, 3, {256, 0.965, false}, 0xa068ebd8},
    {"chelsea.png", 200, 299, 3, {65, 0.875, false}, 0x3bdb4fde},
    {"chelsea.png", 200, 299, 3, {384, 1.0, true}, 0x2ef791eb},
    {"chelsea.png", 200, 299, 3, {384, 0.9, true}, 0xeaa75b38},
    {"chelsea.png", 200, 299, 1, {224, 1.0, false}, 0xa9bf350b},
    {"chelsea.png", 200, 299, 1, {288, 1.0, false}, 0xea504c63},
    {"chelsea.png", 200, 299, 1, {160, 0.95, false}, 0xf3e12dc6},
    {"chelsea.png", 200, 299, 1, {32, 1.0, false}, 0x92cba7ec},
    {"chelsea.png", 200, 299, 1, {512, 1.0, true}, 0x9462ef6c},
    {"chelsea.png", 77, 33, 3, {224, 1.0, false}, 0x1b27698f},
    {"chelsea.png", 77, 33, 3, {288, 1.0, false}, 0xe5ae6e21},
    {"chelsea.png", 77, 33, 3, {160, 0.95, false}, 0x1044b0e9},
    {"chelsea.png", 77, 33, 3, {32, 1.0, false}, 0x58d8f6a1},
    {"chelsea.png", 77, 33, 3, {512, 1.0, true}, 0x39364ccf},
    {"chelsea.png", 77, 33, 1, {288, 0.95, false}, 0x805a921f},
    {"chelsea.png", 77, 33, 1, {256, 0.965, false}, 0xfc3dd5c8},
    {"chelsea.png", 77, 33, 1, {65, 0.875, false}, 0xafc873bc},
    {"chelsea.png", 77, 33, 1, {384, 1.0, true}, 0x7787f65f},
    {"chelsea.png", 77, 33, 1, {384, 0.9, true}, 0xf2df63bf},
    {"astronaut.png", 191, 262, 3, {224, 0.875, false}, 0x2e889b66},
    {"astronaut.png", 191, 262, 3, {224, 1.0, false}, 0x4b53f02d},
    {"astronaut.png", 191, 262, 3, {288, 1.0, false}, 0x0f5a3384},
    {"astronaut.png", 191, 262, 3, {160, 0.95, false}, 0x23b14955},
    {"astronaut.png", 191, 262, 3, {32, 1.0, false}, 0x276df106},
    {"astronaut.png", 191, 262, 3, {512, 1.0, true}, 0xd0649853},
    {"astronaut.png", 191, 262, 1, {224, 0.9, false}, 0x1d6d218b},
    {"astronaut.png", 191, 262, 1, {288, 0.95, false}, 0xd0be3ffa},
    {"astronaut.png", 191, 262, 1, {256, 0.965, false}, 0x5cbe29aa},
    {"astronaut.png", 191, 262, 1, {65, 0.875, false}, 0xdb8fa9e3},
    {"astronaut.png", 191, 262, 1, {384, 1.0, true}, 0x35132eb1},
    {"astronaut.png", 191, 262, 1, {384, 0.9, true}, 0xc5aea6f1},
    {"astronaut.png", 190, 97, 3, {224, 0.9, false}, 0x34742f24},
    {"astronaut.png", 190, 97, 3, {288, 0.95, false}, 0x2cf6288a},
    {"astronaut.png", 190, 97, 3, {256, 0.965, false}, 0xd5eb9a6a},
    {"astronaut.png", 190, 97, 3, {65, 0.875, false}, 0x451f1e2f},
    {"astronaut.png", 190, 97, 3, {384, 1.0, true}, 0x8c0f4c76},
    {"astronaut.png", 190, 97, 3, {384, 0.9, true}, 0xeb623220},
    {"astronaut.png", 190, 97, 1, {224, 1.0, false}, 0xac7fdecf},
    {"astronaut.png", 190, 97, 1, {288, 1.0, false}, 0x54987b5c},
    {"astronaut.png", 190, 97, 1, {160, 0.95, false}, 0x27a39076},
    {"astronaut.png", 190, 97, 1, {32, 1.0, false}, 0xb648774d},
    {"astronaut.png", 190, 97, 1, {512, 1.0, true}, 0xa33ca32a},
    {"astronaut.png", 40, 261, 3, {224, 1.0, false}, 0xf5ea8ffb},
    {"astronaut.png", 40, 261, 3, {288, 1.0, false}, 0x131d6ec3},
    {"astronaut.png", 40, 261, 3, {160, 0.95, false}, 0x33a30f86},
    {"astronaut.png", 40, 261, 3, {32, 1.0, false}, 0xf3d9b64e},
    {"astronaut.png", 40, 261, 3, {512, 1.0, true}, 0x5f322c68},
    {"astronaut.png", 40, 261, 1, {288, 0.95, false}, 0x71842e7f},
    {"astronaut.png", 40, 261, 1, {256, 0.965, false}, 0x215b42ab},
    {"astronaut.png", 40, 261, 1, {65, 0.875, false}, 0x0320fcae},
    {"astronaut.png", 40, 261, 1, {384, 1.0, true}, 0xd863638d},
    {"astronaut.png", 40, 261, 1, {384, 0.9, true}, 0x5af076dc},
};

static void transforms_as_timm(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof pixels / sizeof *pixels; i++) {
        char path[512];
        rt_image photo, part, out;
        rt_error error;
        snprintf(path, sizeof path, "%s/tests/reference/data/%s", CNX_TEST_SOURCE_DIR,
                 pixels[i].photo);
        if (!rt_image_load(path, pixels[i].channels, &photo, &error) ||
            !rt_image_crop(&photo, 0, 0, pixels[i].width, pixels[i].height, &part, &error) ||
            !rt_image_evaluate(&part, &pixels[i].how, &out, &error))
            fail_msg("%s", error.text);
        size_t bytes = (size_t)out.width * (size_t)out.height * (size_t)out.channels;
        if (crc32(0, out.pixels, (uInt)bytes) != pixels[i].crc)
            fail_msg("row %zu (%s, %d x %d) differs from timm's", i, pixels[i].photo,
                     pixels[i].width, pixels[i].height);
        rt_image_free(&photo);
        rt_image_free(&part);
        rt_image_free(&out);
    }
}

/* --- a network that can be computed by hand --- */

enum { SIDE = 4, PIXELS = SIDE * SIDE, CLASSES = 3, IMAGENET = 1000 };

static const char model[] =
    "param classes = 3\nparam names = []\n"
    "model still {\n    input image: f32[batch, 1, 4, 4]\n"
    "    meta mean = [0.5]\n    meta std = [0.5]\n"
    "    if len(names) > 0 { meta class_names = names }\n"
    "    output logits = head: linear(reshape(image, [batch, 16]), classes)\n}\n";

/* Logit c is that of pixel c, times `scale`, plus bias[c]. */
static void write_weights(const cli_case *t, const char *name, int64_t classes, float scale,
                          const rt_pair *pairs, size_t pair_count) {
    float *weight = calloc((size_t)classes * PIXELS, sizeof *weight);
    float *bias = calloc((size_t)classes, sizeof *bias);
    for (int64_t c = 0; c < classes && c < PIXELS; c++)
        weight[c * PIXELS + c] = scale;
    if (classes == IMAGENET) bias[281] = 9;
    rt_tensor tensors[] = {{.name = "head.weight",
                            .dtype = RT_F32,
                            .rank = 2,
                            .dim = {classes, PIXELS},
                            .data = (const uint8_t *)weight},
                           {.name = "head.bias",
                            .dtype = RT_F32,
                            .rank = 1,
                            .dim = {classes},
                            .data = (const uint8_t *)bias}};
    rt_error error;
    if (!rt_tensors_write(cli_case_path(t, name), tensors, 2, pairs, pair_count, &error))
        fail_msg("%s", error.text);
    free(weight);
    free(bias);
}

/* Its first three pixels; the rest is black. */
static void write_image(const cli_case *t, const char *name, int a, int b, int c) {
    uint8_t bytes[PIXELS] = {(uint8_t)a, (uint8_t)b, (uint8_t)c};
    rt_image image = {SIDE, SIDE, 1, bytes};
    rt_error error;
    if (!rt_image_write_png(cli_case_path(t, name), &image, &error)) fail_msg("%s", error.text);
}

static void write_text(const cli_case *t, const char *name, const char *text) {
    cli_case_write(t, name, text, strlen(text));
}

static cli_case begin(void) {
    cli_case t = cli_case_new();
    write_text(&t, "net.cnx", model);
    write_weights(&t, "w.safetensors", CLASSES, 1, NULL, 0);
    write_image(&t, "a.png", 255, 100, 0);
    write_image(&t, "b.png", 0, 200, 100);
    write_image(&t, "c.png", 10, 20, 255);
    return t;
}

static void expect_out(cli_case *t, const char *arguments, const char *part) {
    cli_case_expect(t, arguments, 0, NULL);
    if (!strstr(t->out, part)) print_error("'%s' is not in\n%s", part, t->out);
    assert_non_null(strstr(t->out, part));
}

/* The number behind `"key": ` after `from`. */
static double number_after(const char *from, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = from ? strstr(from, quoted) : NULL;
    assert_non_null(at);
    return strtod(at + strlen(quoted), NULL);
}

/* --- predict --- */

static void probabilities(void **unused) {
    (void)unused;
    cli_case t = begin();
    cli_case_expect(&t, "predict net.cnx --weights w.safetensors --json a.png", 0, NULL);
    static const int order[] = {0, 1, 2}, value[] = {255, 100, 0};
    double sum = 0;
    for (int k = 0; k < CLASSES; k++)
        sum += exp((value[k] / 255.0 - 0.5) / 0.5);
    const char *at = strstr(t.out, "[{\"file\": \"a.png\", \"top\": [");
    for (int k = 0; k < CLASSES; k++) {
        assert_int_equal((int)number_after(at, "class"), order[k]);
        at = strstr(at, "\"name\": null, ");
        double want = exp((value[k] / 255.0 - 0.5) / 0.5) / sum;
        assert_true(fabs(number_after(at, "probability") - want) < 1e-6);
        at = strstr(at, "probability");
    }
    expect_out(&t, "predict net.cnx --weights w.safetensors --top 1 a.png b.png c.png",
               "a.png: class 0 69.8 %\nb.png: class 1 60.1 %\nc.png: class 2 76.6 %\n");
    expect_out(&t, "predict net.cnx --weights w.safetensors --top 2 b.png", "; class 2 27.4 %\n");
    write_weights(&t, "nan.safetensors", CLASSES, NAN, NULL, 0);
    cli_case_expect(&t, "predict net.cnx --weights nan.safetensors b.png", 3,
                    "b.png: the network gives numbers that are not finite");
    cli_case_free(&t);
}

static void many_images(void **unused) {
    (void)unused;
    cli_case t = begin();
    char all[4096] = "predict net.cnx --weights w.safetensors --top 1", want[4096] = "";
    for (int i = 0; i < 37; i++) { /* three batches */
        char name[16], line[64];
        snprintf(name, sizeof name, "%02d.png", i);
        write_image(&t, name, i % 3 == 0 ? 255 : 2 * i, i % 3 == 1 ? 255 : i, i % 3 == 2 ? 255 : i);
        snprintf(line, sizeof line, "%s: class %d ", name, i % 3);
        strcat(strcat(all, " "), name);
        strcat(want, line);
    }
    static const char *const options[] = {"", " --threads 1", " --batch 1", " --batch 5"};
    char *first = NULL;
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        char command[4200];
        snprintf(command, sizeof command, "'%s' %s%s", CNX_TEST_CNXC, all, options[k]);
        assert_int_equal(cli_case_shell(&t, command), 0);
        if (!first) first = strdup(t.out);
        assert_string_equal(t.out, first);
    }
    const char *line = first, *part = want;
    for (int i = 0; i < 37; i++, line = strchr(line, '\n') + 1) {
        size_t length = strcspn(part, "p") + strlen("png: class 0 ");
        if (strncmp(line, part, length) != 0) fail_msg("%.30s, expected %.30s", line, part);
        part += length;
    }
    assert_int_equal(*line, 0);
    free(first);
    cli_case_free(&t);
}

/* Those that cannot be read are named; the others get what they would get alone. */
static void broken_images(void **unused) {
    (void)unused;
    cli_case t = begin();
    write_text(&t, "bad.png", "no image");
    expect_out(&t, "predict net.cnx --weights w.safetensors --json a.png c.png", "\"c.png\"");
    char *want = strdup(t.out);
    cli_case_expect(&t,
                    "predict net.cnx --weights w.safetensors --json bad.png a.png none.png c.png",
                    1, "cnxc: bad.png: no image");
    assert_non_null(strstr(t.err, "'none.png'"));
    assert_string_equal(t.out, want);
    cli_case_expect(&t, "predict net.cnx --weights w.safetensors --json bad.png", 1, "bad.png");
    assert_string_equal(t.out, "[]\n");
    cli_case_expect(&t, "predict net.cnx --weights w.safetensors bad.png", 1, "bad.png");
    assert_string_equal(t.out, "");
    uint8_t strip[8000] = {0};
    rt_image image = {8000, 1, 1, strip};
    rt_error error;
    assert_true(rt_image_write_png(cli_case_path(&t, "strip.png"), &image, &error));
    cli_case_expect(&t, "predict net.cnx --weights w.safetensors strip.png", 1,
                    "strip.png: an image of 8000 x 1 pixels with its shorter side at 4 would be");
    free(want);
    cli_case_free(&t);
}

/* Those of --classes, of the weights, of the model, of ImageNet: the first that there are. */
static void names(void **unused) {
    (void)unused;
    static const rt_pair in_file[] = {{"cnx_format", "1"},
                                      {"class_names", "[\"f0\", \"f1\", \"f, 2\"]"}};
    cli_case t = begin();
    write_weights(&t, "named.safetensors", CLASSES, 1, in_file, 2);
    write_text(&t, "names.txt", "one\r\ntwo and\t\nthr\303\251e\n\n");
    write_text(&t, "mark.txt", "\357\273\277one\ntwo\nthree");
    write_text(&t, "names.json", " [\"j0\", \"j1\", \"j2\"]\n");
    expect_out(&t, "predict net.cnx --weights named.safetensors c.png", "c.png: f, 2 76.6 %; f1 ");
    expect_out(&t,
               "predict net.cnx --weights w.safetensors -D 'names=[\"m0\", \"m1\", \"m 2\"]' c.png",
               "c.png: m 2 76.6 %; m1 ");
    expect_out(
        &t, "predict net.cnx --weights named.safetensors -D 'names=[\"m0\", \"m1\", \"m2\"]' c.png",
        "c.png: f, 2 ");
    expect_out(&t, "predict net.cnx --weights named.safetensors --classes names.txt c.png",
               "c.png: thr\303\251e 76.6 %; two and 12.1");
    expect_out(&t, "predict net.cnx --weights w.safetensors --classes mark.txt a.png",
               "a.png: one 69.8 %; two ");
    expect_out(&t, "predict net.cnx --weights w.safetensors --classes names.json --json b.png",
               "{\"class\": 1, \"name\": \"j1\", \"probability\": 0.60");
    write_weights(&t, "large.safetensors", IMAGENET, 1, NULL, 0);
    expect_out(&t, "predict net.cnx --weights large.safetensors -D classes=1000 --top 1 a.png",
               "a.png: tabby, tabby cat 8"); /* e^9 / (e^9 + about 1000) */
    cli_case_free(&t);
}

/* What -D says counts more than what the file says, and that more than the model. Means move all
 * logits alike, standard deviations do not. */
static void facts_of_file(void **unused) {
    (void)unused;
    static const rt_pair in_file[] = {
        {"cnx_format", "1"}, {"std", "0.25"}, {"image_size", "4"}, {"crop_pct", "0.5"}};
    static const rt_pair other_size[] = {
        {"cnx_format", "1"}, {"image_size", "8"}, {"crop_pct", "0.5"}};
    cli_case t = begin();
    static const char with_params[] =
        "param std = [0.5]\nparam crop_pct = 1.0\n"
        "model still {\n    input image: f32[batch, 1, 4, 4]\n"
        "    meta mean = [0.5]\n    meta std = std\n    meta crop_pct = crop_pct\n"
        "    output logits = head: linear(reshape(image, [batch, 16]), 3)\n}\n";
    write_text(&t, "p.cnx", with_params);
    write_weights(&t, "f.safetensors", CLASSES, 1, in_file, 4);
    write_weights(&t, "o.safetensors", CLASSES, 1, other_size, 3);
    expect_out(&t, "predict p.cnx --weights w.safetensors a.png", "class 0 69.8 %");
    expect_out(&t, "predict p.cnx --weights f.safetensors a.png", "class 0 90.4 %");
    expect_out(&t, "predict p.cnx --weights f.safetensors -D std=[0.5] a.png", "class 0 69.8 %");
    uint8_t bytes[64];
    for (int i = 0; i < 64; i++)
        bytes[i] = (uint8_t)(i * 37);
    rt_image image = {8, 8, 1, bytes};
    rt_error error;
    assert_true(rt_image_write_png(cli_case_path(&t, "8.png"), &image, &error));
    cli_case_run(&t, "predict p.cnx --weights w.safetensors 8.png");
    char *whole = strdup(t.out);
    cli_case_run(&t, "predict p.cnx --weights w.safetensors -D crop_pct=0.5 8.png");
    char *half = strdup(t.out);
    assert_string_not_equal(whole, half);
    expect_out(&t, "predict p.cnx --weights f.safetensors -D std=[0.5] 8.png", half);
    expect_out(&t, "predict p.cnx --weights f.safetensors -D std=[0.5] -D crop_pct=1.0 8.png",
               whole);
    expect_out(&t, "predict p.cnx --weights o.safetensors 8.png", whole);
    free(whole);
    free(half);
    cli_case_free(&t);
}

static void wrong_names(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a\nb\n", "n.txt: 2 names of classes, but 'still' has 3"},
        {"a\nb\nc\nd", "n.txt: 4 names of classes, but 'still' has 3"},
        {"", "n.txt: 0 names of classes, but 'still' has 3"},
        {"a\n\nb\nc\n", "n.txt: name 2 is empty"},
        {"[\"a\", \"b\"]", "n.txt is no JSON list of 3 names"},
        {"[\"a\", \"b\", 3]", "n.txt is no JSON list of 3 names"},
        {"[\"a\", ", "n.txt is no JSON list of 3 names"},
    };
    cli_case t = begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(&t, "n.txt", cases[i].text);
        cli_case_expect(&t, "predict net.cnx --weights w.safetensors --classes n.txt a.png", 1,
                        cases[i].message);
        assert_string_equal(t.out, "");
    }
    cli_case_expect(&t, "predict net.cnx --weights w.safetensors --classes none.txt a.png", 1,
                    "cannot read 'none.txt'");
    cli_case_expect(&t, "predict net.cnx --weights w.safetensors -D 'names=[\"a\"]' a.png", 1,
                    "net.cnx: 1 names of classes, but 'still' has 3");
    cli_case_expect(&t, "eval net.cnx --weights w.safetensors --data . --classes n.txt", 2,
                    "--classes");
    cli_case_free(&t);
}

/* --- eval --- */

/* Each class has other numbers of images that are right first, second and third; with six classes
 * the last of them is not even among the first five. */
static void accuracy_of_classes(void **unused) {
    (void)unused;
    enum { SIX = 6 };
    cli_case t = begin();
    write_weights(&t, "six.safetensors", SIX, 1, NULL, 0);
    assert_int_equal(cli_case_shell(&t,
                                    "for c in a b c d e f; do mkdir -p data/train/$c data/val/$c;"
                                    " cp a.png data/train/$c; done; rmdir data/val/f"),
                     0);
    int images[SIX] = {0}, top1[SIX] = {0}, top5[SIX] = {0}, all = 0;
    for (int label = 0; label < SIX - 1; label++) /* the last one has none */
        for (int i = 0; i <= 4 + label; i++) {
            uint8_t bytes[PIXELS] = {10, 20, 30, 40, 50, 60};
            int place = i % 3 == 0 ? 0 : i % 3 == 1 ? 3 : 5; /* of the right class among the six */
            bytes[label] = place == 0 ? 200 : place == 3 ? (uint8_t)(label < 3 ? 35 : 25) : 5;
            int before = 0;
            for (int k = 0; k < SIX; k++)
                before += bytes[k] > bytes[label];
            images[label]++;
            top1[label] += before < 1;
            top5[label] += before < 5;
            char name[64];
            snprintf(name, sizeof name, "data/val/%c/%d.png", 'a' + label, i);
            rt_image image = {SIDE, SIDE, 1, bytes};
            rt_error error;
            assert_true(rt_image_write_png(cli_case_path(&t, name), &image, &error));
            all++;
        }
    cli_case_expect(&t,
                    "eval net.cnx --weights six.safetensors --data data -D classes=6 --batch 4"
                    " --json",
                    0, "");
    const char *at = strstr(t.out, "\"classes\": [");
    assert_non_null(at);
    int sum1 = 0, sum5 = 0;
    for (int k = 0; k < SIX; k++) {
        char want[128];
        snprintf(want, sizeof want,
                 "{\"class\": %d, \"name\": \"%c\", \"images\": %d, \"top1\": ", k, 'a' + k,
                 images[k]);
        at = strstr(at, want);
        if (!at) fail_msg("no %s in %s", want, t.out);
        if (images[k] == 0) {
            assert_non_null(strstr(at, "\"top1\": null, \"top5\": null}"));
            continue;
        }
        assert_true(fabs(number_after(at, "top1") - (double)top1[k] / images[k]) < 1e-9);
        assert_true(fabs(number_after(at, "top5") - (double)top5[k] / images[k]) < 1e-9);
        sum1 += top1[k];
        sum5 += top5[k];
    }
    assert_true(sum1 > 0 && sum1 < sum5 && sum5 < all);
    assert_int_equal((int)number_after(t.out, "images"), all);
    assert_true(fabs(number_after(t.out, "top1") - (double)sum1 / all) < 1e-9);
    assert_true(fabs(number_after(t.out, "top5") - (double)sum5 / all) < 1e-9);
    cli_case_expect(&t, "eval net.cnx --weights six.safetensors --data data -D classes=6", 0,
                    "top-1 ");
    assert_null(strstr(t.out, "classes"));
    write_text(&t, "data/val/b/0.png", "no image");
    cli_case_expect(&t, "eval net.cnx --weights six.safetensors --data data -D classes=6 --json", 3,
                    "data/val/b/0.png");
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(transforms_as_timm),
                                       cmocka_unit_test(probabilities),
                                       cmocka_unit_test(many_images),
                                       cmocka_unit_test(broken_images),
                                       cmocka_unit_test(names),
                                       cmocka_unit_test(facts_of_file),
                                       cmocka_unit_test(wrong_names),
                                       cmocka_unit_test(accuracy_of_classes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
