/* Members of the family and ablations at small width against PyTorch: logits, loss, every gradient,
 * ten AdamW steps (tests/reference/make_small.py). cnx-test: codegen timeout=900
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reference_compare.h"

#define SMALL                                                                                      \
    {"dims", "[8, 16, 24, 32]"}, {"depths", "[1, 1, 2, 1]"}, {"classes", "10"}, {"image_size", "64"}
#define FAMILY(file) {.path = file, .defines = {SMALL, {"conv", "true"}}, .batch = 3}
#define ABLATION(name, ...)                                                                        \
    {                                                                                              \
        #name, {                                                                                   \
            .path = "ablations/" #name ".cnx", .defines = {SMALL}, .batch = 3, __VA_ARGS__         \
        }                                                                                          \
    }

/* As FACTORS in models.py: weights at which the change is seen. */
static const ref_factor tiny_hidden[] = {
    {".mlp.fc1.weight", 0x1p-11f}, {".mlp.fc1.bias", 0x1p-11f}, {0}};
static const ref_factor tiny_features[] = {{"stages.3.downsample.1.weight", 0x1p-9f},
                                           {"stages.3.downsample.1.bias", 0x1p-9f},
                                           {"stages.3.blocks.0.mlp.fc2.weight", 0x1p-9f},
                                           {"stages.3.blocks.0.mlp.fc2.bias", 0x1p-9f},
                                           {0}};
static const ref_factor large_hidden[] = {{".mlp.fc1.weight", 16}, {0}};

/* The same where the usual weights would hide what is changed: some are multiplied. */
#define SCALED(name, ...)                                                                          \
    {                                                                                              \
        #name, {                                                                                   \
            .path = "ablations/" #name ".cnx", .defines = {CHANGED}, .batch = BATCH,               \
            .factors = (const ref_factor[]){__VA_ARGS__, {0}}                                      \
        }                                                                                          \
    }

/* `name` is the data file's. */
static const struct {
    const char *name;
    ref_model model;
} cases[] = {
    ABLATION(lrn, .factors = large_hidden),
};

static bool check(const char *name, const ref_model *model) {
    rt_tensors *file = ref_open(name);
    ref_report report = {.name = name};
    ref_program p;
    ref_build(&p, model, IR_KIND_GRAD);
    ref_step(&p, 0, 1);
    ref_compare_outputs(&report, file, &p);
    ref_free(&p);
    ref_build(&p, model, IR_KIND_TRAIN);
    ref_compare_steps(&report, file, &p, 1e-3f);
    ref_free(&p);
    rt_tensors_close(file);
    return ref_judge(&report, ref_tight);
}

static void equals_pytorch(void **unused) {
    (void)unused;
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong += !check(cases[i].name, &cases[i].model);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_pytorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
