/* Full-size members of the family against timm, with weights from the generator: Atto's logits at
 * three sizes, its loss, every gradient and ten AdamW steps (tests/reference/make_full.py).
 * tests/reference_full.sh asks for `all`: every variant. cnx-test: release serial timeout=900
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reference_compare.h"

/* A tensor of logits.safetensors: "convnextv2_atto.224". Compares one forward pass with it. */
static bool check_logits(const rt_tensor *expected) {
    char path[256], size[16];
    const char *dot = strrchr(expected->name, '.');
    assert_non_null(dot);
    snprintf(path, sizeof path, "%.*s.cnx", (int)(dot - expected->name), expected->name);
    snprintf(size, sizeof size, "%s", dot + 1);
    ref_model model = {.path = path, .defines = {{"image_size", size}}, .batch = expected->dim[0]};
    ref_report report = {.name = expected->name};
    ref_compare_logits(&report, expected, &model);
    return ref_judge(&report, ref_asked);
}

static bool is_small(const char *name) {
    static const char *const names[] = {"convnextv2_atto.160", "convnextv2_atto.224",
                                        "convnextv2_atto.288"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static void logits(void **all) {
    rt_tensors *file = ref_open("logits");
    int checked = 0, wrong = 0;
    for (size_t i = 0; i < rt_tensors_count(file); i++) {
        const rt_tensor *t = rt_tensors_at(file, i);
        if (!*all && !is_small(t->name)) continue;
        wrong += !check_logits(t);
        checked++;
    }
    rt_tensors_close(file);
    assert_true(checked >= 3);
    assert_int_equal(wrong, 0);
}

static void atto_trains(void **unused) {
    (void)unused;
    ref_model model = {.path = "convnextv2_atto.cnx", .batch = 4, .lr = 1e-4f};
    assert_true(ref_check("atto", &model, true, ref_asked));
}

int main(int argc, char **argv) {
    void *all = argc > 1 && strcmp(argv[1], "all") == 0 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {
        {"logits", logits, NULL, NULL, all},
        cmocka_unit_test(atto_trains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
