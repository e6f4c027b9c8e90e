/* cnxc convert, and weights under the names of every library: the networks of tests/names, which
 * timm and PyTorch wrote (tests/reference/names.py), and files made here in other sizes and types.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli_case.h"
#include "made_weights.h"
#include "rt_torch.h"

#include <math.h>

#define NAMES CNX_TEST_SOURCE_DIR "/tests/names/"

/* --- comparing files --- */

static rt_tensors *open_file(const char *path) {
    rt_error error;
    rt_tensors *file =
        rt_torch_detect(path) ? rt_torch_open(path, &error) : rt_tensors_open(path, &error);
    if (!file) fail_msg("%s", error.text);
    return file;
}

/* The same names with the same types, shapes and bytes; shapes only up to dimensions of 1 in front
 * if `loose`. */
static void expect_same(const char *path_a, const char *path_b, bool loose) {
    rt_tensors *a = open_file(path_a), *b = open_file(path_b);
    assert_int_equal(rt_tensors_count(a), rt_tensors_count(b));
    for (size_t i = 0; i < rt_tensors_count(a); i++) {
        const rt_tensor *x = rt_tensors_at(a, i), *y = rt_tensors_find(b, x->name);
        if (!y) fail_msg("'%s' is in '%s', but not in '%s'", x->name, path_a, path_b);
        assert_int_equal(x->dtype, y->dtype);
        int shift = loose ? y->rank - x->rank : 0;
        for (int d = 0; d < x->rank || d + shift < y->rank; d++)
            if ((d < x->rank ? x->dim[d] : 1) != (d + shift >= 0 ? y->dim[d + shift] : 1))
                fail_msg("'%s' has another shape in '%s' and '%s'", x->name, path_a, path_b);
        assert_memory_equal(x->data, y->data, made_bytes(x));
    }
    rt_tensors_close(a);
    rt_tensors_close(b);
}

static void convert(cli_case *t, const char *in, const char *out, const char *to) {
    char arguments[1024];
    snprintf(arguments, sizeof arguments, "convert '%s' %s --to %s", in, out, to);
    cli_case_expect(t, arguments, 0, out);
}

/* --- what timm and PyTorch wrote --- */

static const char *const targets[] = {"timm", "official", "hf"};
enum { TARGETS = sizeof targets / sizeof *targets };

static const char *fixture(const char *version, const char *target) {
    static char path[4][512];
    static int next;
    char *p = path[next++ % 4];
    bool pickled = strcmp(target, "official") == 0;
    snprintf(p, sizeof path[0], NAMES "%s_%s.%s", version, target, pickled ? "pth" : "safetensors");
    return p;
}

/* Every naming to every naming is what the other library has itself. */
static void test_every_pair(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    static const char *const versions[] = {"v1", "v2"};
    for (size_t v = 0; v < 2; v++)
        for (size_t from = 0; from < TARGETS; from++)
            for (size_t to = 0; to < TARGETS; to++) {
                convert(&t, fixture(versions[v], targets[from]), "out.safetensors", targets[to]);
                expect_same(fixture(versions[v], targets[to]), cli_case_path(&t, "out.safetensors"),
                            false);
            }
    cli_case_free(&t);
}

/* There and back through each of the others, and through both. */
static void test_there_and_back(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    static const char *const versions[] = {"v1", "v2"};
    for (size_t v = 0; v < 2; v++) {
        const char *timm = fixture(versions[v], "timm");
        convert(&t, timm, "official.safetensors", "official");
        convert(&t, cli_case_path(&t, "official.safetensors"), "hf.safetensors", "hf");
        for (size_t i = 1; i < TARGETS; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s.safetensors", targets[i]);
            convert(&t, cli_case_path(&t, name), "back.safetensors", "timm");
            expect_same(timm, cli_case_path(&t, "back.safetensors"), false);
        }
    }
    cli_case_free(&t);
}

/* Checkpoints of FCMAE: the released encoder, and what a training run writes. */
static void test_fcmae(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    convert(&t, NAMES "v2_released.pt", "released.safetensors", "timm");
    convert(&t, NAMES "v2_fcmae.pth", "fcmae.safetensors", "timm");
    rt_tensors *timm = open_file(fixture("v2", "timm"));
    rt_tensors *released = open_file(cli_case_path(&t, "released.safetensors"));
    rt_tensors *fcmae = open_file(cli_case_path(&t, "fcmae.safetensors"));
    for (size_t i = 0; i < rt_tensors_count(timm); i++) {
        const rt_tensor *x = rt_tensors_at(timm, i);
        const rt_tensor *r = rt_tensors_find(released, x->name);
        const rt_tensor *f = rt_tensors_find(fcmae, x->name);
        bool head = strncmp(x->name, "head.", 5) == 0;
        assert_true(head ? !r && !f : r && f);
        if (head) continue;
        assert_memory_equal(x->data, r->data, made_bytes(x));
        assert_memory_equal(x->data, f->data, made_bytes(x));
    }
    static const char *const decoder[] = {"mask_token",
                                          "proj.weight",
                                          "decoder.0.conv_dw.weight",
                                          "decoder.0.mlp.fc1.weight",
                                          "decoder.0.mlp.grn.bias",
                                          "decoder.0.norm.weight",
                                          "pred.bias"};
    for (size_t i = 0; i < sizeof decoder / sizeof *decoder; i++)
        assert_non_null(rt_tensors_find(fcmae, decoder[i]));
    rt_tensors_close(timm);
    rt_tensors_close(released);
    rt_tensors_close(fcmae);
    convert(&t, cli_case_path(&t, "fcmae.safetensors"), "back.safetensors", "official");
    expect_same(NAMES "v2_fcmae.pth", cli_case_path(&t, "back.safetensors"), false);
    convert(&t, cli_case_path(&t, "released.safetensors"), "back.safetensors", "official");
    expect_same(NAMES "v2_released.pt", cli_case_path(&t, "back.safetensors"), true);
    convert(&t, cli_case_path(&t, "released.safetensors"), "hf.safetensors", "hf");
    rt_tensors *hf = open_file(cli_case_path(&t, "hf.safetensors"));
    assert_non_null(rt_tensors_find(hf, "encoder.stages.2.layers.1.grn.weight"));
    rt_tensors_close(hf);
    cli_case_free(&t);
}

/* --- the same numbers --- */

static const char network[] =
    "use \"" CNX_TEST_SOURCE_DIR "/models/%s.cnx\"\n"
    "model small = convnextv2(dims = [3, 4, 5, 6], depths = [1, 1, 2, 1]%s)\n";

static void write_networks(const cli_case *t) {
    char text[1024];
    int length = snprintf(text, sizeof text, network, "convnextv2", ", conv = true");
    cli_case_write(t, "v2.cnx", text, (size_t)length);
    length = snprintf(text, sizeof text, network, "convnext", "");
    cli_case_write(t, "v1.cnx", text, (size_t)length);
}

static void expect_logits(cli_case *t, const char *version, const char *weights) {
    char arguments[1024];
    snprintf(arguments, sizeof arguments,
             "run %s.cnx -D classes=5 -D image_size=32 --weights '%s' --inputs in.safetensors "
             "--outputs out.safetensors",
             version, weights);
    cli_case_expect(t, arguments, 0, NULL);
    rt_tensors *io = open_file(NAMES "io.safetensors");
    rt_tensors *out = open_file(cli_case_path(t, "out.safetensors"));
    float expected[10], found[10];
    rt_error error;
    assert_true(rt_tensor_to_f32(rt_tensors_find(io, version), expected, &error));
    assert_true(rt_tensor_to_f32(rt_tensors_find(out, "logits"), found, &error));
    for (int i = 0; i < 10; i++)
        if (!(fabsf(found[i] - expected[i]) <= 1e-5f))
            fail_msg("%s: logit %d is %g, timm's is %g", weights, i, (double)found[i],
                     (double)expected[i]);
    rt_tensors_close(io);
    rt_tensors_close(out);
}

/* Files of every library run without a conversion. */
static void test_logits(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    write_networks(&t);
    rt_tensors *io = open_file(NAMES "io.safetensors");
    rt_error error;
    assert_true(rt_tensors_write(cli_case_path(&t, "in.safetensors"), rt_tensors_find(io, "image"),
                                 1, NULL, 0, &error));
    rt_tensors_close(io);
    for (size_t i = 0; i < TARGETS; i++) {
        expect_logits(&t, "v1", fixture("v1", targets[i]));
        expect_logits(&t, "v2", fixture("v2", targets[i]));
    }
    cli_case_free(&t);
}

/* --- files of other sizes and types --- */

static void write_made(const cli_case *t, const char *name, const made *m) {
    rt_error error;
    if (!rt_tensors_write(cli_case_path(t, name), m->tensors, m->count, NULL, 0, &error))
        fail_msg("%s", error.text);
}

static const made_shape shapes[] = {
    {{40, 6, 7, 8}, {2, 2, 6, 2}, true, false, 10, 0, RT_F32, false},
    {{80, 6, 7, 8}, {2, 2, 8, 2}, true, false, 0, 0, RT_BF16, false},
    {{48, 6, 7, 8}, {2, 2, 6, 2}, true, true, 10, 0, RT_F16, false},
    {{96, 5, 6, 7}, {3, 3, 9, 3}, false, false, 10, 0, RT_BF16, false},
    {{96, 5, 6, 7}, {3, 3, 9, 3}, false, true, 10, 0, RT_F32, false},
    {{352, 4, 3, 2}, {3, 1, 11, 1}, false, false, 10, 0, RT_F16, false},
    {{1, 1, 1, 1}, {1, 1, 1, 1}, false, false, 10, 0, RT_F32, false},
};

static void expect_same_in(const cli_case *t, const char *a, const char *b) {
    expect_same(cli_case_path(t, a), cli_case_path(t, b), false);
}

/* A file of timm comes back from each of the others as it was; on the way it does not matter
 * whether it went through one or two. */
static void test_shapes(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        made m = made_weights(&shapes[i]);
        write_made(&t, "timm.safetensors", &m);
        convert(&t, "timm.safetensors", "official.safetensors", "official");
        convert(&t, "timm.safetensors", "hf.safetensors", "hf");
        convert(&t, "official.safetensors", "a.safetensors", "timm");
        convert(&t, "hf.safetensors", "b.safetensors", "timm");
        expect_same_in(&t, "timm.safetensors", "a.safetensors");
        expect_same_in(&t, "timm.safetensors", "b.safetensors");
        convert(&t, "official.safetensors", "a.safetensors", "hf");
        convert(&t, "hf.safetensors", "b.safetensors", "official");
        expect_same_in(&t, "hf.safetensors", "a.safetensors");
        expect_same_in(&t, "official.safetensors", "b.safetensors");
        made_free(&m);
    }
    cli_case_free(&t);
}

static const uint8_t *element(const rt_tensor *t, int64_t index) {
    return (const uint8_t *)t->data + index * rt_dtype_bytes(t->dtype);
}

/* kernel[kh + ks kw, in, out] of the sparse encoder is weight[out, in, kh, kw]. */
static void expect_kernel(const rt_tensor *kernel, const rt_tensor *weight) {
    int64_t o = weight->dim[0], in = weight->dim[1], ks = weight->dim[2];
    assert_int_equal(kernel->dim[0], ks * ks);
    assert_int_equal(kernel->rank, in == 1 ? 2 : 3);
    for (int64_t y = 0; y < ks; y++)
        for (int64_t x = 0; x < ks; x++)
            for (int64_t i = 0; i < in; i++)
                for (int64_t c = 0; c < o; c++)
                    assert_memory_equal(element(kernel, ((y + ks * x) * in + i) * o + c),
                                        element(weight, ((c * in + i) * ks + y) * ks + x),
                                        (size_t)rt_dtype_bytes(weight->dtype));
}

static void test_sparse_kernels(void **state) {
    (void)state;
    static const made_shape s = {{4, 3, 5, 2}, {1, 2, 1, 1}, false, false, 0, 2, RT_F16, false};
    cli_case t = cli_case_new();
    made m = made_weights(&s);
    write_made(&t, "cnx.safetensors", &m);
    convert(&t, cli_case_path(&t, "cnx.safetensors"), "official.safetensors", "official");
    rt_tensors *in = open_file(cli_case_path(&t, "cnx.safetensors"));
    rt_tensors *out = open_file(cli_case_path(&t, "official.safetensors"));
    expect_kernel(rt_tensors_find(out, "encoder.downsample_layers.2.1.kernel"),
                  rt_tensors_find(in, "stages.2.downsample.1.weight"));
    expect_kernel(rt_tensors_find(out, "encoder.stages.1.1.dwconv.kernel"),
                  rt_tensors_find(in, "stages.1.blocks.1.conv_dw.weight"));
    const rt_tensor *bias = rt_tensors_find(out, "encoder.stages.1.1.dwconv.bias");
    const rt_tensor *token = rt_tensors_find(out, "mask_token");
    const rt_tensor *grn = rt_tensors_find(out, "decoder.1.grn.gamma");
    assert_true(bias->rank == 2 && bias->dim[0] == 1 && bias->dim[1] == 3);
    assert_true(token->rank == 4 && token->dim[1] == 6);
    assert_true(grn->rank == 4 && grn->dim[3] == 24);
    rt_tensors_close(in);
    rt_tensors_close(out);
    convert(&t, cli_case_path(&t, "official.safetensors"), "back.safetensors", "timm");
    expect_same(cli_case_path(&t, "cnx.safetensors"), cli_case_path(&t, "back.safetensors"), false);
    made_free(&m);
    cli_case_free(&t);
}

/* A file that Hugging Face's classes do not write, with a prefix and no head, comes back with it.
 */
static void test_kept_style(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    made m = {.dtype = RT_F32, .random = 1};
    MADE_ADD(&m, 4, "convnextv2.embeddings.patch_embeddings.weight", 4, 3, 4, 4);
    MADE_ADD(&m, 4, "convnextv2.encoder.stages.0.layers.0.grn.weight", 1, 1, 1, 16);
    write_made(&t, "hf.safetensors", &m);
    convert(&t, cli_case_path(&t, "hf.safetensors"), "timm.safetensors", "timm");
    convert(&t, cli_case_path(&t, "timm.safetensors"), "official.safetensors", "official");
    convert(&t, cli_case_path(&t, "official.safetensors"), "back.safetensors", "hf");
    expect_same(cli_case_path(&t, "hf.safetensors"), cli_case_path(&t, "back.safetensors"), false);
    made_free(&m);
    cli_case_free(&t);
}

static void test_metadata(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    made m = {.dtype = RT_F32, .random = 1};
    MADE_ADD(&m, 1, "stem.0.bias", 4);
    rt_error error;
    const rt_pair pairs[] = {{"cnx_format", "1"}, {"class_names", "[\"cat\", \"dog\"]"}};
    assert_true(rt_tensors_write(cli_case_path(&t, "in.safetensors"), m.tensors, m.count, pairs, 2,
                                 &error));
    convert(&t, cli_case_path(&t, "in.safetensors"), "out.safetensors", "hf");
    rt_tensors *out = open_file(cli_case_path(&t, "out.safetensors"));
    assert_string_equal(rt_tensors_metadata(out, "cnx_format"), "1");
    assert_string_equal(rt_tensors_metadata(out, "class_names"), "[\"cat\", \"dog\"]");
    assert_string_equal(rt_tensors_metadata(out, "format"), "pt"); /* transformers asks for it */
    rt_tensors_close(out);
    made_free(&m);
    cli_case_free(&t);
}

/* --- mistakes --- */

/* The command fails with `part`, and what stood at the output is there as it was. */
static void expect_failure(cli_case *t, const char *arguments, int status, const char *part) {
    cli_case_write(t, "out.safetensors", "before", 6);
    cli_case_expect(t, arguments, status, part);
    size_t size;
    char *kept = cli_case_read(t, "out.safetensors", &size);
    assert_true(kept && size == 6 && memcmp(kept, "before", 6) == 0);
    free(kept);
    char command[64];
    snprintf(command, sizeof command, "ls | grep tmp");
    assert_int_equal(cli_case_shell(t, command), 1); /* nothing half-written beside it */
}

static void test_unknown_tensor(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    made m = {.dtype = RT_F32, .random = 1};
    MADE_ADD(&m, 1, "norm.weight", 4);
    MADE_ADD(&m, 4, "stages.0.0.dwconf.weight", 4, 1, 7, 7);
    MADE_ADD(&m, 1, "stages.0.0.dwconv.bias", 4);
    write_made(&t, "in.safetensors", &m);
    static const char arguments[] = "convert in.safetensors out.safetensors --to timm";
    expect_failure(&t, arguments, 1,
                   "error: in.safetensors: tensor 'stages.0.0.dwconf.weight' (4,1,7,7) is not in "
                   "'official.map'\n"
                   "hint: the nearest rule is 'stages.*.*.dwconv.weight'\n");
    cli_case_expect(&t, "convert in.safetensors out.safetensors --to timm --partial", 0,
                    "tensor 'stages.0.0.dwconf.weight' (4,1,7,7) is not in 'official.map' and "
                    "stays as it is");
    rt_tensors *out = open_file(cli_case_path(&t, "out.safetensors"));
    assert_int_equal(rt_tensors_count(out), 3);
    assert_non_null(rt_tensors_find(out, "stages.0.0.dwconf.weight"));
    assert_non_null(rt_tensors_find(out, "head.norm.weight"));
    rt_tensors_close(out);
    made_free(&m);
    cli_case_free(&t);
}

/* Hugging Face has no names for the decoder. */
static void test_no_name_there(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    expect_failure(&t, "convert '" NAMES "v2_fcmae.pth' out.safetensors --to hf", 1,
                   "tensor 'mask_token' (1,2,1,1) is not in 'hf.map'");
    cli_case_expect(&t, "convert '" NAMES "v2_fcmae.pth' out.safetensors --to hf --partial", 0,
                    "tensor 'mask_token' (1,2,1,1) is not in 'hf.map' and stays as it is");
    cli_case_free(&t);
}

static void test_bad_files(void **state) {
    (void)state;
    static const char arguments[] = "convert in.safetensors out.safetensors --to official";
    cli_case t = cli_case_new();
    expect_failure(&t, arguments, 1, "cnxc: cannot open 'in.safetensors': No such file");
    made m = {.dtype = RT_F32, .random = 1};
    write_made(&t, "in.safetensors", &m);
    expect_failure(&t, arguments, 1, "cnxc: in.safetensors: no tensors");
    MADE_ADD(&m, 1, "layer1.weight", 4);
    write_made(&t, "in.safetensors", &m);
    expect_failure(&t, arguments, 1,
                   "in.safetensors: its names are none of hf, official, timm; the first tensor is "
                   "'layer1.weight'");
    MADE_ADD(&m, 3, "stem.0.weight", 4, 3, 4);
    write_made(&t, "in.safetensors", &m);
    expect_failure(&t, arguments, 1,
                   "in.safetensors: tensor 'stem.0.weight' has shape (4,3,4); expected (o,i,y,x)");
    made_free(&m);
    m = (made){.dtype = RT_F32, .random = 1};
    MADE_ADD(&m, 1, "layernorm.weight", 4);
    MADE_ADD(&m, 1, "convnextv2.layernorm.weight", 4);
    write_made(&t, "in.safetensors", &m);
    expect_failure(&t, arguments, 1,
                   "two tensors are 'norm.weight': 'layernorm.weight' and "
                   "'convnextv2.layernorm.weight'");
    made_free(&m);
    m = (made){.dtype = RT_F32, .random = 1};
    MADE_ADD(&m, 2, "encoder.stages.0.0.dwconv.kernel", 50, 4);
    write_made(&t, "in.safetensors", &m);
    expect_failure(&t, arguments, 1,
                   "'encoder.stages.0.0.dwconv.kernel' has shape (50,4); expected (xy,c)");
    made_free(&m);
    cli_case_expect(&t, "convert '" NAMES "v1_timm.safetensors' no/out.safetensors --to hf", 3,
                    "cannot create 'no/out.safetensors.tmp'");
    cli_case_free(&t);
}

static void test_usage(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    cli_case_expect(&t, "convert a b", 2, "'cnxc convert' needs --to");
    cli_case_expect(&t, "convert a --to hf", 2, "expected two files, IN and OUT");
    cli_case_expect(&t, "convert --to hf", 2, "expected two files, IN and OUT");
    cli_case_expect(&t, "convert a b c --to hf", 2, "unexpected argument 'c'");
    cli_case_expect(&t, "convert a b --to jax", 2,
                    "--to is 'jax'; expected one of hf, official, timm");
    cli_case_expect(&t, "convert a b --to hf --batch 2", 2, "'cnxc convert' does not use --batch");
    cli_case_expect(&t, "convert a b --to hf -D x=2", 2, "'cnxc convert' does not use -D");
    cli_case_free(&t);
}

/* --- loading: what does not fit is named as in the file --- */

static void expect_load(cli_case *t, const char *options, const char *weights, int status,
                        const char *part) {
    char arguments[1024];
    snprintf(arguments, sizeof arguments, "v2.cnx -D image_size=32 %s --emit-infer --weights '%s'",
             options, weights);
    cli_case_expect(t, arguments, status, part);
}

static void test_loading(void **state) {
    (void)state;
    cli_case t = cli_case_new();
    write_networks(&t);
    expect_load(&t, "-D classes=5", fixture("v2", "hf"), 0, NULL);
    expect_load(&t, "-D classes=7", fixture("v2", "hf"), 1,
                "tensor 'head.fc.weight' ('classifier.weight' in the file) has shape (5,6), "
                "expected (7,6)\n"
                "hint: a head for 5 classes: -D classes=5 takes it, --partial starts with a new "
                "one\n");
    expect_load(&t, "-D classes=7 --partial", fixture("v2", "hf"), 0,
                "tensor 'head.fc.weight' ('classifier.weight' in the file) has shape (5,6), "
                "expected (7,6)\n");
    expect_load(&t, "-D classes=5", NAMES "v2_released.pt", 1,
                "tensor 'head.fc.weight' (5,6) is missing\n"
                "hint: a file without a head: --partial starts with a new one\n");
    expect_load(&t, "-D classes=5 --partial", NAMES "v2_released.pt", 0,
                "tensor 'head.norm.weight' (6) is missing");
    expect_load(&t, "-D classes=5 --partial", NAMES "v2_fcmae.pth", 0,
                "tensor 'decoder.0.conv_dw.weight' ('decoder.0.dwconv.weight' in the file) "
                "(2,1,7,7) is no parameter of 'small'");
    expect_load(&t, "-D classes=5", fixture("v1", "official"), 1,
                "tensor 'stages.0.blocks.0.mlp.grn.weight' (12) is missing");
    expect_load(&t, "-D classes=5", NAMES "io.safetensors", 1, "no tensor fits 'small'");
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),     cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_fcmae),          cmocka_unit_test(test_logits),
        cmocka_unit_test(test_shapes),         cmocka_unit_test(test_sparse_kernels),
        cmocka_unit_test(test_kept_style),     cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_unknown_tensor), cmocka_unit_test(test_no_name_there),
        cmocka_unit_test(test_bad_files),      cmocka_unit_test(test_usage),
        cmocka_unit_test(test_loading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
