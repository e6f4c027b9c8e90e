/* FCMAE with given masks against masked-dense PyTorch: loss, prediction, every gradient, ten AdamW
 * steps, of small-width models with every ablation in the sparse encoder, of the baselines without
 * sparse convolution, and of Atto (tests/reference/fcmae.py). cnx-test: release timeout=900
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reference_compare.h"

/* 128 pixels: 4 x 4 patches, of which int(16 * 0.4) = 6 are kept. */
#define SMALL                                                                                      \
    {"dims", "[8, 16, 24, 32]"}, {"depths", "[1, 1, 2, 1]"}, {"conv", "true"},                     \
        {"image_size", "128"}, {"decoder_dim", "16"}
#define SPARSE(...)                                                                                \
    {.path = "fcmae.cnx", .defines = {SMALL, __VA_ARGS__}, .batch = 3, .kept = 6, .beta2 = 0.95}
#define WITH(factor_list, ...)                                                                     \
    {.path = "fcmae.cnx",                                                                          \
     .defines = {SMALL, __VA_ARGS__},                                                              \
     .factors = factor_list,                                                                       \
     .batch = 3,                                                                                   \
     .kept = 6,                                                                                    \
     .beta2 = 0.95}
#define BASELINE(file)                                                                             \
    {.path = file,                                                                                 \
     .defines = {{"dims", "[8, 16, 24, 32]"},                                                      \
                 {"depths", "[1, 1, 2, 1]"},                                                       \
                 {"image_size", "128"},                                                            \
                 {"decoder_dim", "16"}},                                                           \
     .batch = 3,                                                                                   \
     .kept = 6,                                                                                    \
     .beta2 = 0.95}
#define ENCODER(between) {"between", "\"" between "\""}
#define LAYER_SCALE {"layer_scale", "1e-6"}

/* As FACTORS in models.py and fcmae.py. */
static const ref_factor tiny_hidden[] = {
    {".mlp.fc1.weight", 0x1p-11f}, {".mlp.fc1.bias", 0x1p-11f}, {0}};
static const ref_factor large_hidden[] = {{".mlp.fc1.weight", 4}, {"pred.bias", 4}, {0}};
static const ref_factor large_proj[] = {{"proj.bias", 2}, {0}};
static const ref_factor large_pred[] = {{"pred.bias", 4}, {0}};

/* `name` is the data file's. */
static const struct {
    const char *name;
    ref_model model;
} cases[] = {
    {"fcmae", SPARSE({0})},
    {"fcmae_depth2",
     {.path = "fcmae.cnx",
      .defines = {{"dims", "[8, 16, 24, 32]"},
                  {"depths", "[1, 1, 2, 1]"},
                  {"conv", "true"},
                  {"image_size", "128"},
                  {"decoder_dim", "24"},
                  {"decoder_depth", "2"}},
      .batch = 3,
      .kept = 6,
      .beta2 = 0.95}},
    {"fcmae_gelu_tanh", SPARSE({"gelu", "\"tanh\""})},
    {"fcmae_grn_batch", SPARSE({"grn_scope", "\"batch\""})},
    {"fcmae_grn_average", SPARSE({"grn_aggregate", "\"mean\""})},
    {"fcmae_grn_l1", SPARSE({"grn_aggregate", "\"l1\""})},
    {"fcmae_grn_sum", SPARSE({"grn_normalize", "\"sum\""})},
    {"fcmae_grn_standardize", SPARSE({"grn_normalize", "\"standardize\""})},
    {"fcmae_grn_inverse_sum", SPARSE({"grn_normalize", "\"inverse_sum\""})},
    {"fcmae_grn_no_normalize", SPARSE({"grn_normalize", "\"none\""})},
    {"fcmae_grn_no_residual", WITH(large_pred, {"grn_residual", "false"})},
    {"fcmae_grn_eps_inside", WITH(tiny_hidden, {"grn_eps_inside", "true"})},
    {"fcmae_grn_no_affine", SPARSE({"grn_affine", "false"})},
    {"fcmae_grn_layer_scale", SPARSE(LAYER_SCALE)},
    {"fcmae_components_affine", SPARSE(ENCODER("affine"))},
    {"fcmae_components_x_gx",
     WITH(large_proj, {"grn_normalize", "\"none\""}, {"grn_residual", "false"})},
    {"fcmae_components_x_nx", SPARSE({"grn_aggregate", "\"none\""}, {"grn_residual", "false"})},
    {"fcmae_lrn", WITH(large_hidden, ENCODER("lrn"))},
    {"fcmae_layer_norm", SPARSE(ENCODER("layer_norm"))},
    {"fcmae_batch_norm", SPARSE(ENCODER("batch_norm"))},
    {"fcmae_se", SPARSE(ENCODER("se"))},
    {"fcmae_cbam", SPARSE(ENCODER("cbam"))},
    {"fcmae_v1", SPARSE({"encoder", "\"v1\""})},
    {"fcmae_leak", BASELINE("ablations/fcmae_leak.cnx")},
    {"fcmae_input_token", BASELINE("ablations/fcmae_input_token.cnx")},
    {"fcmae_atto", {.path = "fcmae_atto.cnx", .batch = 4, .kept = 19, .beta2 = 0.95, .lr = 1e-4f}},
};

/* Not an ablation of the encoder. */
static bool is_main(const char *name) {
    static const char *const names[] = {"fcmae",      "fcmae_depth2",      "fcmae_grn_batch",
                                        "fcmae_leak", "fcmae_input_token", "fcmae_atto"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* argument: a case, or "all"; without one, ablations leave out the ten steps. */
static void equals_pytorch(void **argument) {
    const char *only = *argument && strcmp(*argument, "all") != 0 ? *argument : NULL;
    int checked = 0, wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (only && strcmp(only, cases[i].name) != 0) continue;
        bool steps = *argument || is_main(cases[i].name);
        wrong += !ref_check(cases[i].name, &cases[i].model, steps, ref_tight);
        checked++;
    }
    assert_true(checked > 0);
    assert_int_equal(wrong, 0);
}

/* usage: test_reference_fcmae [CASE | all] */
int main(int argc, char **argv) {
    char *argument = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {{"equals_pytorch", equals_pytorch, NULL, NULL, argument}};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
