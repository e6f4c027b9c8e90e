/* PyTorch checkpoints: files of torch.save, and pickles and archives that lie, one lie at a time.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_pickle.h"
#include "rt_scratch.h"
#include "rt_torch.h"
#include "rt_zip.h"

/* --- files that PyTorch wrote, see tests/reference/torch_seeds.py --- */

static const char *seed_path(const char *name) {
    return scratch_path(CNX_TEST_SOURCE_DIR "/tests/fuzz/torch", name);
}

static rt_tensors *open_seed(const char *name) {
    rt_error error;
    rt_tensors *file = rt_torch_open(seed_path(name), &error);
    if (!file) fail_msg("%s", error.text);
    return file;
}

static const rt_tensor *find(const rt_tensors *file, const char *name, const char *shape) {
    const rt_tensor *t = rt_tensors_find(file, name);
    if (!t) fail_msg("no tensor '%s'", name);
    char text[64];
    assert_string_equal(rt_tensor_shape(t, text, sizeof text), shape);
    return t;
}

/* Values first, first + 1... of a floating-point tensor. */
static void expect_ramp(const rt_tensors *file, const char *name, const char *shape, float first) {
    const rt_tensor *t = find(file, name, shape);
    float values[64];
    rt_error error;
    assert_in_range(rt_tensor_elements(t), 0, 64);
    assert_true(rt_tensor_to_f32(t, values, &error));
    for (int64_t i = 0; i < rt_tensor_elements(t); i++)
        assert_true(values[i] == first + (float)i);
}

static void test_plain(void **state) {
    (void)state;
    rt_tensors *file = open_seed("plain.pt");
    static const char *const names[] = {"0.weight",
                                        "0.bias",
                                        "1.weight",
                                        "1.bias",
                                        "1.running_mean",
                                        "1.running_var",
                                        "1.num_batches_tracked"};
    assert_int_equal(rt_tensors_count(file), 7);
    for (size_t i = 0; i < 7; i++) /* in the order of the dict */
        assert_string_equal(rt_tensors_at(file, i)->name, names[i]);
    expect_ramp(file, "0.weight", "(2,3)", 0);
    expect_ramp(file, "0.bias", "(2)", 10);
    expect_ramp(file, "1.weight", "(2)", 20);
    expect_ramp(file, "1.bias", "(2)", 30);
    find(file, "1.num_batches_tracked", "()");
    assert_int_equal(rt_tensors_pair_count(file), 0);
    assert_null(rt_tensors_find(file, "0"));
    rt_tensors_close(file);
}

static void test_kinds(void **state) {
    (void)state;
    rt_tensors *file = open_seed("kinds.pt"); /* below "state_dict" */
    static const struct {
        const char *name;
        rt_dtype dtype;
    } kinds[] = {{"float32", RT_F32}, {"float16", RT_F16}, {"bfloat16", RT_BF16},
                 {"float64", RT_F64}, {"int64", RT_I64},   {"int32", RT_I32},
                 {"int16", RT_I16},   {"int8", RT_I8},     {"uint8", RT_U8}};
    rt_error error;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const rt_tensor *t = find(file, kinds[i].name, "(2,3)");
        assert_int_equal(t->dtype, kinds[i].dtype);
        int64_t wholes[6];
        if (t->dtype > RT_F64) {
            assert_true(rt_tensor_to_i64(t, wholes, &error));
            for (int k = 0; k < 6; k++)
                assert_int_equal(wholes[k], k);
        } else {
            expect_ramp(file, kinds[i].name, "(2,3)", 0);
        }
    }
    assert_int_equal(find(file, "bool", "(2)")->dtype, RT_BOOL);
    expect_ramp(file, "scalar", "()", 2.5f);
    find(file, "empty", "(0,3)");
    expect_ramp(file, "parameter", "(2)", 0);
    rt_tensors_close(file);
}

/* Parts of one storage, and tensors whose rows do not lie one behind the other. */
static void test_strides(void **state) {
    (void)state;
    rt_tensors *file = open_seed("kinds.pt");
    expect_ramp(file, "whole", "(4,6)", 0);
    expect_ramp(file, "rows", "(2,6)", 6);
    expect_ramp(file, "channels_last", "(2,3,2,2)", 0);
    float values[24];
    rt_error error;
    assert_true(rt_tensor_to_f32(find(file, "columns", "(4,3)"), values, &error));
    for (int i = 0; i < 12; i++)
        assert_true(values[i] == (float)(i / 3 * 6 + 2 + i % 3));
    assert_true(rt_tensor_to_f32(find(file, "turned", "(6,4)"), values, &error));
    for (int i = 0; i < 24; i++)
        assert_true(values[i] == (float)(i % 4 * 6 + i / 4));
    rt_tensors_close(file);
}

/* A training run's file: the model's tensors only. */
static void test_training(void **state) {
    (void)state;
    rt_tensors *file = open_seed("training.pth");
    assert_int_equal(rt_tensors_count(file), 1);
    expect_ramp(file, "w", "(2,2)", 0);
    rt_tensors_close(file);
    file = open_seed("protocol4.pt");
    float ones[2];
    rt_error error;
    assert_true(rt_tensor_to_f32(find(file, "a", "(2)"), ones, &error));
    assert_true(ones[0] == 1 && ones[1] == 1);
    rt_tensors_close(file);
}

static void expect_file(const char *path, const char *message) {
    rt_error error;
    rt_tensors *file = rt_torch_open(path, &error);
    rt_tensors_close(file);
    if (file) fail_msg("accepted; expected: %s", message);
    const char *text = strstr(error.text, strrchr(path, '/') + 1);
    assert_non_null(text);
    assert_string_equal(text, message);
}

static void test_refused_files(void **state) {
    (void)state;
    expect_file(seed_path("evil.pt"),
                "evil.pt: data.pkl: byte 169: '__builtin__.eval' is not known to this reader; "
                "expected tensors, dicts, lists, numbers and strings");
    expect_file(seed_path("before_1_6.pt"),
                "before_1_6.pt: a file of PyTorch before 1.6; load and save it with a newer one");
    expect_file(seed_path("repeated.pt"),
                "repeated.pt: tensor 'a': it repeats the 1 elements of its storage; save a copy of "
                "it");
    expect_file(seed_path("plain.pkl"), "plain.pkl: a file of PyTorch before 1.6; load and save it "
                                        "with a newer one");
    expect_file(seed_path("none.pt"), "none.pt': No such file or directory");
}

static void test_detect(void **state) {
    assert_true(rt_torch_detect(seed_path("plain.pt")));
    assert_true(rt_torch_detect(seed_path("before_1_6.pt")));
    assert_false(rt_torch_detect(seed_path("none.pt")));
    assert_false(rt_torch_detect(CNX_TEST_SOURCE_DIR "/tests/fuzz/safetensors/two.safetensors"));
    assert_false(rt_torch_detect(CNX_TEST_SOURCE_DIR));
    assert_int_equal(mkfifo(scratch_path(*state, "pipe"), 0666), 0); /* nobody writes into it */
    assert_false(rt_torch_detect(scratch_path(*state, "pipe")));
    rt_error error;
    assert_null(rt_torch_open(scratch_path(*state, "pipe"), &error));
    assert_string_equal(scratch_message(&error, *state),
                        "cannot read '@/pipe': is no regular file");
}

/* A header of safetensors that is 128 + 256 n bytes long begins like a pickle. */
static void test_detect_safetensors(void **state) {
    for (unsigned n = 0; n <= 5; n++) {
        char bytes[16] = {(char)0x80, (char)n, 0, 0, 0, 0, 0, 0, '{', '}'};
        scratch_write(*state, "header.safetensors", bytes, sizeof bytes);
        assert_false(rt_torch_detect(scratch_path(*state, "header.safetensors")));
    }
}

/* Cut off anywhere, or with a byte of its data changed: an error, never other weights. */
static void test_broken_archives(void **state) {
    (void)state;
    size_t size;
    char *whole = scratch_read(CNX_TEST_SOURCE_DIR "/tests/fuzz/torch", "protocol4.pt", &size);
    rt_error error;
    for (size_t cut = 0; cut < size; cut++) {
        char *part = malloc(cut ? cut : 1);
        memcpy(part, whole, cut);
        assert_null(rt_torch_parse("f", part, cut, &error));
        assert_true(error.text[0] != 0);
        free(part);
    }
    static const float ones[] = {1, 1};
    char *data = memmem(whole, size, ones, sizeof ones);
    assert_non_null(data);
    data[2] ^= 1;
    assert_null(rt_torch_parse("f", whole, size, &error));
    static const char message[] = "f: 'protocol4/data/0' in the archive: ZIP bad CRC";
    assert_memory_equal(error.text, message, sizeof message - 1); /* and libarchive's numbers */
    free(whole);
}

/* --- archives around a pickle of our own --- */

static zip archive; /* large, so not on the stack */

/* The last '@' in a message stands for where the pickle's last call is: 3 bytes before its end. */
static size_t call_at;

static void expect_archive(const char *message) {
    rt_error error;
    zip_end(&archive);
    rt_tensors *file = rt_torch_parse("f", archive.bytes, archive.size, &error);
    rt_tensors_close(file);
    if (!message) {
        if (!file) fail_msg("%s", error.text);
        return;
    }
    if (file) fail_msg("accepted; expected: %s", message);
    char expected[1024];
    const char *at = strrchr(message, '@');
    if (at)
        snprintf(expected, sizeof expected, "%.*s%zu%s", (int)(at - message), message, call_at,
                 at + 1);
    else
        snprintf(expected, sizeof expected, "%s", message);
    assert_string_equal(error.text, expected);
}

#define BYTES(text) text, sizeof(text) - 1

/* An archive with this pickle and storage '0' of 24 bytes. */
static void with_pickle(const char *pickle, size_t size) {
    static const uint8_t data[24];
    memset(&archive, 0, sizeof archive);
    call_at = size - 3;
    zip_add(&archive, "m/data.pkl", pickle, size);
    zip_add(&archive, "m/data/0", data, sizeof data);
}

#define EXPECT_PICKLE(text, message)                                                               \
    do {                                                                                           \
        with_pickle(BYTES(text));                                                                  \
        expect_archive(message);                                                                   \
    } while (0)

/* A dict whose "w" is _rebuild_tensor_v2 of these: a storage of 6 floats, and the rest. */
#define STORAGE(class, key, count)                                                                 \
    "(X\7\0\0\0storagectorch\n" class "\n" key "X\3\0\0\0cpu" count "tQ"
#define FLOATS STORAGE("FloatStorage", "X\1\0\0\0000", "K\6")
#define TENSOR(arguments) "}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" arguments "tRu."
#define REST "\x89}"

static void test_archives(void **state) {
    (void)state;
    EXPECT_PICKLE("\x80\2" TENSOR(FLOATS "K\0K\2K\3\x86K\3K\1\x86" REST), NULL);
    EXPECT_PICKLE("}.", NULL);
    memset(&archive, 0, sizeof archive);
    zip_add(&archive, "m/data/0", "", 0);
    expect_archive("f: the archive has no data.pkl; expected a file of torch.save");
    memset(&archive, 0, sizeof archive);
    zip_add(&archive, "m/data.pkl", "}.", 2);
    zip_add(&archive, "n/data.pkl", "}.", 2);
    expect_archive("f: the archive has 'm/data.pkl' and 'n/data.pkl'; expected one data.pkl");
    memset(&archive, 0, sizeof archive);
    zip_add(&archive, "m/data.pkl", "}.", 2);
    zip_add(&archive, "m/data.pkl", "}.", 2);
    expect_archive("f: the archive has two files 'm/data.pkl'");
    with_pickle(BYTES("}."));
    zip_add(&archive, "m/byteorder", "little", 6);
    expect_archive(NULL);
    with_pickle(BYTES("}."));
    zip_add(&archive, "m/byteorder", "big", 3);
    expect_archive("f: the byte order is 'big'; expected little");
    memset(&archive, 0, sizeof archive);
    zip_add(&archive, "m/data.pkl", "", 0);
    expect_archive("f: data.pkl: the pickle ends without a STOP");
}

static void test_compressed(void **state) {
    (void)state;
    memset(&archive, 0, sizeof archive);
    static uint8_t zeros[1000];
    uint8_t packed[200];
    z_stream z = {
        .next_in = zeros, .avail_in = sizeof zeros, .next_out = packed, .avail_out = sizeof packed};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    zip_add(&archive, "m/data.pkl", packed, z.total_out);
    deflateEnd(&z);
    archive.files[0].crc = (uint32_t)crc32(0, zeros, sizeof zeros);
    size_t header = archive.size - strlen("m/data.pkl") - archive.files[0].size - 30;
    zip_end(&archive);
    archive.bytes[header + 8] = 8; /* deflate, in the local header and in the directory */
    uint8_t *entry = memmem(archive.bytes, archive.size, "PK\1\2", 4);
    assert_non_null(entry);
    entry[10] = 8;
    uint32_t size = sizeof zeros;
    memcpy(entry + 24, &size, 4);
    memcpy(archive.bytes + header + 22, &size, 4);
    memcpy(archive.bytes + header + 14, &archive.files[0].crc, 4);
    rt_error error;
    assert_null(rt_torch_parse("f", archive.bytes, archive.size, &error));
    assert_string_equal(error.text, "f: 'm/data.pkl' in the archive is compressed; expected it "
                                    "stored as it is, as torch.save does");
}

static void test_tensors(void **state) {
    (void)state;
    EXPECT_PICKLE("N.", "f: the file holds None; expected a dict of tensors");
    EXPECT_PICKLE("}(K\1K\2u.",
                  "f: a key of the dict of tensors is a whole number; expected a name");
    EXPECT_PICKLE("}(X\1\0\0\0wK\2u.", "f: 'w' is a whole number; expected a tensor");
    EXPECT_PICKLE("}(X\1\0\0\0w]u.", "f: 'w' is a list; expected a tensor");
    EXPECT_PICKLE(TENSOR(STORAGE("FloatStorage", "X\1\0\0\0001", "K\6") "K\0)"
                                                                        ")" REST),
                  "f: tensor 'w': storage '1' is not in the archive");
    EXPECT_PICKLE(TENSOR(STORAGE("FloatStorage", "X\1\0\0\0000", "K\5") "K\0)"
                                                                        ")" REST),
                  "f: tensor 'w': storage '0' has 24 bytes; 5 elements of F32 expected");
    EXPECT_PICKLE(TENSOR(STORAGE("DoubleStorage", "X\1\0\0\0000", "K\6") "K\0)"
                                                                         ")" REST),
                  "f: tensor 'w': storage '0' has 24 bytes; 6 elements of F64 expected");
    EXPECT_PICKLE(TENSOR(FLOATS "K\0K\7\x85K\1\x85" REST),
                  "f: data.pkl: byte @: a tensor reaches beyond its storage '0' of 6 elements");
    EXPECT_PICKLE(TENSOR(FLOATS "K\6))" REST),
                  "f: data.pkl: byte @: a tensor reaches beyond its storage '0' of 6 elements");
    EXPECT_PICKLE(TENSOR(FLOATS "K\0K\3\x85)" REST),
                  "f: data.pkl: byte @: a tensor has 1 sizes and 0 strides");
    EXPECT_PICKLE(TENSOR(FLOATS "K\0J\xff\xff\xff\xff\x85K\1\x85" REST),
                  "f: data.pkl: byte @: a tensor's size[0] is negative; expected a whole number "
                  "of 0 or more");
    EXPECT_PICKLE(TENSOR(FLOATS "K\0K\2\x85J\xff\xff\xff\xff\x85" REST),
                  "f: data.pkl: byte @: a tensor's stride[0] is negative; expected a whole number "
                  "of 0 or more");
    EXPECT_PICKLE(TENSOR(FLOATS "N))" REST),
                  "f: data.pkl: byte @: a tensor's offset is no whole number of 0 or more");
    EXPECT_PICKLE(TENSOR(FLOATS "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t)" REST),
                  "f: data.pkl: byte @: a tensor's size has 9 numbers; expected at most 8");
    EXPECT_PICKLE(TENSOR(FLOATS "K\0))"),
                  "f: data.pkl: byte @: a tensor is made of 4 arguments; expected 6 or 7");
    EXPECT_PICKLE(TENSOR("K\1K\0))" REST),
                  "f: data.pkl: byte @: a tensor's storage is a whole number");
    /* 2^62 x 2^62 elements with strides of 0 */
    EXPECT_PICKLE(
        TENSOR(FLOATS "K\0\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40\x86K\0K\0\x86" REST),
        "f: tensor 'w': it repeats the 6 elements of its storage; save a copy of it");
    EXPECT_PICKLE("}(X\1\0\0\0wX\1\0\0\0wX\1\0\0\0wNu.", "f: 'w' is a string; expected a tensor");
}

static void test_names(void **state) {
    (void)state;
    static const char twice[] = "}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" FLOATS
                                "K\0))" REST "tRq\1X\1\0\0\0wh\1u.";
    EXPECT_PICKLE("cos\nsystem\n(X\2\0\0\0ls"
                  "tR.",
                  "f: data.pkl: byte 0: 'os.system' is not known to this reader; expected tensors, "
                  "dicts, lists, numbers and strings");
    EXPECT_PICKLE("X\5\0\0\0posixX\6\0\0\0system\x93.",
                  "f: data.pkl: byte 21: 'posix.system' is not known to this reader; expected "
                  "tensors, dicts, lists, numbers and strings");
    EXPECT_PICKLE(
        "ctorch\nFloatStorage\n)R.",
        "f: data.pkl: byte 21: 'torch.FloatStorage' is called; this reader calls nothing");
    EXPECT_PICKLE(
        "cargparse\nNamespace\n)R.",
        "f: data.pkl: byte 21: 'argparse.Namespace' is called; this reader calls nothing");
    EXPECT_PICKLE("ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
                  "f: data.pkl: byte 34: an object of 'torch._utils._rebuild_tensor_v2' is made; "
                  "expected argparse.Namespace at most");
    EXPECT_PICKLE("ccollections\nOrderedDict\n]\x85R.",
                  "f: data.pkl: byte 27: an OrderedDict is made of 1 arguments; expected none");
    EXPECT_PICKLE("K\1)R.",
                  "f: data.pkl: byte 3: a whole number is called with a tuple; expected a "
                  "name and a tuple");
    with_pickle(twice, sizeof twice - 1);
    expect_archive("f: two tensors have the name 'w'");
    EXPECT_PICKLE("K\1Q.", "f: data.pkl: byte 2: a persistent id is no ('storage', a class of "
                           "storages, a key, a device, how many elements)");
    EXPECT_PICKLE("ctorch._utils\n_rebuild_parameter\nN\x85R.",
                  "f: data.pkl: byte 35: a parameter is not made of a tensor and two more "
                  "arguments");
}

/* `count` tensors that are one, its 24 bytes turned around: 8 bytes of the pickle each. */
static void with_turned(int count) {
    static const char begin[] = "}(X\1\0\0\0 ctorch._utils\n_rebuild_tensor_v2\n(" FLOATS
                                "K\0K\3K\2\x86K\1K\3\x86" REST "tRq\1";
    char pickle[2048];
    size_t size = sizeof begin - 1;
    memcpy(pickle, begin, size);
    for (int i = 1; i < count; i++, size += 8) {
        memcpy(pickle + size, "X\1\0\0\0 h\1", 8);
        pickle[size + 5] = (char)(' ' + i);
    }
    memcpy(pickle + size, "u.", 2);
    with_pickle(pickle, size + 2);
}

/* A small file cannot ask for much memory: what is copied is at most as large as the file. */
static void test_turned(void **state) {
    (void)state;
    with_turned(10);
    expect_archive(NULL);
    with_turned(80);
    expect_archive("f: tensor 'H': tensors that are not stored row by row are larger together than "
                   "the file; save contiguous copies of them");
}

static void test_opcodes(void **state) {
    (void)state;
    EXPECT_PICKLE("\x80\1}.", "f: data.pkl: byte 0: protocol 1; expected 2 to 5");
    EXPECT_PICKLE("I1\n.", "f: data.pkl: byte 0: opcode 49 is not known to this reader");
    EXPECT_PICKLE("\x8f.", "f: data.pkl: byte 0: opcode 8f is not known to this reader");
    EXPECT_PICKLE("}", "f: data.pkl: the pickle ends without a STOP");
    EXPECT_PICKLE("X\5\0\0\0ab", "f: data.pkl: byte 0: the pickle ends inside of an opcode");
    EXPECT_PICKLE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
                  "f: data.pkl: byte 0: the pickle ends inside of an opcode");
    EXPECT_PICKLE("cos", "f: data.pkl: byte 0: the pickle ends inside of an opcode");
    EXPECT_PICKLE(".", "f: data.pkl: an opcode finds no value on the stack");
    EXPECT_PICKLE("(.", "f: data.pkl: an opcode finds no value on the stack");
    EXPECT_PICKLE("t.", "f: data.pkl: byte 0: an opcode finds no mark on the stack");
    EXPECT_PICKLE("\x86.", "f: data.pkl: byte 0: an opcode finds no value on the stack");
    EXPECT_PICKLE("]K\1K\2s.", "f: data.pkl: byte 5: items are put into a list; expected a dict");
    EXPECT_PICKLE("}K\1a.", "f: data.pkl: byte 3: items are put into a dict; expected a list");
    EXPECT_PICKLE("}(K\1u.", "f: data.pkl: byte 4: a dict has a key without a value");
    EXPECT_PICKLE("(K\1d.", "f: data.pkl: byte 3: a dict has a key without a value");
    EXPECT_PICKLE("h\0.", "f: data.pkl: byte 0: memo 0 is read before it is written");
    EXPECT_PICKLE("}q\2h\1.", "f: data.pkl: byte 3: memo 1 is read before it is written");
    EXPECT_PICKLE("}r\xff\xff\xff\xff.",
                  "f: data.pkl: byte 1: memo 4294967295 in a pickle of 7 bytes");
    EXPECT_PICKLE("\x8a\x09\1\1\1\1\1\1\1\1\1.",
                  "f: data.pkl: byte 0: a whole number has more than 64 bits");
    EXPECT_PICKLE("K\1}b.", "f: data.pkl: byte 3: a whole number gets a dict as attributes; "
                            "expected a dict for a dict");
    EXPECT_PICKLE("K\1K\2\x93.",
                  "f: data.pkl: byte 4: a name is a whole number in a whole number; expected "
                  "strings");
}

/* --- the machine alone --- */

static rt_pickle *parse(const char *bytes, size_t size) {
    rt_error error;
    rt_pickle *pickle = rt_pickle_parse(bytes, size, &error);
    if (!pickle) fail_msg("%s", error.text);
    return pickle;
}

static void test_values(void **state) {
    (void)state;
    rt_pickle *p = parse(BYTES("(K\xffM\xff\xffJ\xfe\xff\xff\xff\x8a\0\x8a\1\x80\x8a\2\x80\0"
                               "G\xbf\xf8\0\0\0\0\0\0N\x88\x89U\2hi\x8c\1xX\0\0\0\0l."));
    const rt_pickle_value *top = rt_pickle_top(p);
    assert_int_equal(top->kind, RT_PICKLE_LIST);
    assert_int_equal(top->items.count, 13);
    static const int64_t wholes[] = {255, 65535, -2, 0, -128, 128};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(top->items.item[i]->kind, RT_PICKLE_INT);
        assert_int_equal(top->items.item[i]->whole, wholes[i]);
    }
    assert_true(top->items.item[6]->real == -1.5);
    assert_int_equal(top->items.item[7]->kind, RT_PICKLE_NONE);
    assert_int_equal(top->items.item[8]->whole, 1);
    assert_int_equal(top->items.item[9]->whole, 0);
    assert_string_equal(top->items.item[10]->string.text, "hi");
    assert_string_equal(top->items.item[11]->string.text, "x");
    assert_int_equal(top->items.item[12]->string.length, 0);
    rt_pickle_free(p);
}

static void test_containers(void **state) {
    (void)state;
    /* {"a": [1, 2, (3,)], "a": "later"} with the list filled in three ways */
    rt_pickle *p = parse(BYTES("\x80\4\x95\0\0\0\0\0\0\0\0}\x94(\x8c\1a\x94]\x94K\1a(K\2eK\3\x85"
                               "ah\1\x8c\5laterK\7NN0u."));
    const rt_pickle_value *top = rt_pickle_top(p);
    assert_int_equal(top->items.count, 6);
    const rt_pickle_value *list = top->items.item[1];
    assert_int_equal(list->items.count, 3);
    assert_int_equal(list->items.item[2]->kind, RT_PICKLE_TUPLE);
    assert_int_equal(rt_pickle_get(top, "a")->kind, RT_PICKLE_STRING); /* the later one */
    assert_null(rt_pickle_get(top, "b"));
    assert_null(rt_pickle_get(list, "a"));
    rt_pickle_free(p);
    p = parse(BYTES("]q\0h\0a.")); /* a list that holds itself */
    top = rt_pickle_top(p);
    assert_ptr_equal(top->items.item[0], top);
    rt_pickle_free(p);
    rt_pickle_free(NULL);
}

/* Deep and long pickles: no recursion, memory in proportion. */
static void test_large_pickles(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    char *bytes = malloc(SIZE);
    memset(bytes, ']', SIZE);
    for (int i = SIZE / 2; i < SIZE - 1; i++)
        bytes[i] = 'a';
    bytes[SIZE - 1] = '.';
    bytes[SIZE - 2] = '0'; /* as many lists as are put into each other, and one more */
    rt_pickle_free(parse(bytes, SIZE));
    free(bytes);
    rt_error error;
    static char large[RT_PICKLE_MAX_BYTES + 1];
    assert_null(rt_pickle_parse(large, sizeof large, &error));
    assert_string_equal(error.text, "a pickle of 4194305 bytes; expected at most 4194304");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_strides),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_detect),
        cmocka_unit_test(test_detect_safetensors),
        cmocka_unit_test(test_broken_archives),
        cmocka_unit_test(test_archives),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_turned),
        cmocka_unit_test(test_opcodes),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_containers),
        cmocka_unit_test(test_large_pickles),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
