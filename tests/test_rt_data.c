/* Data sets: IDX files that are right and that lie, folders of classes, Fashion-MNIST itself. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_data.h"
#include "rt_idx.h"
#include "rt_scratch.h"

#include <zlib.h>

/* --- making IDX files --- */

typedef struct bytes {
    uint8_t data[4096];
    size_t size;
} bytes;

/* Header of `rank` dimensions and `count` elements 0, 1, 2... (modulo 10 when rank is 1). */
static bytes idx_of(int rank, const uint32_t *dim, size_t count) {
    bytes b = {.data = {0, 0, 8, (uint8_t)rank}, .size = 4 + 4 * (size_t)rank};
    for (int i = 0; i < rank; i++)
        for (int k = 0; k < 4; k++)
            b.data[4 + 4 * i + k] = (uint8_t)(dim[i] >> (24 - 8 * k));
    for (size_t i = 0; i < count; i++)
        b.data[b.size++] = (uint8_t)(rank == 1 ? i % 10 : i);
    return b;
}

static bytes gzip_of(const bytes *plain) {
    bytes packed = {0};
    z_stream z = {.next_in = (Bytef *)plain->data,
                  .avail_in = (uInt)plain->size,
                  .next_out = packed.data,
                  .avail_out = sizeof packed.data};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    packed.size = z.total_out;
    deflateEnd(&z);
    return packed;
}

/* --- one IDX file --- */

static void expect_idx(const bytes *b, int rank, const char *message) {
    rt_idx idx;
    rt_error error;
    uint8_t *exact = malloc(b->size ? b->size : 1); /* so that ASan sees a read behind the end */
    memcpy(exact, b->data, b->size);
    bool good = rt_idx_parse("f", exact, b->size, rank, &idx, &error);
    free(exact);
    if (good && message) fail_msg("accepted; expected: %s", message);
    if (!message) {
        if (!good) fail_msg("%s", error.text);
        rt_idx_free(&idx);
    } else {
        assert_string_equal(error.text, message);
    }
}

static void test_idx_right(void **state) {
    (void)state;
    bytes b = idx_of(3, (uint32_t[]){2, 3, 4}, 24), packed = gzip_of(&b);
    for (int i = 0; i < 2; i++) {
        const bytes *from = i ? &packed : &b;
        rt_idx idx;
        rt_error error;
        assert_true(rt_idx_parse("f", from->data, from->size, 3, &idx, &error));
        assert_int_equal(idx.rank, 3);
        assert_int_equal(idx.dim[0], 2);
        assert_int_equal(idx.dim[1], 3);
        assert_int_equal(idx.dim[2], 4);
        for (int k = 0; k < 24; k++)
            assert_int_equal(idx.data[k], k);
        rt_idx_free(&idx);
    }
    bytes none = idx_of(1, (uint32_t[]){0}, 0);
    expect_idx(&none, 1, NULL);
}

static void test_idx_lies(void **state) {
    (void)state;
    bytes b = idx_of(3, (uint32_t[]){2, 3, 4}, 24);
    b.size = 3;
    expect_idx(&b, 3, "f: ends after 3 bytes, inside of its header of 16");
    b.size = 15;
    expect_idx(&b, 3, "f: ends after 15 bytes, inside of its header of 16");
    b.size = 16 + 23;
    expect_idx(&b, 3, "f: 23 bytes of data; its header expects 24 (2 items)");
    b.size = 16 + 25;
    expect_idx(&b, 3, "f: more data than the 24 bytes its header announces");
    b.size = 16 + 24;
    expect_idx(&b, 1,
               "f: begins with 00 00 08 03; expected 00 00 08 01, an IDX file of bytes with "
               "1 dimension");
    b.data[2] = 0x0d; /* floats */
    expect_idx(&b, 3,
               "f: begins with 00 00 0d 03; expected 00 00 08 03, an IDX file of bytes with "
               "3 dimensions");
    b = idx_of(3, (uint32_t[]){0xffffffff, 0xffffffff, 0xffffffff}, 24);
    expect_idx(&b, 3, "f: dimension 1 is 4294967295; expected at most 8589934592 bytes of data");
    b = idx_of(3, (uint32_t[]){100000, 200, 200}, 24); /* 4 GB announced, 24 there */
    expect_idx(&b, 3, "f: 24 bytes of data; its header expects 4000000000 (100000 items)");
}

static void test_gzip_broken(void **state) {
    (void)state;
    bytes plain = idx_of(3, (uint32_t[]){2, 10, 10}, 200), packed = gzip_of(&plain);
    expect_idx(&packed, 3, NULL);
    for (size_t cut = 2; cut < packed.size; cut++) {
        bytes part = packed;
        part.size = cut;
        char message[200];
        snprintf(message, sizeof message,
                 "f: the gzip data end in the middle, at byte %zu of the file", cut);
        expect_idx(&part, 3, message);
    }
    bytes flipped = packed;
    flipped.data[packed.size - 6] ^= 1; /* in the checksum */
    expect_idx(&flipped, 3, "f: broken gzip data (incorrect data check)");
    flipped = packed;
    flipped.data[3] ^= 0x80;
    expect_idx(&flipped, 3, "f: broken gzip data (unknown header flags set)");
    bytes longer = packed;
    longer.data[longer.size++] = 0;
    expect_idx(&longer, 3, "f: more data than the 200 bytes its header announces");
    for (size_t i = 8 * 10; i < 8 * packed.size; i++) { /* any other bit: an error, or no harm */
        flipped = packed;
        flipped.data[i / 8] ^= (uint8_t)(1 << i % 8);
        rt_idx idx;
        rt_error error;
        if (!rt_idx_parse("f", flipped.data, flipped.size, 3, &idx, &error)) continue;
        assert_memory_equal(idx.data, plain.data + 16, 200);
        rt_idx_free(&idx);
    }
}

/* --- a data set of IDX files --- */

static void write_idx(const char *folder, const char *name, int rank, const uint32_t *dim,
                      size_t count) {
    bytes b = idx_of(rank, dim, count);
    scratch_write(folder, name, b.data, b.size);
}

/* Both parts: 20 training images and 10 test images of 2 x 3 pixels. */
static const char *make_set(void **state, const char *name) {
    const char *folder = scratch_path(*state, name);
    write_idx(folder, "train-images-idx3-ubyte", 3, (uint32_t[]){20, 2, 3}, 120);
    write_idx(folder, "train-labels-idx1-ubyte", 1, (uint32_t[]){20}, 20);
    write_idx(folder, "t10k-images-idx3-ubyte", 3, (uint32_t[]){10, 2, 3}, 60);
    bytes plain = idx_of(1, (uint32_t[]){10}, 10), packed = gzip_of(&plain);
    scratch_write(folder, "t10k-labels-idx1-ubyte.gz", packed.data, packed.size);
    return folder;
}

static void expect_open(void **state, const char *folder, rt_part part, const char *message) {
    rt_error error;
    rt_data *data = rt_data_open(folder, part, &error);
    rt_data_close(data);
    if (data) fail_msg("opened; expected: %s", message);
    assert_string_equal(scratch_message(&error, *state), message);
}

static void test_idx_set(void **state) {
    const char *folder = make_set(state, "set");
    rt_error error;
    assert_true(rt_data_has(folder, RT_TRAIN));
    assert_true(rt_data_has(folder, RT_TEST));
    for (int part = RT_TRAIN; part <= RT_TEST; part++) {
        rt_data *data = rt_data_open(folder, (rt_part)part, &error);
        if (!data) fail_msg("%s", error.text);
        int64_t count = part == RT_TRAIN ? 20 : 10;
        assert_int_equal(rt_data_count(data), count);
        assert_int_equal(rt_data_classes(data), 10);
        assert_string_equal(rt_data_class_names(data)[0], "0");
        assert_string_equal(rt_data_class_names(data)[9], "9");
        for (int64_t i = 0; i < count; i++) {
            assert_int_equal(rt_data_label(data, i), i % 10);
            for (int channels = 1; channels <= 3; channels += 2) {
                rt_image image;
                assert_true(rt_data_image(data, i, channels, &image, &error));
                assert_int_equal(image.width, 3);
                assert_int_equal(image.height, 2);
                for (int k = 0; k < 6 * channels; k++)
                    assert_int_equal(image.pixels[k], i * 6 + k / channels);
                rt_image_free(&image);
            }
        }
        char name[300];
        rt_data_name(data, 7, name, sizeof name);
        memcpy(error.text, name, sizeof name);
        assert_string_equal(scratch_message(&error, folder),
                            part == RT_TRAIN ? "@/train-images-idx3-ubyte, image 7"
                                             : "@/t10k-images-idx3-ubyte, image 7");
        rt_data_close(data);
    }
}

static void test_idx_set_lies(void **state) {
    const char *folder = make_set(state, "counts");
    write_idx(folder, "train-labels-idx1-ubyte", 1, (uint32_t[]){19}, 19);
    expect_open(state, folder, RT_TRAIN,
                "@/counts/train-images-idx3-ubyte: 20 images, but 19 "
                "labels in the file beside");
    folder = make_set(state, "range");
    write_idx(folder, "train-labels-idx1-ubyte", 1, (uint32_t[]){20}, 20);
    uint8_t labels[12] = {0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 2, 1};
    write_idx(folder, "train-images-idx3-ubyte", 3, (uint32_t[]){4, 2, 3}, 24);
    scratch_write(folder, "train-labels-idx1-ubyte", labels, sizeof labels);
    expect_open(state, folder, RT_TEST,
                "'@/range': the label of test image 3 is 3; the training "
                "part has labels 0 to 2");
    folder = make_set(state, "missing");
    remove(scratch_path(folder, "train-labels-idx1-ubyte"));
    expect_open(state, folder, RT_TRAIN,
                "'@/missing' has images, but no train-labels-idx1-ubyte[.gz]");
    folder = make_set(state, "none");
    write_idx(folder, "train-images-idx3-ubyte", 3, (uint32_t[]){0, 2, 3}, 0);
    expect_open(state, folder, RT_TRAIN, "@/none/train-images-idx3-ubyte: no images");
    folder = make_set(state, "flat");
    write_idx(folder, "train-images-idx3-ubyte", 3, (uint32_t[]){20, 0, 3}, 0);
    expect_open(state, folder, RT_TRAIN,
                "@/flat/train-images-idx3-ubyte: images of 3 x 0 pixels; "
                "expected sides from 1 to 16384");
    folder = make_set(state, "swapped");
    write_idx(folder, "train-images-idx3-ubyte", 1, (uint32_t[]){20}, 20);
    expect_open(state, folder, RT_TRAIN,
                "@/swapped/train-images-idx3-ubyte: begins with 00 00 08 01; expected 00 00 08 03, "
                "an IDX file of bytes with 3 dimensions");
}

/* Classes of a test part alone are its own. */
static void test_idx_test_only(void **state) {
    const char *folder = make_set(state, "only");
    remove(scratch_path(folder, "train-images-idx3-ubyte"));
    remove(scratch_path(folder, "train-labels-idx1-ubyte"));
    rt_error error;
    assert_false(rt_data_has(folder, RT_TRAIN));
    rt_data *data = rt_data_open(folder, RT_TEST, &error);
    assert_non_null(data);
    assert_int_equal(rt_data_classes(data), 10);
    rt_data_close(data);
}

static void test_fashion(void **state) {
    (void)state;
    const char *folder = "/usr/share/datasets/fashion-mnist";
    if (access(folder, R_OK) != 0) fail_msg("%s: install dataset-fashion-mnist", folder);
    static const char *const names[] = {"t-shirt", "trouser", "pullover", "dress", "coat",
                                        "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};
    rt_error error;
    for (int part = RT_TRAIN; part <= RT_TEST; part++) {
        rt_data *data = rt_data_open(folder, (rt_part)part, &error);
        if (!data) fail_msg("%s", error.text);
        int64_t count = part == RT_TRAIN ? 60000 : 10000, of_class[10] = {0};
        assert_int_equal(rt_data_count(data), count);
        assert_int_equal(rt_data_classes(data), 10);
        for (int64_t i = 0; i < count; i++)
            of_class[rt_data_label(data, i)]++;
        for (int k = 0; k < 10; k++) {
            assert_int_equal(of_class[k], count / 10);
            assert_string_equal(rt_data_class_names(data)[k], names[k]);
        }
        rt_image image;
        assert_true(rt_data_image(data, count - 1, 1, &image, &error));
        assert_int_equal(image.width, 28);
        rt_image_free(&image);
        rt_data_close(data);
    }
}

/* --- folders --- */

static const char *make_image(void **state, int value) {
    rt_image image;
    rt_error error;
    assert_true(rt_image_new(2, 2, 3, &image, &error));
    memset(image.pixels, value, 12);
    const char *path = scratch_path(*state, "one.png");
    assert_true(rt_image_write_png(path, &image, &error));
    rt_image_free(&image);
    return path;
}

static void put_image(void **state, const char *folder, const char *name, int value) {
    make_image(state, value);
    size_t size;
    char *file = scratch_read(*state, "one.png", &size);
    scratch_write(folder, name, file, size);
    free(file);
}

static void check_folder(const char *folder, rt_part part, const char *const *classes,
                         int64_t class_count, const int *labels, const int *values) {
    rt_error error;
    rt_data *data = rt_data_open(folder, part, &error);
    if (!data) fail_msg("%s", error.text);
    assert_int_equal(rt_data_classes(data), class_count);
    for (int64_t k = 0; k < class_count; k++)
        assert_string_equal(rt_data_class_names(data)[k], classes[k]);
    int64_t count = 0;
    for (; labels[count] >= 0; count++) {
        rt_image image;
        assert_true(count < rt_data_count(data));
        assert_int_equal(rt_data_label(data, count), labels[count]);
        assert_true(rt_data_image(data, count, 3, &image, &error));
        assert_int_equal(image.pixels[0], values[count]);
        rt_image_free(&image);
    }
    assert_int_equal(rt_data_count(data), count);
    rt_data_close(data);
}

static void test_folders(void **state) {
    const char *folder = scratch_path(*state, "tree");
    static const char *const classes[] = {"Zebra", "ant", "bee"}; /* byte order: capitals first */
    put_image(state, folder, "train/bee/10.png", 5);
    put_image(state, folder, "train/bee/2.PNG", 6);
    put_image(state, folder, "train/ant/x.png", 4);
    put_image(state, folder, "train/Zebra/z.png", 1);
    put_image(state, folder, "train/Zebra/.hidden.png", 9);
    scratch_text(folder, "train/Zebra/notes.txt", "no image");
    scratch_text(folder, "train/README.png", "in no class");
    put_image(state, folder, "train/.cache/x.png", 9);
    put_image(state, folder, "val/bee/v.png", 8);
    put_image(state, folder, "val/ant/v.png", 7);
    assert_true(rt_data_has(folder, RT_TRAIN) && rt_data_has(folder, RT_TEST));
    check_folder(folder, RT_TRAIN, classes, 3, (int[]){0, 1, 2, 2, -1}, (int[]){1, 4, 5, 6});
    check_folder(folder, RT_TEST, classes, 3, (int[]){1, 2, -1}, (int[]){7, 8});
    /* 'test' counts where there is no 'val' */
    assert_int_equal(rename(scratch_path(folder, "val"), scratch_path(folder, "test")), 0);
    check_folder(folder, RT_TEST, classes, 3, (int[]){1, 2, -1}, (int[]){7, 8});
    put_image(state, folder, "test/cat/v.png", 7);
    expect_open(state, folder, RT_TEST,
                "'@/tree/test': class 'cat' is none of the 3 of the training part");
}

/* Links to folders and to images are followed: many data sets are made of them. */
static void test_links(void **state) {
    const char *folder = scratch_path(*state, "links");
    put_image(state, folder, "store/one/x.png", 3);
    mkdir(scratch_path(folder, "data"), 0777);
    assert_int_equal(symlink("../store/one", scratch_path(folder, "data/a")), 0);
    mkdir(scratch_path(folder, "data/b"), 0777);
    assert_int_equal(symlink("../../store/one/x.png", scratch_path(folder, "data/b/y.png")), 0);
    static const char *const classes[] = {"a", "b"};
    check_folder(scratch_path(folder, "data"), RT_TRAIN, classes, 2, (int[]){0, 1, -1},
                 (int[]){3, 3});
}

static void test_flat_folders(void **state) {
    const char *folder = scratch_path(*state, "flat-tree");
    put_image(state, folder, "a/1.png", 1);
    put_image(state, folder, "b/1.png", 2);
    static const char *const classes[] = {"a", "b"};
    check_folder(folder, RT_TRAIN, classes, 2, (int[]){0, 1, -1}, (int[]){1, 2});
    assert_false(rt_data_has(folder, RT_TEST));
    expect_open(state, folder, RT_TEST,
                "'@/flat-tree' has no test part; expected t10k-images-idx3-ubyte[.gz] or a folder "
                "'val' or 'test' beside 'train'");
}

static void test_no_data(void **state) {
    expect_open(state, scratch_path(*state, "nowhere"), RT_TRAIN,
                "cannot open '@/nowhere': No such file or directory");
    scratch_text(*state, "file", "x");
    expect_open(state, scratch_path(*state, "file"), RT_TRAIN,
                "cannot open '@/file': is no directory");
    const char *folder = scratch_path(*state, "bare");
    scratch_text(folder, "a/b.txt", "x");
    expect_open(state, folder, RT_TRAIN,
                "'@/bare' holds no data; expected train-images-idx3-ubyte[.gz] and so on, or "
                "train/CLASS/IMAGE, or CLASS/IMAGE");
    put_image(state, folder, "c/x.png", 1);
    expect_open(state, folder, RT_TRAIN,
                "'@/bare/a': no images; expected files .png, .jpg, .jpeg or .bmp");
}

/* What is no image is counted, folder by folder; names that begin with a dot are not. */
static void test_passed_over(void **state) {
    const char *folder = scratch_path(*state, "others");
    put_image(state, folder, "train/ant/x.png", 1);
    put_image(state, folder, "train/bee/x.png", 1);
    rt_error note, error;
    rt_data *data = rt_data_open(folder, RT_TRAIN, &error);
    rt_data_note(data, note.text, sizeof note.text);
    assert_string_equal(note.text, "");
    rt_data_close(data);
    scratch_text(folder, "train/bee/1.webp", "x");
    scratch_text(folder, "train/bee/.hidden", "x");
    put_image(state, folder, "train/bee/more/x.png", 1);
    data = rt_data_open(folder, RT_TRAIN, &error);
    rt_data_note(data, note.text, sizeof note.text);
    assert_string_equal(scratch_message(&note, folder),
                        "'@/train/bee': passed over what is no .png, .jpg, .jpeg or .bmp: 2");
    rt_data_close(data);
    scratch_text(folder, "train/ant/list.txt", "x");
    data = rt_data_open(folder, RT_TRAIN, &error);
    rt_data_note(data, note.text, sizeof note.text);
    assert_string_equal(scratch_message(&note, folder),
                        "'@/train/ant' and other folders: passed over what is no .png, .jpg, .jpeg "
                        "or .bmp: 3");
    rt_data_close(data);
}

/* A class that is called as a part is. */
static void test_part_names(void **state) {
    static const char *const parts[] = {"train", "val", "test"};
    for (int i = 0; i < 3; i++) {
        char name[64], message[512];
        snprintf(name, sizeof name, "class-%s", parts[i]);
        const char *folder = scratch_path(*state, name);
        put_image(state, folder, "plane/x.png", 1);
        snprintf(name, sizeof name, "%s/x.png", parts[i]);
        put_image(state, folder, name, 1);
        snprintf(message, sizeof message,
                 "'@' holds no data: '@/%s' is taken for a part of the data set, not for a class; "
                 "expected train/CLASS/IMAGE, and val/CLASS/IMAGE or test/CLASS/IMAGE",
                 parts[i]);
        for (int part = RT_TRAIN; part <= RT_TEST; part++) {
            rt_error error;
            assert_null(rt_data_open(folder, (rt_part)part, &error));
            assert_string_equal(scratch_message(&error, folder), message);
        }
    }
}

static void test_broken_image(void **state) {
    const char *folder = scratch_path(*state, "broken");
    scratch_text(folder, "a/x.png", "no png");
    rt_error error;
    rt_data *data = rt_data_open(folder, RT_TRAIN, &error);
    assert_non_null(data);
    rt_image image;
    assert_false(rt_data_image(data, 0, 3, &image, &error));
    assert_string_equal(scratch_message(&error, folder),
                        "@/a/x.png: no image (unknown image type); expected PNG, JPEG or BMP");
    rt_data_close(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx_right),    cmocka_unit_test(test_idx_lies),
        cmocka_unit_test(test_gzip_broken),  cmocka_unit_test(test_idx_set),
        cmocka_unit_test(test_idx_set_lies), cmocka_unit_test(test_idx_test_only),
        cmocka_unit_test(test_fashion),      cmocka_unit_test(test_folders),
        cmocka_unit_test(test_links),        cmocka_unit_test(test_flat_folders),
        cmocka_unit_test(test_passed_over),  cmocka_unit_test(test_part_names),
        cmocka_unit_test(test_no_data),      cmocka_unit_test(test_broken_image),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
