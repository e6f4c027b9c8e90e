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
    {"dims", "[8, 16, 24, 32]"}, {"depths", "[1, 1, 2, 1]"}, {"conv", "true"}, {"classes", "10"},  \
        {"image_size", "64"}

enum { BATCH = 3 };

/* `name` is the data file's. */
static const struct {
    const char *name;
    ref_model model;
} cases[] = {
    {"v2", {.path = "convnextv2.cnx", .defines = {SMALL}, .batch = BATCH}},
    {"v1", {.path = "convnext.cnx", .defines = {SMALL}, .batch = BATCH}},
    {"gelu_tanh",
     {.path = "convnextv2.cnx", .defines = {SMALL, {"gelu", "\"tanh\""}}, .batch = BATCH}},
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
