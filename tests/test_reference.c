/* Members of the family and ablations at small width against PyTorch: logits, loss, every gradient,
 * ten AdamW steps (tests/reference/make_small.py). cnx-test: release timeout=900
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
                                           {"head.fc.bias", 2},
                                           {0}};
static const ref_factor large_hidden[] = {{".mlp.fc1.weight", 4}, {0}};

/* The same where the usual weights would hide what is changed: some are multiplied. */
#define SCALED(name, ...)                                                                          \
    {                                                                                              \
        #name, {                                                                                   \
            .path = "ablations/" #name ".cnx", .defines = {CHANGED}, .batch = BATCH,               \
            .factors = (const ref_factor[]) {                                                      \
                __VA_ARGS__, {0}                                                                   \
            }                                                                                      \
        }                                                                                          \
    }

/* `name` is the data file's. */
static const struct {
    const char *name;
    ref_model model;
} cases[] = {
    {"v2", FAMILY("convnextv2.cnx")},
    ABLATION(v1),
    ABLATION(hf_eps, .factors = tiny_features),
    ABLATION(gelu_tanh),
    ABLATION(grn_average),
    ABLATION(grn_l1),
    ABLATION(grn_sum),
    ABLATION(grn_standardize),
    ABLATION(grn_inverse_sum),
    ABLATION(grn_no_normalize),
    ABLATION(grn_no_residual),
    ABLATION(grn_eps_inside, .factors = tiny_hidden),
    ABLATION(grn_batch),
    ABLATION(grn_no_affine),
    ABLATION(grn_layer_scale),
    ABLATION(components_affine),
    ABLATION(components_x_gx),
    ABLATION(components_x_nx),
    ABLATION(lrn, .factors = large_hidden),
    ABLATION(layer_norm),
    ABLATION(batch_norm),
    ABLATION(se),
    ABLATION(cbam),
};

static void equals_pytorch(void **argument) {
    const char *only = *argument && strcmp(*argument, "all") != 0 ? *argument : NULL;
    int checked = 0, wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (only && strcmp(only, cases[i].name) != 0) continue;
        wrong += !ref_check(cases[i].name, &cases[i].model, true, ref_tight);
        checked++;
    }
    assert_true(checked > 0);
    assert_int_equal(wrong, 0);
}

/* usage: test_reference [CASE | all] */
int main(int argc, char **argv) {
    char *argument = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {{"equals_pytorch", equals_pytorch, NULL, NULL, argument}};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
