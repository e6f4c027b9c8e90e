/* FCMAE with given masks against masked-dense PyTorch: loss, prediction, every gradient, ten AdamW
 * steps, of small-width models and of Atto (tests/reference/fcmae.py). cnx-test: codegen
 * timeout=900
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reference_compare.h"

/* 128 pixels: 4 x 4 patches, of which int(16 * 0.4) = 6 are kept. */
#define SMALL                                                                                      \
    {"dims", "[8, 16, 24, 32]"}, {"depths", "[1, 1, 2, 1]"}, {"conv", "true"}, {"image_size", "128"}

enum { BATCH = 3, KEPT = 6 };

/* `name` is the data file's. */
static const struct {
    const char *name;
    ref_model model;
    float lr;
} cases[] = {
    {"fcmae",
     {.path = "fcmae.cnx",
      .defines = {SMALL, {"decoder_dim", "16"}},
      .batch = BATCH,
      .kept = KEPT,
      .beta2 = 0.95},
     1e-3f},
    {"fcmae_depth2",
     {.path = "fcmae.cnx",
      .defines = {SMALL, {"decoder_dim", "24"}, {"decoder_depth", "2"}},
      .batch = BATCH,
      .kept = KEPT,
      .beta2 = 0.95},
     1e-3f},
    {"fcmae_atto", {.path = "fcmae_atto.cnx", .batch = 4, .kept = 19, .beta2 = 0.95}, 1e-4f},
};

static bool check(const char *name, const ref_model *model, float lr) {
    rt_tensors *file = ref_open(name);
    ref_report report = {.name = name};
    ref_program p;
    ref_build(&p, model, IR_KIND_GRAD);
    ref_step(&p, 0, 1);
    ref_compare_outputs(&report, file, &p);
    ref_free(&p);
    ref_build(&p, model, IR_KIND_TRAIN);
    ref_compare_steps(&report, file, &p, lr);
    ref_free(&p);
    rt_tensors_close(file);
    return ref_judge(&report, ref_tight);
}

static void equals_pytorch(void **unused) {
    (void)unused;
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong += !check(cases[i].name, &cases[i].model, cases[i].lr);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_pytorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
