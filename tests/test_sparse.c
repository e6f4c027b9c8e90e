/* Tile-sparse programs against their masked-dense form: loss, prediction, every gradient, ten AdamW
 * steps, over mask ratios, image sizes and batches; permuted samples give permuted results, bit for
 * bit; a prediction of zero gives the loss it must give. cnx-test: release timeout=900
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reference_program.h"

#include <math.h>

#define NARROW                                                                                     \
    {"dims", "[8, 16, 24, 32]"}, {"depths", "[1, 1, 2, 1]"}, {"decoder_dim", "16"},                \
        {"image_size", size}, {                                                                    \
        "mask_ratio", ratio                                                                        \
    }

/* Draws masks instead of the generator's. */
static void ask_for_masks(ref_program *p) {
    ref_tensor *mask = ref_io(p, "mask");
    for (int64_t i = 0; i < ir_type_elements(mask->type); i++)
        ((float *)mask->data)[i] = -1;
}

static double norm_error(const float *a, const float *b, int64_t count) {
    double off = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return norm > 0 ? sqrt(off / norm) : sqrt(off);
}

/* The largest gradient decides what is noise: a gradient 1e-5 of it in norm is rounding of zero. */
static double largest_gradient(const ref_program *p) {
    double most = 0;
    for (size_t i = 0; i < p->io_count; i++) {
        if (strncmp(p->io[i].name, "grad.", 5) != 0) continue;
        double sum = 0;
        for (int64_t k = 0; k < ir_type_elements(p->io[i].type); k++)
            sum += pow(((float *)p->io[i].data)[k], 2);
        most = fmax(most, sqrt(sum));
    }
    return most;
}

static void same_outputs(const ref_program *a, const ref_program *b, const char *what) {
    double most = largest_gradient(b);
    int compared = 0;
    for (size_t i = 0; i < b->io_count; i++) {
        if (!b->io[i].output) continue;
        const ref_tensor *t = ref_io(a, b->io[i].name);
        assert_non_null(t);
        assert_true(ir_type_equal(t->type, b->io[i].type));
        int64_t count = ir_type_elements(t->type);
        double error = norm_error(t->data, b->io[i].data, count), norm = 0;
        for (int64_t k = 0; k < count; k++)
            norm += pow(((float *)b->io[i].data)[k], 2);
        bool gradient = strncmp(t->name, "grad.", 5) == 0;
        double limit = gradient ? fmax(1e-5, 1e-6 * most / fmax(sqrt(norm), 1e-30)) : 1e-5;
        if (!(error <= limit))
            print_error("norm of b %g error %g limit %g first %g %g\n", sqrt(norm), error, limit,
                        ((float *)t->data)[5], ((float *)b->io[i].data)[5]);
        if (!(error <= limit)) fail_msg("%s: %s differs by %g", what, t->name, error);
        compared++;
    }
    assert_true(compared > 50);
}

static void same_weights(const ref_program *a, const ref_program *b, const char *what) {
    for (size_t i = 0; i < a->plan->weight_count; i++) {
        const ir_weight *w = &a->plan->weights[i];
        int64_t count = ir_type_elements(w->type);
        double error = norm_error(ref_now(a, w), ref_now(b, &b->plan->weights[i]), count);
        if (!(error <= 1e-4))
            fail_msg("%s: %s differs by %g after ten steps", what, w->name, error);
    }
}

static void check_with(const char *size, const char *ratio, int64_t batch, fe_define more) {
    const char *model = "fcmae.cnx";
    ref_model sparse = {.path = model, .defines = {NARROW, more}, .batch = batch, .kept = 1};
    ref_model dense = sparse;
    dense.densify = true;
    char what[128];
    snprintf(what, sizeof what, "%s, %s pixels, ratio %s, batch %d", model, size, ratio,
             (int)batch);
    for (int kind = 0; kind < 2; kind++) {
        ref_program a, b;
        ref_build(&a, &sparse, kind ? IR_KIND_TRAIN : IR_KIND_GRAD);
        ref_build(&b, &dense, kind ? IR_KIND_TRAIN : IR_KIND_GRAD);
        ask_for_masks(&a);
        ask_for_masks(&b);
        for (uint64_t step = 1; step <= (kind ? 10 : 1); step++) {
            ref_step(&a, kind ? 1e-3f : 0, step);
            ref_step(&b, kind ? 1e-3f : 0, step);
            double x = *(float *)ref_io(&a, "loss")->data, y = *(float *)ref_io(&b, "loss")->data;
            if (!(fabs(x - y) <= 1e-5 * fabs(y))) fail_msg("%s: losses %g and %g", what, x, y);
        }
        if (kind)
            same_weights(&a, &b, what);
        else
            same_outputs(&a, &b, what);
        ref_free(&a);
        ref_free(&b);
    }
}

static void check(const char *size, const char *ratio, int64_t batch) {
    check_with(size, ratio, batch, (fe_define){0});
}

static void equals_its_masked_dense_form(void **unused) {
    (void)unused;
    check("64", "0.6", 5);
    check("64", "0.3", 1);
    check("128", "0.3", 5);
    check("128", "0.6", 1);
    check("128", "0.9", 5);
    check("224", "0.6", 5);
    check("224", "0.9", 1);
}

/* What stands in GRN's place has statistics of its own: over kept sites only. */
static void so_do_the_ablations(void **unused) {
    (void)unused;
    check_with("128", "0.6", 3, (fe_define){"between", "\"batch_norm\""});
    check_with("128", "0.6", 3, (fe_define){"between", "\"layer_norm\""});
    check_with("128", "0.6", 3, (fe_define){"between", "\"lrn\""});
    check_with("128", "0.6", 3, (fe_define){"between", "\"se\""});
    check_with("128", "0.6", 3, (fe_define){"between", "\"cbam\""});
    check_with("128", "0.6", 3, (fe_define){"grn_scope", "\"batch\""});
    check_with("128", "0.6", 3, (fe_define){"grn_aggregate", "\"l1\""});
    check_with("128", "0.6", 3, (fe_define){"grn_normalize", "\"standardize\""});
    check_with("128", "0.6", 3, (fe_define){"layer_scale", "0.5"});
}

/* Every tile kept: the dense encoder. */
static void all_kept_equals_the_dense_encoder(void **unused) {
    (void)unused;
    ref_model dense = {.path = "../tests/models/features_dense.cnx", .batch = 2};
    ref_model sparse = {.path = "../tests/models/features_all_kept.cnx", .batch = 2, .kept = 16};
    ref_program a, b;
    ref_build(&a, &dense, IR_KIND_INFER);
    ref_build(&b, &sparse, IR_KIND_INFER);
    ref_step(&a, 0, 1);
    ref_step(&b, 0, 1);
    ref_tensor *x = ref_io(&a, "pred"), *y = ref_io(&b, "pred");
    assert_true(ir_type_equal(x->type, y->type));
    double error = norm_error(x->data, y->data, ir_type_elements(x->type));
    if (!(error <= 1e-6)) fail_msg("features differ by %g", error);
    ref_free(&a);
    ref_free(&b);
}

static void swap_samples(ref_tensor *t) {
    int64_t rows = t->type.dim[0], count = ir_type_elements(t->type) / rows;
    float *x = t->data;
    for (int64_t i = 0; i < count; i++) {
        float keep = x[i];
        x[i] = x[(rows - 1) * count + i];
        x[(rows - 1) * count + i] = keep;
    }
}

static void permuted_samples_permute_results(void **unused) {
    (void)unused;
    const char *size = "128", *ratio = "0.6";
    ref_model m = {.path = "fcmae.cnx", .defines = {NARROW}, .batch = 3, .kept = 6};
    ref_program p;
    ref_build(&p, &m, IR_KIND_INFER);
    ref_step(&p, 0, 1);
    ref_tensor *pred = ref_io(&p, "pred");
    int64_t bytes = ir_type_bytes(pred->type);
    ref_tensor before = *pred;
    before.data = malloc((size_t)bytes);
    memcpy(before.data, pred->data, (size_t)bytes);
    swap_samples(ref_io(&p, "image"));
    swap_samples(ref_io(&p, "mask"));
    ref_step(&p, 0, 1);
    assert_memory_not_equal(before.data, pred->data, (size_t)bytes);
    swap_samples(&before);
    assert_memory_equal(before.data, pred->data, (size_t)bytes);
    free(before.data);
    ref_free(&p);
}

/* Every parameter of the prediction zero: loss is the mean square of the targets, 3071/3072. */
static void zero_prediction_gives_the_variance(void **unused) {
    (void)unused;
    const char *size = "224", *ratio = "0.6";
    ref_model m = {.path = "fcmae.cnx", .defines = {NARROW}, .batch = 2, .kept = 19};
    ref_program p;
    ref_build(&p, &m, IR_KIND_GRAD);
    for (size_t i = 0; i < p.plan->weight_count; i++) {
        const ir_weight *w = &p.plan->weights[i];
        if (strncmp(w->name, "pred.", 5) == 0)
            memset(p.first + w->offset, 0, (size_t)ir_type_bytes(w->type));
    }
    assert_int_equal(cg_jit_init(p.jit, p.state, p.first), CNX_OK);
    ref_step(&p, 0, 1);
    double loss = *(float *)ref_io(&p, "loss")->data;
    if (!(fabs(loss - 3071.0 / 3072) < 2e-5)) fail_msg("loss %.7f, expected 0.99967", loss);
    ref_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_its_masked_dense_form),
                                       cmocka_unit_test(so_do_the_ablations),
                                       cmocka_unit_test(all_kept_equals_the_dense_encoder),
                                       cmocka_unit_test(permuted_samples_permute_results),
                                       cmocka_unit_test(zero_prediction_gives_the_variance)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
