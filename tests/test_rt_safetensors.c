/* Safetensors: round trips of every dtype, every field of a header that lies, atomic writing. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_safetensors.h"
#include "rt_scratch.h"

#include <inttypes.h>
#include <math.h>

/* --- files that are right --- */

static uint8_t pattern[64];

static rt_tensor tensor_of(const char *name, rt_dtype dtype, int rank, const int64_t *dim) {
    rt_tensor t = {.name = name, .dtype = dtype, .rank = rank, .data = pattern};
    for (int i = 0; i < rank; i++)
        t.dim[i] = dim[i];
    return t;
}

static void expect_same(const rt_tensor *found, const rt_tensor *wanted) {
    assert_non_null(found);
    assert_string_equal(found->name, wanted->name);
    assert_int_equal(found->dtype, wanted->dtype);
    assert_int_equal(found->rank, wanted->rank);
    for (int i = 0; i < wanted->rank; i++)
        assert_int_equal(found->dim[i], wanted->dim[i]);
    size_t bytes = (size_t)(rt_tensor_elements(wanted) * rt_dtype_bytes(wanted->dtype));
    assert_memory_equal(found->data, wanted->data, bytes);
}

/* Every dtype, ranks 0 to 8, an empty tensor, names that JSON has to escape, metadata. */
static void test_round_trip(void **state) {
    static const char *const names[] = {
        "a.weight", "\"quoted\"\n", "schön", "", "e", "f", "g", "h", "i", "j", "k", "l", "m"};
    rt_tensor tensors[15];
    for (int i = 0; i < 64; i++)
        pattern[i] = (uint8_t)(i * 37 + 1);
    for (int d = 0; d <= RT_U64; d++)
        tensors[d] = tensor_of(names[d], (rt_dtype)d, 2, (int64_t[]){2, 3});
    tensors[1] = tensor_of(names[1], RT_F16, 0, NULL);
    tensors[4] = tensor_of(names[4], RT_I64, 8, (int64_t[]){1, 2, 1, 1, 2, 1, 1, 2});
    tensors[13] = tensor_of("empty", RT_F32, 3, (int64_t[]){5, 0, 7});
    tensors[14] = tensor_of("last", RT_U8, 1, (int64_t[]){7});
    const rt_pair pairs[] = {{"format", "pt"}, {"classes", "[\"a\\b\", \"é\"]"}, {"empty", ""}};
    const char *path = scratch_path(*state, "all.safetensors");
    rt_error error;
    assert_true(rt_tensors_write(path, tensors, 15, pairs, 3, &error));
    rt_tensors *file = rt_tensors_open(path, &error);
    if (!file) fail_msg("%s", error.text);
    assert_int_equal(rt_tensors_count(file), 15);
    const char *last_end = NULL;
    for (size_t i = 0; i < 15; i++) {
        expect_same(rt_tensors_find(file, tensors[i].name), &tensors[i]);
        const char *data = rt_tensors_at(file, i)->data;
        assert_true(data >= last_end); /* in order of their data */
        last_end = data;
    }
    assert_null(rt_tensors_at(file, 15));
    assert_null(rt_tensors_find(file, "nothing"));
    assert_int_equal(rt_tensors_pair_count(file), 3);
    assert_string_equal(rt_tensors_pair_at(file, 1)->key, "classes");
    assert_null(rt_tensors_pair_at(file, 3));
    for (int i = 0; i < 3; i++)
        assert_string_equal(rt_tensors_metadata(file, pairs[i].key), pairs[i].value);
    assert_null(rt_tensors_metadata(file, "none"));
    rt_tensors_close(file);
}

/* The bytes of a small file, as other programs must read them: data begin at a multiple of 8. */
static void test_bytes(void **state) {
    static const float values[] = {1, -2};
    rt_tensor t = {.name = "w", .dtype = RT_F32, .rank = 1, .dim = {2}, .data = values};
    rt_pair pair = {"k", "v"};
    rt_error error;
    assert_true(rt_tensors_write(scratch_path(*state, "b"), &t, 1, &pair, 1, &error));
    size_t size;
    char *bytes = scratch_read(*state, "b", &size);
    static const char header[] = "{\"__metadata__\":{\"k\":\"v\"},\"w\":{\"dtype\":\"F32\","
                                 "\"shape\":[2],\"data_offsets\":[0,8]}} ";
    uint64_t length = sizeof header - 1;
    assert_int_equal(length % 8, 0);
    assert_int_equal(size, 8 + length + 8);
    assert_memory_equal(bytes, &length, 8);
    assert_memory_equal(bytes + 8, header, length);
    assert_memory_equal(bytes + 8 + length, values, 8);
    free(bytes);
}

static void test_nothing_in_it(void **state) {
    rt_error error;
    const char *path = scratch_path(*state, "none");
    assert_true(rt_tensors_write(path, NULL, 0, NULL, 0, &error));
    rt_tensors *file = rt_tensors_open(path, &error);
    assert_non_null(file);
    assert_int_equal(rt_tensors_count(file), 0);
    assert_int_equal(rt_tensors_pair_count(file), 0);
    assert_null(rt_tensors_find(file, "a"));
    rt_tensors_close(file);
    rt_tensors_close(NULL);
}

/* --- files that lie --- */

typedef struct blob {
    char bytes[4096];
    size_t size;
} blob;

/* A file of this header and so many bytes of data. */
static blob make(const char *header, size_t data) {
    blob b = {0};
    uint64_t length = strlen(header);
    memcpy(b.bytes, &length, 8);
    memcpy(b.bytes + 8, header, length);
    memset(b.bytes + 8 + length, 7, data);
    b.size = 8 + length + data;
    return b;
}

static void expect_message(const blob *b, const char *message) {
    rt_error error;
    rt_tensors *file = rt_tensors_parse("f", b->bytes, b->size, &error);
    if (file) {
        rt_tensors_close(file);
        fail_msg("accepted; expected: %s", message);
    }
    assert_string_equal(error.text, message);
}

/* A file whose header holds one tensor `t` with these fields. */
static void expect_fields(const char *fields, size_t data, const char *message) {
    char header[2048], full[1200];
    snprintf(header, sizeof header, "{\"t\":{%s}}", fields);
    snprintf(full, sizeof full, "f: tensor 't': %s", message);
    blob b = make(header, data);
    expect_message(&b, full);
}

static void test_lengths(void **state) {
    (void)state;
    blob b = make("{}", 0);
    b.size = 0;
    expect_message(&b, "f: 0 bytes; a safetensors file begins with 8 that hold a length");
    b.size = 7;
    expect_message(&b, "f: 7 bytes; a safetensors file begins with 8 that hold a length");
    b.size = 8;
    expect_message(&b, "f: the header would have 2 bytes, but 0 follow its length");
    b.size = 9;
    expect_message(&b, "f: the header would have 2 bytes, but 1 follow its length");
    memset(b.bytes, 255, 8);
    b.size = 10;
    expect_message(&b, "f: the header would have 18446744073709551615 bytes; expected at most "
                       "4194304 (is this a safetensors file?)");
    uint64_t much = 4 << 20;
    memcpy(b.bytes, &much, 8);
    expect_message(&b, "f: the header would have 4194304 bytes, but 2 follow its length");
}

static void test_json(void **state) {
    (void)state;
    static const struct {
        const char *header, *message;
    } cases[] = {
        {"", "f: the header is no JSON: byte 0: '[' or '{' expected near end of file"},
        {"[]", "f: the header is no JSON object"},
        {"{\"a\":", "f: the header is no JSON: byte 5: unexpected token near end of file"},
        {"{} {}", "f: the header is no JSON: byte 4: end of file expected near '{'"},
        {"{\"a\":1}", "f: tensor 'a': is no JSON object"},
        {"{\"__metadata__\":[]}", "f: __metadata__ is no JSON object"},
        {"{\"__metadata__\":{\"k\":1}}", "f: __metadata__: the value of 'k' is no string"},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}",
         "f: the header is no JSON: byte 28: duplicate object key near '\"k\"'"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
         "f: the header is no JSON: byte 55: duplicate object key near '\"a\"'"},
        {"{\"a\\u0000b\":1}", "f: the header is no JSON: byte 11: NUL byte in object key not "
                              "supported near '\"a\\u0000b\"'"},
        {"{\"\xff\":1}", "f: the header is no JSON: byte 2: unable to decode byte 0xff near '\"'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        blob b = make(cases[i].header, 1);
        expect_message(&b, cases[i].message);
    }
    /* Nesting ends in a message, not in the end of the stack. */
    static blob deep;
    deep = make("", 0);
    uint64_t length = 4000;
    memcpy(deep.bytes, &length, 8);
    memset(deep.bytes + 8, '[', length);
    deep.size = 8 + length;
    expect_message(&deep, "f: the header is no JSON: byte 2049: maximum parsing depth reached near "
                          "'['");
}

#define DTYPE "\"dtype\":\"F32\""
#define SHAPE "\"shape\":[1]"
#define PLACE "\"data_offsets\":[0,4]"

static void test_dtype(void **state) {
    (void)state;
    expect_fields(SHAPE "," PLACE, 4, "dtype is missing; expected a name such as \"F32\"");
    expect_fields(SHAPE "," PLACE ",\"dtype\":4", 4,
                  "dtype is no string; expected a name such as \"F32\"");
    expect_fields(SHAPE "," PLACE ",\"dtype\":\"F8_E4M3\"", 4,
                  "unknown dtype 'F8_E4M3'; expected F32, F16, BF16, F64, I64, I32, I16, I8, U8, "
                  "U16, U32, U64 or BOOL");
    expect_fields(SHAPE "," PLACE "," DTYPE ",\"stride\":[1]", 4,
                  "unknown key 'stride'; expected dtype, shape, data_offsets");
}

static void test_shape(void **state) {
    (void)state;
    expect_fields(DTYPE "," PLACE, 4, "shape is missing; expected a list of whole numbers");
    expect_fields(DTYPE "," PLACE ",\"shape\":4", 4,
                  "shape is no list; expected a list of whole numbers");
    expect_fields(DTYPE "," PLACE ",\"shape\":[1,1.5]", 4, "shape[1] is no whole number");
    expect_fields(DTYPE "," PLACE ",\"shape\":[\"1\"]", 4, "shape[0] is no whole number");
    expect_fields(DTYPE "," PLACE ",\"shape\":[1,-3]", 4, "shape[1] is -3; expected 0 or more");
    expect_fields(DTYPE "," PLACE ",\"shape\":[1,1,1,1,1,1,1,1,1]", 4,
                  "shape has 9 numbers; expected at most 8");
    expect_fields(DTYPE "," PLACE ",\"shape\":[4611686018427387904]", 4,
                  "shape (4611686018427387904) of F32 is larger than any file");
    expect_fields(DTYPE "," PLACE ",\"shape\":[4294967296,4294967296]", 4,
                  "shape (4294967296,4294967296) of F32 is larger than any file");
    blob b = make("{\"t\":{" DTYPE "," PLACE ",\"shape\":[9223372036854775808]}}", 4);
    expect_message(&b, "f: the header is no JSON: byte 69: too big integer near "
                       "'9223372036854775808'");
}

static void test_offsets(void **state) {
    (void)state;
    const char *front = DTYPE "," SHAPE;
    static const struct {
        const char *offsets, *message;
    } cases[] = {
        {"", "data_offsets is missing; expected a list of whole numbers"},
        {",\"data_offsets\":[0]", "data_offsets has 1 numbers; expected 2"},
        {",\"data_offsets\":[0,4,4]", "data_offsets has 3 numbers; expected at most 2"},
        {",\"data_offsets\":[-1,3]", "data_offsets[0] is -1; expected 0 or more"},
        {",\"data_offsets\":[0,4.0]", "data_offsets[1] is no whole number"},
        {",\"data_offsets\":[4,0]",
         "data_offsets are [4, 0]; expected a range within the 8 bytes of data"},
        {",\"data_offsets\":[8,12]",
         "data_offsets are [8, 12]; expected a range within the 8 bytes of data"},
        {",\"data_offsets\":[0,9223372036854775807]",
         "data_offsets are [0, 9223372036854775807]; expected a range within the 8 bytes of data"},
        {",\"data_offsets\":[0,8]", "data_offsets [0, 8] hold 8 bytes; shape (1) of F32 expects 4"},
        {",\"data_offsets\":[2,5]", "data_offsets [2, 5] hold 3 bytes; shape (1) of F32 expects 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fields[512];
        snprintf(fields, sizeof fields, "%s%s", front, cases[i].offsets);
        expect_fields(fields, 8, cases[i].message);
    }
}

/* Two tensors of four bytes at these places, in a file of so many bytes of data. */
static void expect_places(int64_t a, int64_t b, size_t data, const char *message) {
    char header[512];
    snprintf(header, sizeof header,
             "{\"a\":{" DTYPE "," SHAPE ",\"data_offsets\":[%" PRId64 ",%" PRId64 "]},"
             "\"b\":{" DTYPE "," SHAPE ",\"data_offsets\":[%" PRId64 ",%" PRId64 "]}}",
             a, a + 4, b, b + 4);
    blob file = make(header, data);
    if (message) {
        expect_message(&file, message);
        return;
    }
    rt_error error;
    rt_tensors *tensors = rt_tensors_parse("f", file.bytes, file.size, &error);
    assert_non_null(tensors);
    assert_string_equal(rt_tensors_at(tensors, 0)->name, a < b ? "a" : "b");
    rt_tensors_close(tensors);
}

static void test_layout(void **state) {
    (void)state;
    expect_places(0, 4, 8, NULL);
    expect_places(4, 0, 8, NULL); /* the header's order is not the data's */
    expect_places(0, 0, 8, "f: tensor 'b' begins at byte 0, inside of 'a', which ends at 4");
    expect_places(3, 0, 8, "f: tensor 'a' begins at byte 3, inside of 'b', which ends at 4");
    expect_places(0, 6, 10,
                  "f: bytes 4 to 6 of the data belong to no tensor; 'b' should begin at "
                  "4");
    expect_places(1, 5, 9,
                  "f: bytes 0 to 1 of the data belong to no tensor; 'a' should begin at "
                  "0");
    expect_places(0, 4, 9, "f: 9 bytes of data; the tensors of the header hold 8");
    blob none = make("{}", 1);
    expect_message(&none, "f: 1 bytes of data; the tensors of the header hold 0");
}

/* Empty tensors may stand anywhere that no other tensor is inside of. */
static void test_empty_tensors(void **state) {
    (void)state;
    blob b = make("{\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]},"
                  "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                  "\"c\":{\"dtype\":\"U8\",\"shape\":[0,9223372036854775807],"
                  "\"data_offsets\":[0,0]}}",
                  4);
    rt_error error;
    rt_tensors *file = rt_tensors_parse("f", b.bytes, b.size, &error);
    if (!file) fail_msg("%s", error.text);
    assert_int_equal(rt_tensor_elements(rt_tensors_find(file, "c")), 0);
    assert_string_equal(rt_tensors_at(file, 0)->name, "c");
    rt_tensors_close(file);
    b = make("{\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]},"
             "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
             4);
    expect_message(&b, "f: tensor 'b' begins at byte 2, inside of 'a', which ends at 4");
}

static void test_paths(void **state) {
    rt_error error;
    assert_null(rt_tensors_open(scratch_path(*state, "no"), &error));
    assert_string_equal(scratch_message(&error, *state),
                        "cannot open '@/no': No such file or directory");
    assert_null(rt_tensors_open(*state, &error));
    assert_string_equal(scratch_message(&error, *state), "cannot read '@': is no regular file");
    scratch_text(*state, "empty", "");
    assert_null(rt_tensors_open(scratch_path(*state, "empty"), &error));
    assert_string_equal(scratch_message(&error, *state), "@/empty: 0 bytes; a safetensors file "
                                                         "begins with 8 that hold a length");
}

/* A file cut off anywhere is refused, and never read beyond its end (ASan sees to that). */
static void test_every_cut(void **state) {
    (void)state;
    blob whole = make("{\"a\":{" DTYPE "," SHAPE "," PLACE "}}", 4);
    for (size_t size = 0; size < whole.size; size++) {
        char *part = malloc(size + 1);
        memcpy(part, whole.bytes, size);
        part = realloc(part, size ? size : 1);
        rt_error error;
        assert_null(rt_tensors_parse("f", part, size, &error));
        free(part);
    }
}

/* --- conversion --- */

/* f16 by its definition, in double. */
static double value_of_half(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static void test_every_f16(void **state) {
    (void)state;
    static uint16_t half[65536];
    static float out[65536];
    for (int i = 0; i < 65536; i++)
        half[i] = (uint16_t)i;
    rt_tensor t = {.name = "t", .dtype = RT_F16, .rank = 1, .dim = {65536}, .data = half};
    rt_error error;
    assert_true(rt_tensor_to_f32(&t, out, &error));
    for (int i = 0; i < 65536; i++) {
        double expected = value_of_half(half[i]);
        if (isnan(expected)) {
            assert_true(isnan(out[i]));
        } else {
            assert_true((double)out[i] == expected);
        }
        assert_int_equal(signbit(out[i]) != 0, i >= 0x8000); /* -0 and -nan, too */
    }
}

static void test_every_bf16(void **state) {
    (void)state;
    static uint16_t upper[65536];
    static float out[65536];
    for (int i = 0; i < 65536; i++)
        upper[i] = (uint16_t)i;
    rt_tensor t = {.name = "t", .dtype = RT_BF16, .rank = 1, .dim = {65536}, .data = upper};
    rt_error error;
    assert_true(rt_tensor_to_f32(&t, out, &error));
    for (int i = 0; i < 65536; i++) {
        uint32_t bits;
        memcpy(&bits, &out[i], 4);
        assert_int_equal(bits, (uint32_t)i << 16);
    }
}

/* Data of a file may stand at any byte. */
static void test_f32_f64(void **state) {
    (void)state;
    static const double doubles[] = {0.1,     -0.0, 1e300, 1e-300, 0x1p-149, (double)INFINITY,
                                     16777217};
    static const float floats[] = {0.1f, -0.0f, INFINITY, 0, 0x1p-149f, INFINITY, 16777216};
    char bytes[sizeof doubles + 1];
    memcpy(bytes + 1, doubles, sizeof doubles);
    rt_tensor t = {.name = "t", .dtype = RT_F64, .rank = 1, .dim = {7}, .data = bytes + 1};
    rt_error error;
    float out[7];
    assert_true(rt_tensor_to_f32(&t, out, &error));
    assert_memory_equal(out, floats, sizeof out);
    memcpy(bytes + 1, floats, sizeof floats);
    t.dtype = RT_F32;
    assert_true(rt_tensor_to_f32(&t, out, &error));
    assert_memory_equal(out, floats, sizeof out);
}

static void test_whole_numbers(void **state) {
    (void)state;
    static const struct {
        rt_dtype dtype;
        uint64_t bits;
        int64_t value;
    } cases[] = {
        {RT_I64, 0x8000000000000000u, INT64_MIN},
        {RT_I32, 0x80000000u, INT32_MIN},
        {RT_I16, 0x8000u, INT16_MIN},
        {RT_I8, 0x80u, INT8_MIN},
        {RT_U8, 0xffu, 255},
        {RT_U16, 0xffffu, 65535},
        {RT_U32, 0xffffffffu, 4294967295},
        {RT_U64, INT64_MAX, INT64_MAX},
    };
    rt_error error;
    int64_t out;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_tensor t = {.name = "t", .dtype = cases[i].dtype, .data = &cases[i].bits};
        assert_true(rt_tensor_to_i64(&t, &out, &error));
        assert_true(out == cases[i].value);
    }
    uint64_t large[] = {5, 0x8000000000000000u};
    rt_tensor t = {.name = "t", .dtype = RT_U64, .rank = 1, .dim = {2}, .data = large};
    int64_t two[2];
    assert_false(rt_tensor_to_i64(&t, two, &error));
    assert_string_equal(error.text,
                        "tensor 't': element 1 is 9223372036854775808; expected at most "
                        "9223372036854775807");
}

static void test_wrong_dtype(void **state) {
    (void)state;
    rt_error error;
    rt_tensor t = {.name = "w", .dtype = RT_I64, .data = pattern};
    float f;
    int64_t i;
    assert_false(rt_tensor_to_f32(&t, &f, &error));
    assert_string_equal(error.text, "tensor 'w' has dtype I64; expected F32, F16, BF16 or F64");
    t.dtype = RT_BOOL;
    assert_false(rt_tensor_to_f32(&t, &f, &error));
    assert_false(rt_tensor_to_i64(&t, &i, &error));
    assert_string_equal(error.text,
                        "tensor 'w' has dtype BOOL; expected one of whole numbers, as I64");
    t.dtype = RT_F32;
    assert_false(rt_tensor_to_i64(&t, &i, &error));
}

static void test_names_of_dtypes(void **state) {
    (void)state;
    for (int d = 0; d <= RT_U64; d++) {
        rt_dtype found;
        assert_true(rt_dtype_find(rt_dtype_name((rt_dtype)d), &found));
        assert_int_equal(found, d);
    }
    rt_dtype none;
    assert_false(rt_dtype_find("f32", &none));
    char text[64], small[6];
    rt_tensor t = {.rank = 4, .dim = {40, 1, 7, 7}};
    assert_string_equal(rt_tensor_shape(&t, text, sizeof text), "(40,1,7,7)");
    assert_string_equal(rt_tensor_shape(&t, small, sizeof small), "(40,1");
    t.rank = 0;
    assert_string_equal(rt_tensor_shape(&t, text, sizeof text), "()");
}

/* --- writing --- */

static void test_write_errors(void **state) {
    const char *path = scratch_path(*state, "kept");
    scratch_text(*state, "kept", "old");
    rt_error error;
    rt_tensor t[2] = {tensor_of("a", RT_F32, 1, (int64_t[]){2}),
                      tensor_of("a", RT_F32, 1, (int64_t[]){2})};
    assert_false(rt_tensors_write(path, t, 2, NULL, 0, &error));
    assert_string_equal(scratch_message(&error, *state),
                        "cannot write '@/kept': tensor 'a': its name is taken; expected each name "
                        "once");
    t[1].name = "__metadata__";
    assert_false(rt_tensors_write(path, t, 2, NULL, 0, &error));
    t[1].name = "\xff";
    assert_false(rt_tensors_write(path, t, 2, NULL, 0, &error));
    assert_string_equal(scratch_message(&error, *state),
                        "cannot write '@/kept': tensor '\xff': its "
                        "name must be UTF-8");
    t[1] = tensor_of("b", RT_F32, 2, (int64_t[]){1, -1});
    assert_false(rt_tensors_write(path, t, 2, NULL, 0, &error));
    assert_string_equal(scratch_message(&error, *state), "cannot write '@/kept': tensor 'b' is too "
                                                         "large or has no valid shape");
    t[1] = tensor_of("b", RT_F32, 2, (int64_t[]){INT64_MAX, 2});
    assert_false(rt_tensors_write(path, t, 2, NULL, 0, &error));
    rt_pair bad = {"k", "\xff"};
    assert_false(rt_tensors_write(path, t, 1, &bad, 1, &error));
    assert_string_equal(scratch_message(&error, *state), "cannot write '@/kept': metadata 'k': key "
                                                         "and value must be UTF-8");
    char *kept = scratch_read(*state, "kept", NULL);
    assert_string_equal(kept, "old");
    free(kept);
    assert_false(rt_tensors_write(scratch_path(*state, "no/f"), t, 1, NULL, 0, &error));
    assert_string_equal(scratch_message(&error, *state),
                        "cannot create '@/no/f.tmp': No such file or directory");
}

/* Random files: what is written is what is read. */
static void test_random_files(void **state) {
    const char *path = scratch_path(*state, "random");
    uint64_t r = 1;
    for (int round = 0; round < 100; round++) {
        enum { MOST = 20 };
        static uint8_t data[MOST][8 * 27];
        rt_tensor tensors[MOST];
        char names[MOST][16];
        size_t count = round % (MOST + 1);
        for (size_t i = 0; i < count; i++) {
            snprintf(names[i], sizeof names[i], "t%zu", (i * 7) % MOST);
            tensors[i] = (rt_tensor){.name = names[i], .data = data[i]};
            tensors[i].dtype = (rt_dtype)((r = r * 6364136223846793005u + 1) >> 33) % 13;
            tensors[i].rank = (int)(r >> 40) % 4;
            for (int d = 0; d < tensors[i].rank; d++)
                tensors[i].dim[d] = (int64_t)(r >> (45 + 4 * d)) % 4;
            for (size_t k = 0; k < sizeof data[i]; k++)
                data[i][k] = (uint8_t)((r = r * 6364136223846793005u + 1) >> 56);
        }
        rt_error error;
        assert_true(rt_tensors_write(path, tensors, count, NULL, 0, &error));
        rt_tensors *file = rt_tensors_open(path, &error);
        if (!file) fail_msg("round %d: %s", round, error.text);
        assert_int_equal(rt_tensors_count(file), count);
        for (size_t i = 0; i < count; i++)
            expect_same(rt_tensors_find(file, names[i]), &tensors[i]);
        rt_tensors_close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_nothing_in_it), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_json),          cmocka_unit_test(test_dtype),
        cmocka_unit_test(test_shape),         cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_layout),        cmocka_unit_test(test_empty_tensors),
        cmocka_unit_test(test_paths),         cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_every_f16),     cmocka_unit_test(test_every_bf16),
        cmocka_unit_test(test_f32_f64),       cmocka_unit_test(test_whole_numbers),
        cmocka_unit_test(test_wrong_dtype),   cmocka_unit_test(test_names_of_dtypes),
        cmocka_unit_test(test_write_errors),  cmocka_unit_test(test_random_files),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
