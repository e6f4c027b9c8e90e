/* cnxc pretrain, finetune, reconstruct, and a masked autoencoder in run and as an object: runs that
 * are stopped continue bitwise, fine-tuning takes the encoder and nothing else, pictures show what
 * they should. cnx-test: serial timeout=600
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli_case.h"
#include "rt_image.h"

#include <math.h>

/* 12 x 12 pixels in 3 x 3 patches, of which int(9 * 0.4) = 3 are kept. */
enum { PATCH = 4, PATCHES = 9, KEPT = 3, WIDTH = PATCH * PATCH, BATCH = 5 };

static const char common[] = "set image_size = 12\nset in_channels = 1\nset mean = [0.3]\n"
                             "set std = [0.25]\nset crop_pct = 1.0\n";

static void write_text(const cli_case *t, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void write_text(const cli_case *t, const char *name, const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert_true(length > 0 && (size_t)length < sizeof text);
    cli_case_write(t, name, text, (size_t)length);
}

/* mae.cnx, and net.cnx with the same encoder. */
static void write_models(const cli_case *t) {
    write_text(t, "mae.cnx",
               "use \"fcmae.cnx\"\n%sset patch_size = 4\nset decoder_dim = 16\n"
               "model mae = fcmae(dims = [8, 16], depths = [1, 1], patch = 2)\n"
               "recipe pretrain_small from pretrain {\n"
               "    optimizer = adamw(lr = 0.01)\n    schedule = cosine(warmup_epochs = 0.5)\n"
               "    epochs = 4\n    batch = 8\n}\n"
               "recipe default from pretrain_small { augment = [flip(0.5)] }\n",
               common);
    write_text(t, "net.cnx",
               "use \"convnextv2.cnx\"\n%sset classes = 3\nparam dims = [8, 16]\n"
               "model net = convnextv2(dims = dims, depths = [1, 1], patch = 2)\n"
               "recipe finetune_net {\n    optimizer = adamw(lr = 0.01)\n    epochs = 4\n"
               "    batch = 8\n    layer_decay = 0.8\n    head_init = 0.001\n}\n"
               "recipe default { epochs = 1 }\n",
               common);
}

static cli_case new_case(int64_t images) {
    cli_case t = cli_case_new();
    write_models(&t);
    if (images) cli_case_data(&t, images);
    return t;
}

static double last_number(const cli_case *t, const char *metrics, const char *key) {
    char *text = cli_case_read(t, metrics, NULL), *at = text, *last = NULL;
    assert_non_null(text);
    while ((at = strstr(at, key)))
        last = at++;
    assert_non_null(last);
    double number = atof(last + strlen(key));
    free(text);
    return number;
}

static rt_tensors *open_tensors(const cli_case *t, const char *name) {
    rt_error error;
    rt_tensors *file = rt_tensors_open(cli_case_path(t, name), &error);
    if (!file) fail_msg("%s", error.text);
    return file;
}

/* --- pretrain --- */

static const char pretrain[] = "pretrain mae.cnx --data data --recipe default ";

static void pretrains(void **unused) {
    (void)unused;
    cli_case t = new_case(240);
    cli_case_expect(&t, "pretrain mae.cnx --data data --recipe default --out a --log-json log", 0,
                    "training 'mae': ");
    assert_non_null(strstr(t.err, "240 images, 4 epochs of 30 steps"));
    assert_null(strstr(t.err, "classes"));
    assert_null(strstr(t.err, "acc"));
    char *metrics = cli_case_read(&t, "a/metrics.jsonl", NULL);
    assert_null(strstr(metrics, "top1"));
    free(metrics);
    double loss = last_number(&t, "a/metrics.jsonl", "\"train_loss\": ");
    if (!(loss < 0.75))
        print_error("loss %g\n", loss); /* 1 without learning: targets have variance 1 */
    assert_true(loss < 0.75);
    rt_tensors *file = open_tensors(&t, "a/last.safetensors");
    static const char *const names[] = {"stem.0.weight",
                                        "stages.0.blocks.0.mlp.grn.weight",
                                        "stages.1.downsample.1.weight",
                                        "proj.weight",
                                        "mask_token",
                                        "decoder.0.conv_dw.weight",
                                        "decoder.0.mlp.grn.bias",
                                        "pred.bias"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_non_null(rt_tensors_find(file, names[i]));
    rt_tensors_close(file);
    cli_case_free(&t);
}

/* Images need no classes; the recipe called pretrain is the one that is taken. */
static void needs_no_labels(void **unused) {
    (void)unused;
    cli_case t = new_case(0);
    assert_int_equal(mkdir(cli_case_path(&t, "data"), 0777), 0);
    for (int i = 0; i < 16; i++) {
        uint8_t pixels[CLI_CASE_SIDE * CLI_CASE_SIDE];
        rt_image image = {CLI_CASE_SIDE, CLI_CASE_SIDE, 1, pixels};
        rt_error error;
        char name[32];
        cli_case_image(i, i % 3, pixels);
        snprintf(name, sizeof name, "data/%d.png", i);
        assert_true(rt_image_write_png(cli_case_path(&t, name), &image, &error));
    }
    cli_case_expect(&t, "pretrain mae.cnx --data data --batch 8 -D epochs=2 --out a", 0,
                    "16 images, 2 epochs of 2 steps");
    char *recipe = cli_case_read(&t, "a/recipe.cnx", NULL);
    assert_int_equal(strncmp(recipe, "recipe pretrain {", 17), 0);
    assert_non_null(strstr(recipe, "random_resized_crop"));
    free(recipe);
    cli_case_expect(&t, "train net.cnx --data data --out b", 3, "holds no data");
    cli_case_free(&t);
}

static void resumes(void **unused) {
    (void)unused;
    cli_case t = new_case(8 * CLI_CASE_STEPS);
    char command[256], resume[256];
    snprintf(command, sizeof command, "%s--out a", pretrain);
    snprintf(resume, sizeof resume, "%s--out b --resume", pretrain);
    cli_case_expect(&t, command, 0, NULL);
    cli_case_interrupt_epoch(&t, resume);
    cli_case_interrupt(&t, resume, SIGKILL, 1000 + SIGKILL);
    snprintf(command, sizeof command, "%s--out b --resume --threads 1", pretrain);
    cli_case_expect(&t, command, 0, "resuming 'b' after ");
    cli_case_same_run(&t, "a", "b");
    cli_case_free(&t);
}

/* --- finetune --- */

static void same_tensor(rt_tensors *a, rt_tensors *b, const char *name) {
    const rt_tensor *x = rt_tensors_find(a, name), *y = rt_tensors_find(b, name);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(rt_tensor_elements(x), rt_tensor_elements(y));
    assert_memory_equal(x->data, y->data, (size_t)rt_tensor_elements(x) * sizeof(float));
}

static void finetunes(void **unused) {
    (void)unused;
    cli_case t = new_case(240);
    cli_case_expect(&t, "pretrain mae.cnx --data data --recipe default --out a", 0, NULL);
    cli_case_expect(&t, "finetune net.cnx --from a --data data --out f -D lr=0 -D epochs=1", 0,
                    "'a/last.safetensors': encoder taken, ");
    rt_tensors *from = open_tensors(&t, "a/last.safetensors");
    rt_tensors *to = open_tensors(&t, "f/last.safetensors");
    size_t encoder = 0;
    for (size_t i = 0; i < rt_tensors_count(to); i++) {
        const char *name = rt_tensors_at(to, i)->name;
        if (strncmp(name, "head.", 5) == 0) continue;
        same_tensor(from, to, name);
        encoder++;
    }
    assert_int_equal(encoder, 4 + 2 * 10 + 4); /* stem, two blocks, a downsample */
    const rt_tensor *head = rt_tensors_find(to, "head.fc.weight");
    double most = 0;
    for (int64_t i = 0; i < rt_tensor_elements(head); i++)
        most = fmax(most, fabs((double)((const float *)head->data)[i]));
    assert_true(most > 0 && most < 1e-4); /* spread 2e-5 */
    rt_tensors_close(from);
    rt_tensors_close(to);
    cli_case_expect(&t, "finetune net.cnx --from a/last.safetensors --data data --out g", 0,
                    "done: g/last");
    double top1 = last_number(&t, "g/metrics.jsonl", "\"test_top1\": ");
    if (!(top1 > 0.8)) print_error("top1 %g\n", top1);
    assert_true(top1 > 0.8);
    char *recipe = cli_case_read(&t, "g/recipe.cnx", NULL);
    assert_int_equal(strncmp(recipe, "recipe finetune_net {", 21), 0);
    free(recipe);
    cli_case_expect(&t, "finetune net.cnx --resume --data data --out g", 0, "resuming 'g'");
    cli_case_expect(&t, "finetune net.cnx --resume --data data --out nowhere", 1,
                    "'nowhere' holds no state to resume; start the run with --from RUN");
    assert_int_equal(cli_case_shell(&t, "test ! -e nowhere && rm g/state.safetensors"), 0);
    cli_case_expect(&t, "finetune net.cnx --resume --data data --out g", 0,
                    "'a/last.safetensors': encoder taken, ");
    cli_case_expect(&t, "finetune net.cnx --from g --data data --out h -D epochs=1", 0,
                    "head.fc starts anew"); /* from a classifier, too */
    cli_case_free(&t);
}

static void is_strict(void **unused) {
    (void)unused;
    cli_case t = new_case(64);
    cli_case_expect(&t, "pretrain mae.cnx --data data --recipe default --out a -D epochs=1", 0, "");
    cli_case_expect(&t, "finetune net.cnx --from a --data data --out f -D dims=[8,24]", 1,
                    "tensor 'stages.1.downsample.1.weight' has shape (16,8,2,2), expected "
                    "(24,8,2,2)");
    cli_case_expect(&t, "finetune net.cnx --from a --data data --out f -D between=none", 1,
                    "tensor 'stages.0.blocks.0.mlp.grn.weight' (32) is no parameter of 'net'");
    cli_case_expect(&t,
                    "finetune net.cnx --from a --data data --out f -D between=none "
                    "-D finetune_grn=leave_out",
                    0, "done: f/last");
    cli_case_expect(&t,
                    "pretrain mae.cnx --data data --recipe default --out v1 -D epochs=1 "
                    "-D encoder=v1",
                    0, "");
    cli_case_expect(&t, "finetune net.cnx --from v1 --data data --out g -D layer_scale=1e-6", 1,
                    "tensor 'stages.0.blocks.0.mlp.grn.weight' (32) is missing");
    cli_case_expect(&t,
                    "finetune net.cnx --from v1 --data data --out g -D layer_scale=1e-6 "
                    "-D finetune_grn=fresh",
                    0, "done: g/last");
    cli_case_expect(&t, "finetune mae.cnx --from a --data data --out h", 1,
                    "'mae' has no input label: i64[N]");
    cli_case_expect(&t, "pretrain net.cnx --data data --out h", 1,
                    "'net' has no input mask: f32[N,L]");
    cli_case_free(&t);
}

/* What -D says and pre-training has no use for. */
static void has_no_use_for(void **unused) {
    (void)unused;
    static const struct {
        const char *define, *message;
    } cases[] = {
        {"holdout=10", "'holdout' has no effect: pre-training is not tested"},
        {"test_epochs=2", "'test_epochs' has no effect: pre-training is not tested"},
        {"label_smoothing=0.1", "'label_smoothing' has no effect: the model does not use it"},
        {"head_init=0.1", "'head_init' has no effect: the model has no parameter head.fc.weight"},
        {"crop_ratio=[1,1]", "'crop_ratio' has no effect without 'crop_scale'"},
    };
    cli_case t = new_case(64);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char command[256];
        snprintf(command, sizeof command, "%s--out a -D %s", pretrain, cases[i].define);
        cli_case_expect(&t, command, 1, cases[i].message);
    }
    cli_case_free(&t);
}

/* A share of the labels, images held out, few tests. */
static void takes_few_labels(void **unused) {
    (void)unused;
    cli_case t = new_case(240);
    cli_case_expect(&t,
                    "train net.cnx --data data --out a -D data_fraction=0.1 -D holdout=60 "
                    "-D epochs=5 -D test_epochs=2 --batch 6",
                    0, "18 images of 3 classes");
    char *metrics = cli_case_read(&t, "a/metrics.jsonl", NULL);
    int line = 0;
    for (char *at = metrics, *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = 0;
        line++;
        assert_true((strstr(at, "test_top1") != NULL) == (line == 2 || line == 4 || line == 5));
        double top1 = strstr(at, "test_top1") ? atof(strstr(at, "test_top1") + 12) * 60 : 0;
        assert_true(fabs(top1 - round(top1)) < 1e-6); /* of sixty images */
    }
    assert_int_equal(line, 5);
    free(metrics);
    cli_case_expect(&t, "train net.cnx --data data --out b -D holdout=240", 3,
                    "of which 240 cannot be held out");
    cli_case_free(&t);
}

/* --- run --- */

static void write_inputs(const cli_case *t, const char *name, const float *mask) {
    float image[BATCH * CLI_CASE_SIDE * CLI_CASE_SIDE];
    for (size_t i = 0; i < sizeof image / sizeof *image; i++)
        image[i] = (float)rt_random_normal(3, (rt_place){.index = (uint32_t)i});
    cli_case_write(t, "image.raw", image, sizeof image);
    if (mask) cli_case_write(t, "mask.raw", mask, BATCH * PATCHES * sizeof *mask);
    rt_tensor tensors[2] = {{"image", RT_F32, 4, {BATCH, 1, CLI_CASE_SIDE, CLI_CASE_SIDE}, image},
                            {"mask", RT_F32, 2, {BATCH, PATCHES}, mask}};
    rt_error error;
    assert_true(rt_tensors_write(cli_case_path(t, name), tensors, mask ? 2 : 1, NULL, 0, &error));
}

/* Sample n keeps the patches n, n + 1... around. */
static void make_mask(float *mask) {
    for (int i = 0; i < BATCH * PATCHES; i++)
        mask[i] = (i % PATCHES - i / PATCHES + PATCHES) % PATCHES < KEPT ? 0 : 1;
}

static void run_on(cli_case *t, const char *in, const char *out, const char *more) {
    char command[512];
    snprintf(command, sizeof command,
             "run mae.cnx --train --weights a/last.safetensors --inputs %s --outputs %s %s", in,
             out, more);
    cli_case_expect(t, command, 0, "");
}

static void compare_files(const cli_case *t, const char *a, const char *b, double tolerance) {
    rt_tensors *x = open_tensors(t, a), *y = open_tensors(t, b);
    assert_int_equal(rt_tensors_count(x), rt_tensors_count(y));
    for (size_t i = 0; i < rt_tensors_count(x); i++) {
        const rt_tensor *p = rt_tensors_at(x, i), *q = rt_tensors_find(y, p->name);
        assert_non_null(q);
        double off = 0, size = 0;
        for (int64_t k = 0; k < rt_tensor_elements(p); k++) {
            double u = (double)((const float *)p->data)[k], v = (double)((const float *)q->data)[k];
            off += (u - v) * (u - v);
            size += u * u;
        }
        if (!(sqrt(off) <= tolerance * sqrt(size))) print_error("%s differs\n", p->name);
        assert_true(sqrt(off) <= tolerance * sqrt(size));
    }
    rt_tensors_close(x);
    rt_tensors_close(y);
}

/* pred is 0 at kept patches, and nowhere else. */
static void check_pred(const cli_case *t, const char *name, const float *mask) {
    rt_tensors *file = open_tensors(t, name);
    const rt_tensor *pred = rt_tensors_find(file, "pred");
    assert_non_null(pred);
    assert_int_equal(pred->rank, 3);
    assert_int_equal(rt_tensor_elements(pred), BATCH * PATCHES * WIDTH);
    for (int n = 0; n < BATCH; n++) {
        int kept = 0;
        for (int l = 0; l < PATCHES; l++) {
            const float *row = (const float *)pred->data + (n * PATCHES + l) * WIDTH;
            bool zero = true;
            for (int i = 0; i < WIDTH; i++)
                zero = zero && row[i] == 0;
            kept += zero;
            assert_true(!mask || zero == (mask[n * PATCHES + l] == 0));
        }
        assert_int_equal(kept, KEPT);
    }
    rt_tensors_close(file);
}

static void takes_masks(void **unused) {
    (void)unused;
    cli_case t = new_case(64);
    float mask[BATCH * PATCHES], drawn[BATCH * PATCHES];
    cli_case_expect(&t, "pretrain mae.cnx --data data --recipe default --out a -D epochs=1", 0, "");
    make_mask(mask);
    for (int i = 0; i < BATCH * PATCHES; i++)
        drawn[i] = -1;
    write_inputs(&t, "given.st", mask);
    write_inputs(&t, "drawn.st", drawn);
    write_inputs(&t, "none.st", NULL);
    run_on(&t, "given.st", "o1.st", "");
    check_pred(&t, "o1.st", mask);
    run_on(&t, "given.st", "o2.st", "--densify");
    compare_files(&t, "o1.st", "o2.st", 1e-5);
    run_on(&t, "given.st", "o2.st", "--reference");
    compare_files(&t, "o1.st", "o2.st", 1e-5);
    run_on(&t, "none.st", "o1.st", "");
    run_on(&t, "drawn.st", "o2.st", "");
    check_pred(&t, "o1.st", NULL);
    assert_true(cli_case_same_file(&t, "o1.st", "o2.st"));
    run_on(&t, "none.st", "o2.st", "--seed 5");
    check_pred(&t, "o2.st", NULL);
    assert_false(cli_case_same_file(&t, "o1.st", "o2.st"));
    static const struct {
        int at;
        float value;
        const char *message;
    } wrong[] = {
        {2 * PATCHES, 0, "'mask' row 2 keeps 4 of 9 patches, expected 3"},
        {1, 1, "'mask' row 0 keeps 2 of 9 patches, expected 3"},
        {PATCHES + 8, -1, "'mask' row 1 is -1 at 1 of 9 patches"},
        {PATCHES + 4, 0.5f, "'mask' [1, 4] is 0.5, expected 0 (kept), 1 (removed)"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        make_mask(mask);
        mask[wrong[i].at] = wrong[i].value;
        write_inputs(&t, "wrong.st", mask);
        cli_case_expect(&t,
                        "run mae.cnx --weights a/last.safetensors --inputs wrong.st --outputs o.st",
                        1, wrong[i].message);
    }
    cli_case_expect(&t,
                    "run mae.cnx -D mask_ratio=0.9 --weights a/last.safetensors --inputs none.st "
                    "--outputs o.st",
                    1, "no patch of 9 is kept");
    cli_case_expect(&t,
                    "run mae.cnx -D mask_ratio=0.0 --weights a/last.safetensors --inputs none.st "
                    "--outputs o.st",
                    1, "no patch of 9 is removed");
    cli_case_free(&t);
}

/* --- an object --- */

static const char program[] =
    "#include \"mae_train.h\"\n#include <stdio.h>\n#include <stdlib.h>\n#include "
    "<string.h>\n" CLI_CASE_C_FILES "int main(int argc, char **argv) {\n"
    "    float image[MAE_TRAIN_IMAGE_ELEMENTS], mask[MAE_TRAIN_MASK_ELEMENTS], loss;\n"
    "    float *weights = block(MAE_TRAIN_WEIGHTS_SIZE);\n"
    "    char *state = block(MAE_TRAIN_STATE_SIZE), *work = block(MAE_TRAIN_WORKSPACE_SIZE);\n"
    "    (void)argv;\n    load(\"image.raw\", image, sizeof image);\n"
    "    load(\"mask.raw\", mask, sizeof mask);\n"
    "    load(\"weights.raw\", weights, MAE_TRAIN_WEIGHTS_SIZE);\n"
    "    if (mae_train_init(state, weights)) exit(8);\n"
    "    if (mae_train_step(state, work, NULL, mask, 0.01f, 1, 7, &loss, NULL) != "
    "MAE_TRAIN_E_NULL) exit(7);\n"
    "    if (mae_train_step(state, work, image, argc > 1 ? NULL : mask, 0.01f, 1, 7, &loss, NULL)) "
    "exit(6);\n"
    "    if (mae_train_export(state, weights)) exit(5);\n"
    "    save(\"updated.raw\", weights, MAE_TRAIN_WEIGHTS_SIZE);\n"
    "    save(\"loss.raw\", &loss, sizeof loss);\n"
    "    for (int i = 0; i < MAE_TRAIN_PARAMETERS; i++)\n"
    "        printf(\"%s %zu\\n\", mae_train_parameters[i].name, mae_train_parameters[i].offset);\n"
    "    free(state);\n    free(work);\n    free(weights);\n    return 0;\n}\n";

/* The parameters of a file in the order of the header's table. */
static void write_weights(const cli_case *t) {
    char *header = cli_case_read(t, "mae_train.h", NULL), name[64];
    rt_tensors *file = open_tensors(t, "a/last.safetensors");
    FILE *out = fopen(cli_case_path(t, "weights.raw"), "wb");
    assert_non_null(out);
    size_t rows = 0;
    for (const char *p = header; (p = strstr(p, "    {\"")); p++) {
        if (sscanf(p, "    {\"%63[^\"]\", ", name) != 1) continue;
        const rt_tensor *tensor = rt_tensors_find(file, name);
        assert_non_null(tensor);
        fwrite(tensor->data, sizeof(float), (size_t)rt_tensor_elements(tensor), out);
        rows++;
    }
    assert_int_equal(fclose(out), 0);
    assert_int_equal(rows, rt_tensors_count(file));
    rt_tensors_close(file);
    free(header);
}

static void same_bits(cli_case *t) {
    rt_tensors *step = open_tensors(t, "step.st");
    size_t size;
    char *updated = cli_case_read(t, "updated.raw", &size);
    char *loss = cli_case_read(t, "loss.raw", NULL);
    assert_memory_equal(loss, rt_tensors_find(step, "loss")->data, sizeof(float));
    int rows = 0;
    for (const char *line = t->out; *line; line = strchr(line, '\n') + 1) {
        char name[64];
        size_t offset;
        assert_int_equal(sscanf(line, "%63s %zu", name, &offset), 2);
        const rt_tensor *tensor = rt_tensors_find(step, name);
        assert_non_null(tensor);
        size_t bytes = (size_t)rt_tensor_elements(tensor) * sizeof(float);
        assert_true(offset * sizeof(float) + bytes <= size);
        assert_memory_equal(updated + offset * sizeof(float), tensor->data, bytes);
        rows++;
    }
    assert_int_equal(rows + 2, rt_tensors_count(step)); /* loss and pred */
    free(updated);
    free(loss);
    rt_tensors_close(step);
}

/* With a given mask, and with none. */
static void compiles_ahead(void **unused) {
    (void)unused;
    cli_case t = new_case(64);
    float mask[BATCH * PATCHES];
    char command[512];
    cli_case_expect(&t, "pretrain mae.cnx --data data --recipe default --out a -D epochs=1", 0, "");
    make_mask(mask);
    write_inputs(&t, "given.st", mask);
    write_inputs(&t, "none.st", NULL);
    cli_case_expect(&t, "mae.cnx --emit-train --batch 5", 0, "mae_train.h");
    write_weights(&t);
    cli_case_write(&t, "main.c", program, sizeof program - 1);
    int code = cli_case_shell(&t, "cc -std=c11 -O1 -Wall -Wextra -Wpedantic -Werror "
                                  "-Wno-unknown-pragmas main.c mae_train.o -lm -o main");
    if (code) print_error("%s", t.err);
    assert_int_equal(code, 0);
    for (int drawn = 0; drawn < 2; drawn++) {
        snprintf(command, sizeof command,
                 "run mae.cnx --train --update --lr 0.01 --seed 7 --recipe default --weights "
                 "a/last.safetensors --inputs %s --outputs step.st",
                 drawn ? "none.st" : "given.st");
        cli_case_expect(&t, command, 0, "");
        code = cli_case_shell(&t, drawn ? "./main drawn" : "./main");
        if (code) print_error("exit %d\n", code);
        assert_int_equal(code, 0);
        same_bits(&t);
    }
    cli_case_free(&t);
}

/* --- reconstruct --- */

enum { ZOOM = 10, CELL = ZOOM * CLI_CASE_SIDE, GAP = 4, COLUMN = CELL + GAP }; /* ceil(112 / 12) */

static uint8_t pixel(const rt_image *picture, int row, int column, int y, int x) {
    int line = row * COLUMN + y * ZOOM + ZOOM / 2, place = column * COLUMN + x * ZOOM + ZOOM / 2;
    return picture->pixels[(line * picture->width + place) * picture->channels];
}

/* The three images of a row: where the middle one is not grey, all are the same. */
static void check_row(const rt_image *picture, int row) {
    uint8_t original[CLI_CASE_SIDE * CLI_CASE_SIDE];
    int removed = 0, changed = 0;
    cli_case_image(500 + row, row, original);
    for (int l = 0; l < PATCHES; l++) {
        bool grey = true;
        for (int i = 0; i < WIDTH; i++) {
            int y = l / 3 * PATCH + i / PATCH, x = l % 3 * PATCH + i % PATCH;
            assert_int_equal(pixel(picture, row, 0, y, x), original[y * CLI_CASE_SIDE + x]);
            grey = grey && pixel(picture, row, 1, y, x) == 128;
        }
        removed += grey;
        for (int i = 0; i < WIDTH; i++) {
            int y = l / 3 * PATCH + i / PATCH, x = l % 3 * PATCH + i % PATCH;
            uint8_t first = pixel(picture, row, 0, y, x);
            assert_true(grey || pixel(picture, row, 1, y, x) == first);
            assert_true(grey || pixel(picture, row, 2, y, x) == first);
            changed += pixel(picture, row, 2, y, x) != first;
        }
    }
    assert_int_equal(removed, PATCHES - KEPT);
    assert_true(changed > 0);
}

static void reconstructs(void **unused) {
    (void)unused;
    cli_case t = new_case(240);
    rt_error error;
    rt_image picture;
    cli_case_expect(&t, "pretrain mae.cnx --data data --recipe default --out a", 0, "");
    for (int i = 0; i < 3; i++) {
        uint8_t pixels[CLI_CASE_SIDE * CLI_CASE_SIDE];
        rt_image image = {CLI_CASE_SIDE, CLI_CASE_SIDE, 1, pixels};
        char name[16];
        cli_case_image(500 + i, i, pixels);
        snprintf(name, sizeof name, "%d.png", i);
        assert_true(rt_image_write_png(cli_case_path(&t, name), &image, &error));
    }
    const char *all = "reconstruct mae.cnx --weights a/last.safetensors 0.png 1.png 2.png -o x.png";
    cli_case_expect(&t, all, 0, "wrote x.png: 3 rows");
    assert_true(rt_image_load(cli_case_path(&t, "x.png"), 1, &picture, &error));
    assert_int_equal(picture.width, 3 * COLUMN - GAP);
    assert_int_equal(picture.height, 3 * COLUMN - GAP);
    for (int row = 0; row < 3; row++)
        check_row(&picture, row);
    rt_image_free(&picture);
    cli_case_expect(&t,
                    "reconstruct mae.cnx --weights a/last.safetensors 0.png 1.png 2.png -o y.png "
                    "--densify",
                    0, "wrote");
    cli_case_expect(&t,
                    "reconstruct mae.cnx --weights a/last.safetensors 0.png 1.png 2.png -o z.png "
                    "--seed 1",
                    0, "wrote");
    assert_false(cli_case_same_file(&t, "x.png", "z.png"));
    cli_case_expect(&t, "reconstruct mae.cnx --weights a/last.safetensors 0.png mae.cnx -o q.png",
                    1, "mae.cnx");
    assert_null(cli_case_read(&t, "q.png", NULL));
    cli_case_expect(&t, "reconstruct mae.cnx --weights a/last.safetensors 0.png -o no/q.png", 3,
                    "no/q.png");
    cli_case_expect(&t, "reconstruct net.cnx --weights a/last.safetensors 0.png -o q.png", 1, "");
    cli_case_free(&t);
}

static void reconstructs_colours(void **unused) {
    (void)unused;
    cli_case t = new_case(64);
    rt_error error;
    rt_image picture;
    uint8_t pixels[CLI_CASE_SIDE * CLI_CASE_SIDE * 3];
    rt_image image = {CLI_CASE_SIDE, CLI_CASE_SIDE, 3, pixels};
    const char *rgb = "-D in_channels=3 -D mean=[0.4,0.5,0.6] -D std=[0.2,0.2,0.2]";
    char command[512];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i % 3 == 0 ? 200 : i % 3 == 1 ? 40 + i % 7 : i % 251);
    assert_true(rt_image_write_png(cli_case_path(&t, "c.png"), &image, &error));
    snprintf(command, sizeof command,
             "pretrain mae.cnx --data data --recipe default --out a -D epochs=1 %s", rgb);
    cli_case_expect(&t, command, 0, "");
    snprintf(command, sizeof command,
             "reconstruct mae.cnx --weights a/last.safetensors c.png -o x.png %s", rgb);
    cli_case_expect(&t, command, 0, "wrote x.png: 1 row of");
    assert_true(rt_image_load(cli_case_path(&t, "x.png"), 3, &picture, &error));
    assert_int_equal(picture.height, CELL);
    int same = 0;
    for (int y = 0; y < CLI_CASE_SIDE; y++)
        for (int x = 0; x < CLI_CASE_SIDE; x++) {
            const uint8_t *first = picture.pixels + (y * ZOOM * picture.width + x * ZOOM) * 3;
            const uint8_t *last = first + 2 * COLUMN * 3;
            assert_memory_equal(first, pixels + (y * CLI_CASE_SIDE + x) * 3, 3);
            same += memcmp(first, last, 3) == 0;
        }
    assert_in_range(same, KEPT * WIDTH, PATCHES * WIDTH - 1);
    rt_image_free(&picture);
    cli_case_free(&t);
}

/* --- Fashion-MNIST --- */

/* Ninety steps on real images. Without learning the loss stays at 0.76: a quarter of the patches is
 * constant, and their target is 0. */
static void learns_fashion(void **unused) {
    (void)unused;
    const char *folder = "/usr/share/datasets/fashion-mnist";
    if (access(folder, R_OK) != 0) fail_msg("%s: install dataset-fashion-mnist", folder);
    cli_case t = cli_case_new();
    char command[512];
    snprintf(command, sizeof command,
             "pretrain '%s/models/fcmae_fashion.cnx' --data %s --out a -D data_fraction=0.05 "
             "-D epochs=2",
             CNX_TEST_SOURCE_DIR, folder);
    cli_case_expect(&t, command, 0, "3000 images, 2 epochs of 46 steps");
    double loss = last_number(&t, "a/metrics.jsonl", "\"train_loss\": ");
    if (!(loss < 0.68)) print_error("loss %g\n", loss);
    assert_true(loss < 0.68);
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pretrains),
        cmocka_unit_test(needs_no_labels),
        cmocka_unit_test(resumes),
        cmocka_unit_test(finetunes),
        cmocka_unit_test(is_strict),
        cmocka_unit_test(has_no_use_for),
        cmocka_unit_test(takes_few_labels),
        cmocka_unit_test(takes_masks),
        cmocka_unit_test(compiles_ahead),
        cmocka_unit_test(reconstructs),
        cmocka_unit_test(reconstructs_colours),
        cmocka_unit_test(learns_fashion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
