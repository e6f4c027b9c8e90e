/* cnxc run: compiled programs against the reference on every path of this machine, and every
 * mistake in weights and inputs. cnx-test: codegen timeout=300
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli_case.h"
#include "worst.h"

#include <fcntl.h>
#include <math.h>

enum { BATCH = 5, MOST = 64, IMAGE = BATCH * CLI_CASE_SIDE * CLI_CASE_SIDE };

/* --- files --- */

/* The tensors of a file, to be changed and written again. */
typedef struct tensors {
    rt_tensors *file;
    rt_tensor item[MOST];
    size_t count;
} tensors;

static tensors read_all(const cli_case *t, const char *name) {
    rt_error error;
    tensors all = {.file = rt_tensors_open(cli_case_path(t, name), &error)};
    if (!all.file) print_error("%s\n", error.text);
    assert_non_null(all.file);
    all.count = rt_tensors_count(all.file);
    assert_true(all.count < MOST);
    for (size_t i = 0; i < all.count; i++)
        all.item[i] = *rt_tensors_at(all.file, i);
    return all;
}

static rt_tensor *find(tensors *all, const char *name) {
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->item[i].name, name) == 0) return &all->item[i];
    print_error("no tensor '%s'\n", name);
    fail();
    return NULL;
}

static void write_all(const cli_case *t, const char *name, const tensors *all, const rt_pair *pairs,
                      size_t pair_count) {
    rt_error error;
    if (!rt_tensors_write(cli_case_path(t, name), all->item, all->count, pairs, pair_count, &error))
        fail_msg("%s", error.text);
}

static void inputs(tensors *all, float *image, int64_t *label) {
    for (int i = 0; i < IMAGE; i++)
        image[i] = (float)rt_random_normal(3, (rt_place){.index = (uint32_t)i});
    for (int i = 0; i < BATCH; i++)
        label[i] = i % CLI_CASE_CLASSES;
    all->count = 2;
    all->item[0] = (rt_tensor){"image", RT_F32, 4, {BATCH, 1, CLI_CASE_SIDE, CLI_CASE_SIDE}, image};
    all->item[1] = (rt_tensor){"label", RT_I64, 1, {BATCH}, label};
}

/* Weights of a net that has learnt a little, and inputs. */
static cli_case begin(void) {
    cli_case t = cli_case_new();
    tensors in = {0};
    float image[IMAGE];
    int64_t label[BATCH];
    cli_case_model(&t);
    cli_case_data(&t, 64);
    inputs(&in, image, label);
    write_all(&t, "in.safetensors", &in, NULL, 0);
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=2", 0, NULL);
    assert_int_equal(cli_case_shell(&t, "mv a/last.safetensors w.safetensors"), 0);
    return t;
}

static const char plain[] = "run net.cnx --weights w.safetensors --inputs in.safetensors --outputs "
                            "out.safetensors";

/* --- values --- */

/* ||a - b|| / ||b|| of the worst tensor. */
static double worst_error(const cli_case *t, const char *a, const char *b) {
    tensors x = read_all(t, a), y = read_all(t, b);
    double worst = 0;
    assert_int_equal(x.count, y.count);
    for (size_t i = 0; i < x.count; i++) {
        const rt_tensor *u = &x.item[i], *v = find(&y, u->name);
        const float *p = u->data, *q = v->data;
        double error = 0, norm = 0;
        assert_int_equal(rt_tensor_elements(u), rt_tensor_elements(v));
        for (int64_t k = 0; k < rt_tensor_elements(u); k++) {
            error += ((double)p[k] - q[k]) * ((double)p[k] - q[k]);
            norm += (double)q[k] * q[k];
        }
        worst = worst_of(worst, sqrt(error) / (sqrt(norm) + 1e-12));
    }
    rt_tensors_close(x.file);
    rt_tensors_close(y.file);
    return worst;
}

static void agrees_with_reference(void **unused) {
    (void)unused;
    static const char *const kinds[] = {"", "--train", "--train --seed 3",
                                        "--train --recipe default --seed 9",
                                        "--train --update --lr 0.01 --seed 3"};
    static const char *const paths[] = {"--cpu generic", "--cpu x86-64-v3", "--cpu x86-64-v4",
                                        "--cpu native --threads 1", "--cpu native --threads 2"};
    cli_case t = begin();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char arguments[512];
        snprintf(arguments, sizeof arguments, "%s --reference %s", plain, kinds[k]);
        cli_case_expect(&t, arguments, 0, NULL);
        assert_int_equal(cli_case_shell(&t, "mv out.safetensors reference.safetensors"), 0);
        int done = 0;
        for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
            snprintf(arguments, sizeof arguments, "%s %s %s", plain, kinds[k], paths[p]);
            int code = cli_case_run(&t, arguments);
            if (code == 1 && strstr(t.err, "this CPU cannot run code for")) continue;
            if (code) print_error("%s", t.err);
            assert_int_equal(code, 0);
            double worst = worst_error(&t, "out.safetensors", "reference.safetensors");
            if (!(worst < 1e-4)) print_error("%s %s: error %g\n", kinds[k], paths[p], worst);
            assert_true(worst < 1e-4);
            if (p == 4)
                assert_true(cli_case_same_file(&t, "out.safetensors", "serial.safetensors"));
            assert_int_equal(cli_case_shell(&t, "mv out.safetensors serial.safetensors"), 0);
            done++;
        }
        assert_true(done >= 3);
    }
    cli_case_free(&t);
}

/* Without a seed there is no drop path; without a recipe, no smoothing. */
static void is_plain_unless_asked(void **unused) {
    (void)unused;
    static const char *const others[] = {" --seed 3", " --recipe default"};
    cli_case t = begin();
    char arguments[512];
    for (size_t i = 0; i < 2; i++) {
        snprintf(arguments, sizeof arguments, "%s --train", plain);
        cli_case_expect(&t, arguments, 0, NULL);
        assert_int_equal(cli_case_shell(&t, "mv out.safetensors a.safetensors"), 0);
        snprintf(arguments, sizeof arguments, "%s --train%s", plain, others[i]);
        cli_case_expect(&t, arguments, 0, NULL);
        assert_true(worst_error(&t, "a.safetensors", "out.safetensors") > 1e-3);
    }
    tensors train = read_all(&t, "a.safetensors"), weights = read_all(&t, "w.safetensors");
    for (size_t i = 0; i < weights.count; i++) { /* a gradient of every parameter, in its shape */
        char name[80];
        snprintf(name, sizeof name, "grad.%s", weights.item[i].name);
        const rt_tensor *grad = find(&train, name);
        assert_int_equal(grad->rank, weights.item[i].rank);
        assert_memory_equal(grad->dim, weights.item[i].dim, sizeof grad->dim);
    }
    assert_int_equal(train.count, weights.count + 2);
    assert_int_equal(find(&train, "loss")->rank, 0);
    rt_tensors_close(train.file);
    rt_tensors_close(weights.file);
    cli_case_free(&t);
}

/* --- mistakes in weights --- */

static void weights_are_strict(void **unused) {
    (void)unused;
    cli_case t = begin();
    tensors all = read_all(&t, "w.safetensors");
    cli_case_expect(&t, plain, 0, NULL);
    assert_int_equal(cli_case_shell(&t, "mv out.safetensors good.safetensors"), 0);

    find(&all, "blocks.1.fc1.weight")->name = "blocks.1.fcl.weight";
    find(&all, "head.weight")->dim[1] = 4;
    find(&all, "head.weight")->dim[0] = 6;
    write_all(&t, "w.safetensors", &all, NULL, 0);
    cli_case_expect(&t, plain, 1,
                    "w.safetensors: tensor 'blocks.1.fc1.weight' (16,8) is missing\n"
                    "hint: the file holds 'blocks.1.fcl.weight'\n");
    assert_non_null(strstr(t.err, "tensor 'head.weight' has shape (6,4), expected (3,8)\n"));
    assert_non_null(strstr(t.err, "tensor 'blocks.1.fcl.weight' (16,8) is no parameter of 'net'\n"
                                  "hint: the model has 'blocks.1.fc1.weight'\n"));
    char arguments[512];
    snprintf(arguments, sizeof arguments, "%s --partial", plain);
    cli_case_expect(&t, arguments, 0, "tensor 'blocks.1.fc1.weight' (16,8) is missing\n");
    assert_non_null(strstr(t.err, "tensor 'head.weight' has shape (6,4), expected (3,8)\n"));

    for (size_t i = 0; i < all.count; i++)
        all.item[i].name = all.item[i].name + 1;
    write_all(&t, "w.safetensors", &all, NULL, 0);
    cli_case_expect(&t, arguments, 1, "w.safetensors: no tensor fits 'net'");
    cli_case_write(&t, "w.safetensors", "abc", 3);
    cli_case_expect(&t, plain, 1, "w.safetensors");
    rt_tensors_close(all.file);
    cli_case_free(&t);
}

/* (O,I) is read where (O,I,1,1) is expected and the other way round; written as the model says. */
static void either_rank_is_read(void **unused) {
    (void)unused;
    cli_case t = begin();
    cli_case_expect(&t, plain, 0, NULL);
    assert_int_equal(cli_case_shell(&t, "mv out.safetensors good.safetensors"), 0);
    tensors all = read_all(&t, "w.safetensors");
    rt_tensor *fc1 = find(&all, "blocks.0.fc1.weight"), *fc2 = find(&all, "blocks.0.fc2.weight");
    assert_int_equal(fc1->rank, 2);
    assert_int_equal(fc2->rank, 4);
    fc1->rank = 4;
    fc1->dim[2] = fc1->dim[3] = 1;
    fc2->rank = 2;
    write_all(&t, "v.safetensors", &all, NULL, 0);
    cli_case_expect(&t,
                    "run net.cnx --weights v.safetensors --inputs in.safetensors --outputs "
                    "out.safetensors",
                    0, NULL);
    assert_true(cli_case_same_file(&t, "out.safetensors", "good.safetensors"));
    rt_tensors_close(all.file);
    cli_case_free(&t);
}

static void metadata_is_checked(void **unused) {
    (void)unused;
    static const struct {
        rt_pair pairs[3];
        const char *message;
    } cases[] = {
        {{{"cnx_format", "2"}}, "format version is '2', expected '1'"},
        {{{"cnx_format", "1"}, {"mean", "0.1 0.2"}}, "'mean' is '0.1 0.2', expected 1 numbers"},
        {{{"cnx_format", "1"}, {"std", "-1"}}, "'std' is '-1', expected numbers above 0"},
        {{{"cnx_format", "1"}, {"crop_pct", "x"}}, "'crop_pct' is 'x', expected a number above 0"},
        {{{"cnx_format", "1"}, {"class_names", "[\"a\", \"b\"]"}},
         "'class_names' is no JSON list of 3 names"},
        {{{"cnx_format", "1"}, {"class_names", "[\"a\", \"b\", 3]"}},
         "'class_names' is no JSON list of 3 names"},
    };
    cli_case t = begin();
    tensors all = read_all(&t, "w.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t count = cases[i].pairs[1].key ? 2 : 1;
        write_all(&t, "v.safetensors", &all, cases[i].pairs, count);
        cli_case_expect(&t, "predict net.cnx --weights v.safetensors a.png", 1, cases[i].message);
    }
    rt_tensors_close(all.file);
    cli_case_free(&t);
}

/* --- mistakes in inputs --- */

static void expect_inputs(cli_case *t, const tensors *in, const char *options,
                          const char *message) {
    char arguments[512];
    write_all(t, "in.safetensors", in, NULL, 0);
    snprintf(arguments, sizeof arguments, "%s %s", plain, options);
    cli_case_expect(t, arguments, 1, message);
}

static void inputs_are_checked(void **unused) {
    (void)unused;
    cli_case t = begin();
    float image[IMAGE];
    int64_t label[BATCH];
    tensors in = {0};

    inputs(&in, image, label);
    in.count = 1;
    expect_inputs(&t, &in, "--train", "in.safetensors: input 'label' (5) is missing");
    in.count = 0;
    expect_inputs(&t, &in, "", "in.safetensors: no tensors; expected the inputs of the model");
    inputs(&in, image, label);
    in.item[0].name = "imagee";
    expect_inputs(&t, &in, "", "'imagee' is no input of 'net'\nhint: did you mean 'image'?");
    inputs(&in, image, label);
    in.item[0].dim[2] = 6;
    in.item[0].dim[3] = 24;
    expect_inputs(&t, &in, "", "input 'image' has shape (5,1,6,24), expected (5,1,12,12)");
    inputs(&in, image, label);
    in.item[1].dim[0] = 4;
    expect_inputs(&t, &in, "--train", "'label' holds 4 samples, but 'image' holds 5");
    inputs(&in, image, label);
    label[2] = 3;
    expect_inputs(&t, &in, "--train", "'label' [2] is 3, expected a class from 0 to 2");
    label[2] = -1;
    expect_inputs(&t, &in, "--train --reference", "'label' [2] is -1, expected a class from 0");
    inputs(&in, image, label);
    in.item[1] = (rt_tensor){"label", RT_F32, 1, {BATCH}, image};
    expect_inputs(&t, &in, "--train", "input 'label'");
    inputs(&in, image, label);
    in.item[0].rank = 0;
    in.count = 1;
    expect_inputs(&t, &in, "", "'image' has no first dimension to be the batch");
    cli_case_free(&t);
}

static void defines_have_an_effect(void **unused) {
    (void)unused;
    static const struct {
        const char *options;
        int code;
        const char *message;
    } cases[] = {
        {"--train -D weight_decay=0", 1,
         "'weight_decay' has no effect here, only on training steps"},
        {"--train --update --lr 1 -D lr=2", 1, "'lr' has no effect here, only on training runs"},
        {"--train -D seed=2", 1, "'seed' has no effect here, only on training runs"},
        {"-D label_smoothing=0.2", 1, "has no effect here, only on programs with a loss"},
        {"-D batch=7", 2, "the batch is 7, but the inputs hold "},
        {"--train -D label_smoothing=0.2", 0, ""},
        {"--train --update --lr 1 -D weight_decay=0", 0, ""},
    };
    cli_case t = begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char arguments[512];
        snprintf(arguments, sizeof arguments, "%s %s", plain, cases[i].options);
        cli_case_expect(&t, arguments, cases[i].code, cases[i].message);
    }
    cli_case_free(&t);
}

static void batches_agree(void **unused) {
    (void)unused;
    cli_case t = begin();
    char arguments[512];
    snprintf(arguments, sizeof arguments, "%s --batch 4", plain);
    cli_case_expect(&t, arguments, 2, "the batch is 4, but the inputs hold 5");
    cli_case_expect(&t, "net.cnx --emit-ir --batch 3 -o n.cnxir", 0, NULL);
    cli_case_expect(&t,
                    "run n.cnxir --weights w.safetensors --inputs in.safetensors --outputs "
                    "out.safetensors",
                    1, "'n.cnxir' is for batch 3, but the inputs hold 5");
    cli_case_expect(&t, "net.cnx --emit-ir --batch 5 -o n.cnxir", 0, NULL);
    cli_case_expect(&t,
                    "run n.cnxir --weights w.safetensors --inputs in.safetensors --outputs "
                    "graph.safetensors",
                    0, NULL);
    cli_case_expect(&t, plain, 0, NULL);
    assert_true(cli_case_same_file(&t, "graph.safetensors", "out.safetensors"));
    snprintf(arguments, sizeof arguments, "%s",
             "run net.cnx --weights w.safetensors --inputs "
             "in.safetensors --outputs nowhere/out");
    cli_case_expect(&t, arguments, 3, "nowhere/out");
    cli_case_free(&t);
}

/* --- files that change --- */

/* The inputs are mapped when the graph is opened; here it comes through a pipe, and only once the
 * inputs are gone. */
static void file_vanishes(void **unused) {
    (void)unused;
    cli_case t = begin();
    size_t size = 0;
    cli_case_expect(&t, "net.cnx --emit-ir --batch 5 -o n.cnxir", 0, NULL);
    char *graph = cli_case_read(&t, "n.cnxir", &size);
    assert_int_equal(mkfifo(cli_case_path(&t, "pipe.cnxir"), 0666), 0);
    pid_t child = cli_case_start_cnxc(&t, "run pipe.cnxir --weights w.safetensors --inputs "
                                          "in.safetensors --outputs out.safetensors");
    int pipe = open(cli_case_path(&t, "pipe.cnxir"), O_WRONLY);
    assert_int_equal(truncate(cli_case_path(&t, "in.safetensors"), 0), 0);
    assert_int_equal(write(pipe, graph, size), size);
    close(pipe);
    assert_int_equal(cli_case_wait(&t, child), 3);
    assert_string_equal(t.err, "cnxc: a mapped file changed or cannot be read\n");
    free(graph);
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_reference),  cmocka_unit_test(is_plain_unless_asked),
        cmocka_unit_test(weights_are_strict),     cmocka_unit_test(either_rank_is_read),
        cmocka_unit_test(metadata_is_checked),    cmocka_unit_test(inputs_are_checked),
        cmocka_unit_test(defines_have_an_effect), cmocka_unit_test(batches_agree),
        cmocka_unit_test(file_vanishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
