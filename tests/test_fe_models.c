/* The models that come with cnxc: parameters, MACs, names, shapes, initialisation, metadata. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fe_compile.h"

typedef struct loaded {
    ir_diag *diag;
    fe_model *model;
    ir_graph *graph;
} loaded;

/* Elaborates models/NAME.cnx, which must go well. */
static loaded load(const char *name, const fe_options *options) {
    char path[4096];
    snprintf(path, sizeof path, "%s/models/%s.cnx", CNX_TEST_SOURCE_DIR, name);
    loaded l = {.diag = ir_diag_new()};
    l.model = fe_load(path, NULL, l.diag);
    if (l.model) l.graph = fe_elaborate(l.model, options, NULL, l.diag);
    if (!l.graph) {
        ir_diag_print(l.diag, stderr);
        fail_msg("%s does not elaborate", name);
    }
    assert_int_equal(l.diag->errors, 0);
    return l;
}

static void unload(loaded *l) {
    ir_graph_free(l->graph);
    fe_model_free(l->model);
    ir_diag_free(l->diag);
}

static int64_t count_parameters(const ir_graph *graph) {
    int64_t count = 0;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].op == IR_OP_param) count += ir_type_elements(graph->nodes[i].type);
    return count;
}

static int64_t count_macs(const ir_graph *graph) {
    int64_t macs = 0;
    for (uint32_t i = 0; i < graph->count; i++)
        macs += ir_node_cost(graph, (ir_value){i}).macs;
    return macs;
}

/* Parameters for 1000 classes and multiply-accumulates of one image of 224 x 224. */
static void test_variants(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t parameters, macs;
    } variants[] = {
        {"convnextv2_atto", 3708400, 547332480},      {"convnextv2_femto", 5233240, 779629824},
        {"convnextv2_pico", 9066280, 1367055360},     {"convnextv2_nano", 15623800, 2445528320},
        {"convnextv2_tiny", 28635496, 4455531264},    {"convnextv2_base", 88717800, 15354729472},
        {"convnextv2_large", 197956840, 34361433600}, {"convnextv2_huge", 660289640, 114922100480},
        {"convnextv2_small", 50318440, 8683712256},   {"convnext_atto", 3695520, 547332480},
        {"convnext_femto", 5217784, 779629824},       {"convnext_pico", 9045672, 1367055360},
        {"convnext_nano", 15593560, 2445528320},      {"convnext_tiny", 28589128, 4455531264},
        {"convnext_small", 50223688, 8683712256},     {"convnext_base", 88591464, 15354729472},
        {"convnext_large", 197767336, 34361433600},   {"convnext_xlarge", 350196968, 60921030656},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        loaded l = load(variants[i].name, &(fe_options){.kind = IR_KIND_INFER});
        assert_string_equal(fe_model_name(l.model), variants[i].name);
        assert_int_equal(count_parameters(l.graph), variants[i].parameters);
        assert_int_equal(count_macs(l.graph), variants[i].macs);
        unload(&l);
    }
}

/* ---- names, shapes and first values ---- */

static const ir_node *find_param(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].op == IR_OP_param && strcmp(graph->nodes[i].name, name) == 0)
            return &graph->nodes[i];
    fail_msg("there is no parameter '%s'", name);
    return NULL;
}

typedef struct fact {
    const char *name, *shape, *init;
    double std; /* of trunc_normal */
    bool decayed;
} fact;

static void check_facts(const ir_graph *graph, const fact *facts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const ir_node *node = find_param(graph, facts[i].name);
        ir_text shape = {0};
        ir_type_print(&shape, node->type);
        assert_string_equal(shape.data, facts[i].shape);
        ir_text_free(&shape);
        assert_string_equal(node->attrs.init, facts[i].init);
        if (strcmp(facts[i].init, "trunc_normal") == 0)
            assert_true(node->attrs.std == facts[i].std);
        assert_true(node->attrs.decay == (facts[i].decayed ? -1 : 0));
        assert_true(node->attrs.lr_scale == 1);
    }
}

/* One tensor of every kind. timm names them; biases, norms and GRN are not decayed. */
static void test_atto_parameters(void **state) {
    (void)state;
    static const fact facts[] = {
        {"stem.0.weight", "f32[40,3,4,4]", "trunc_normal", .02, true},
        {"stem.0.bias", "f32[40]", "zeros", 0, false},
        {"stem.1.weight", "f32[40]", "ones", 0, false},
        {"stem.1.bias", "f32[40]", "zeros", 0, false},
        {"stages.0.blocks.0.conv_dw.weight", "f32[40,1,7,7]", "trunc_normal", .02, true},
        {"stages.0.blocks.0.conv_dw.bias", "f32[40]", "zeros", 0, false},
        {"stages.0.blocks.1.norm.weight", "f32[40]", "ones", 0, false},
        {"stages.0.blocks.1.norm.bias", "f32[40]", "zeros", 0, false},
        {"stages.1.downsample.0.weight", "f32[40]", "ones", 0, false},
        {"stages.1.downsample.0.bias", "f32[40]", "zeros", 0, false},
        {"stages.1.downsample.1.weight", "f32[80,40,2,2]", "trunc_normal", .02, true},
        {"stages.1.downsample.1.bias", "f32[80]", "zeros", 0, false},
        {"stages.2.blocks.5.mlp.fc1.weight", "f32[640,160,1,1]", "trunc_normal", .02, true},
        {"stages.2.blocks.5.mlp.fc1.bias", "f32[640]", "zeros", 0, false},
        {"stages.2.blocks.5.mlp.grn.weight", "f32[640]", "zeros", 0, false},
        {"stages.2.blocks.5.mlp.grn.bias", "f32[640]", "zeros", 0, false},
        {"stages.3.blocks.1.mlp.fc2.weight", "f32[320,1280,1,1]", "trunc_normal", .02, true},
        {"stages.3.blocks.1.mlp.fc2.bias", "f32[320]", "zeros", 0, false},
        {"head.norm.weight", "f32[320]", "ones", 0, false},
        {"head.norm.bias", "f32[320]", "zeros", 0, false},
        {"head.fc.weight", "f32[1000,320]", "trunc_normal", .02, true},
        {"head.fc.bias", "f32[1000]", "zeros", 0, false},
    };
    loaded l = load("convnextv2_atto", &(fe_options){.kind = IR_KIND_TRAIN});
    check_facts(l.graph, facts, sizeof facts / sizeof *facts);
    size_t params = 0;
    for (size_t i = 0; i < l.graph->count; i++)
        params += l.graph->nodes[i].op == IR_OP_param;
    assert_int_equal(params, 12 * 10 + 20); /* ten in a block */
    unload(&l);
}

/* The first version: a factor per channel instead of GRN, not decayed. */
static void test_first_version(void **state) {
    (void)state;
    static const fact facts[] = {
        {"stages.0.blocks.1.gamma", "f32[40]", "constant", 1e-6, false},
        {"stages.3.blocks.1.gamma", "f32[320]", "constant", 1e-6, false},
        {"stages.3.blocks.1.mlp.fc2.weight", "f32[320,1280,1,1]", "trunc_normal", .02, true},
    };
    loaded l = load("convnext_atto", &(fe_options){.kind = IR_KIND_TRAIN});
    check_facts(l.graph, facts, sizeof facts / sizeof *facts);
    assert_true(find_param(l.graph, facts[0].name)->attrs.std == 1e-6);
    for (size_t i = 0; i < l.graph->count; i++)
        assert_int_not_equal(l.graph->nodes[i].op, IR_OP_grn);
    unload(&l);
}

/* The small variants store fc1 and fc2 as 1x1 convolutions, the large ones as matrices. */
static void test_pointwise_shapes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        fact fc1, fc2;
    } variants[] = {
#define FC(n) "stages.0.blocks.0.mlp.fc" n ".weight"
        {"convnextv2_femto",
         {FC("1"), "f32[192,48,1,1]", "trunc_normal", .02, true},
         {FC("2"), "f32[48,192,1,1]", "trunc_normal", .02, true}},
        {"convnextv2_pico",
         {FC("1"), "f32[256,64,1,1]", "trunc_normal", .02, true},
         {FC("2"), "f32[64,256,1,1]", "trunc_normal", .02, true}},
        {"convnextv2_nano",
         {FC("1"), "f32[320,80,1,1]", "trunc_normal", .02, true},
         {FC("2"), "f32[80,320,1,1]", "trunc_normal", .02, true}},
        {"convnextv2_tiny",
         {FC("1"), "f32[384,96]", "trunc_normal", .02, true},
         {FC("2"), "f32[96,384]", "trunc_normal", .02, true}},
        {"convnextv2_base",
         {FC("1"), "f32[512,128]", "trunc_normal", .02, true},
         {FC("2"), "f32[128,512]", "trunc_normal", .02, true}},
        {"convnextv2_large",
         {FC("1"), "f32[768,192]", "trunc_normal", .02, true},
         {FC("2"), "f32[192,768]", "trunc_normal", .02, true}},
        {"convnextv2_huge",
         {FC("1"), "f32[1408,352]", "trunc_normal", .02, true},
         {FC("2"), "f32[352,1408]", "trunc_normal", .02, true}},
#undef FC
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        loaded l = load(variants[i].name, &(fe_options){.kind = IR_KIND_INFER});
        check_facts(l.graph, &variants[i].fc1, 1);
        check_facts(l.graph, &variants[i].fc2, 1);
        unload(&l);
    }
}

/* ---- what -D changes ---- */

static const ir_node *find_op(const ir_graph *graph, ir_op op, int number) {
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].op == op && number-- == 0) return &graph->nodes[i];
    return NULL;
}

static void check_type(ir_type type, const char *expected) {
    ir_text text = {0};
    ir_type_print(&text, type);
    assert_string_equal(text.data, expected);
    ir_text_free(&text);
}

static ir_type output_type(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->output_count; i++)
        if (strcmp(graph->outputs[i].name, name) == 0)
            return ir_type_of(graph, graph->outputs[i].value);
    fail_msg("there is no output '%s'", name);
    return (ir_type){0};
}

static void test_defines(void **state) {
    (void)state;
    static const fe_define defines[] = {
        {"image_size", "288"},   {"in_channels", "4"}, {"classes", "21841"},  {"gelu", "tanh"},
        {"grn_scope", "sample"}, {"squash", "true"},   {"drop_path", "0.11"}, {"crop_pct", "1"},
    };
    fe_options options = {.kind = IR_KIND_INFER,
                          .batch = 3,
                          .defines = defines,
                          .define_count = sizeof defines / sizeof *defines};
    loaded l = load("convnextv2_atto", &options);
    check_type(find_op(l.graph, IR_OP_input, 0)->type, "f32[3,4,288,288]");
    check_type(output_type(l.graph, "logits"), "f32[3,21841]");
    check_type(find_op(l.graph, IR_OP_global_avg_pool, 0)->type, "f32[3,320]");
    check_type(find_op(l.graph, IR_OP_depthwise_conv, 11)->type, "f32[3,9,9,320]");
    assert_true(find_op(l.graph, IR_OP_gelu, 0)->attrs.tanh);
    assert_null(find_op(l.graph, IR_OP_drop_path, 0));
    assert_string_equal(ir_get_meta(l.graph, "mean"), "0.5 0.5 0.5 0.5");
    assert_string_equal(ir_get_meta(l.graph, "crop_pct"), "1.0");
    assert_string_equal(ir_get_meta(l.graph, "squash"), "true");
    unload(&l);
}

/* What the family itself checks. */
static void test_wrong_defines(void **state) {
    (void)state;
    static const struct {
        fe_define define;
        const char *message;
    } cases[] = {
        {{"image_size", "16"}, "image_size is 16, at least 32"},
        {{"dims", "[8]"}, "dims is for 1 stages, depths is not"},
        {{"mean", "[0.5]"}, "mean is [0.5], expected a number per channel"},
        {{"std", "[]"}, "std is [], expected a number per channel"},
        {{"class_names", "[\"cat\"]"}, "1 class_names, classes is 1000; -D 'class_names=[]' "},
        {{"grn_scope", "layer"}, "'grn_scope' is \"layer\", expected one of"},
        {{"gelu", "relu"}, "'gelu' is \"relu\", expected one of"},
        {{"drop_path", "1"}, "'drop_path' is 1, expected 0 to 0.999999"},
        {{"classes", "0"}, "'channels' of linear is 0"},
        {{"in_channels", "-3"}, "in_channels is -3, at least 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ir_diag *diag = ir_diag_new();
        fe_model *model = fe_load(CNX_TEST_SOURCE_DIR "/models/convnextv2_atto.cnx", NULL, diag);
        fe_options options = {.defines = &cases[i].define, .define_count = 1};
        assert_non_null(model);
        assert_null(fe_elaborate(model, &options, NULL, diag));
        assert_int_equal(diag->errors, 1);
        if (strncmp(diag->messages[0].text, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("found '%s', expected '%s'", diag->messages[0].text, cases[i].message);
        fe_model_free(model);
        ir_diag_free(diag);
    }
}

/* Sizes that are no multiple of 32 floor at each stage. */
static void test_image_sizes(void **state) {
    (void)state;
    static const struct {
        const char *size, *last;
    } sizes[] = {{"32", "f32[1,1,1,320]"},  {"63", "f32[1,1,1,320]"},  {"160", "f32[1,5,5,320]"},
                 {"225", "f32[1,7,7,320]"}, {"250", "f32[1,7,7,320]"}, {"512", "f32[1,16,16,320]"}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fe_define define = {"image_size", sizes[i].size};
        fe_options options = {.kind = IR_KIND_INFER, .defines = &define, .define_count = 1};
        loaded l = load("convnextv2_atto", &options);
        check_type(find_op(l.graph, IR_OP_depthwise_conv, 11)->type, sizes[i].last);
        unload(&l);
    }
}

/* Block j of 12 drops with rate j / 11 of the last one's; only while training with random numbers.
 */
static void test_drop_path(void **state) {
    (void)state;
    static const fe_define defines[] = {{"drop_path", "0.22"}};
    fe_options options = {
        .kind = IR_KIND_TRAIN, .random = true, .defines = defines, .define_count = 1};
    loaded l = load("convnextv2_atto", &options);
    for (int j = 1; j < 12; j++) {
        const ir_node *drop = find_op(l.graph, IR_OP_drop_path, j - 1);
        assert_non_null(drop);
        double rate = 0.22 * j / 11;
        assert_true(drop->attrs.rate > rate - 1e-15 && drop->attrs.rate < rate + 1e-15);
        for (int k = 1; k < j; k++)
            assert_int_not_equal(drop->attrs.stream,
                                 find_op(l.graph, IR_OP_drop_path, k - 1)->attrs.stream);
    }
    assert_null(find_op(l.graph, IR_OP_drop_path, 11));
    unload(&l);
    options.random = false;
    l = load("convnextv2_atto", &options);
    assert_null(find_op(l.graph, IR_OP_drop_path, 0));
    unload(&l);
}

/* The loss takes label smoothing and drop path from the recipe unless it is to be plain. */
static void test_recipe_shapes_the_graph(void **state) {
    (void)state;
    fe_options options = {.kind = IR_KIND_TRAIN, .random = true};
    loaded l = load("convnextv2_atto", &options);
    assert_true(find_op(l.graph, IR_OP_cross_entropy, 0)->attrs.smoothing == 0.1);
    assert_true(find_op(l.graph, IR_OP_drop_path, 10)->attrs.rate == 0.1);
    check_type(find_op(l.graph, IR_OP_input, 1)->type, "i64[64]");
    check_type(output_type(l.graph, "loss"), "f32[]");
    unload(&l);
    options.plain_loss = true;
    options.batch = 2;
    l = load("convnextv2_atto", &options);
    assert_true(find_op(l.graph, IR_OP_cross_entropy, 0)->attrs.smoothing == 0);
    assert_null(find_op(l.graph, IR_OP_drop_path, 0));
    check_type(output_type(l.graph, "logits"), "f32[2,1000]");
    unload(&l);
    static const fe_define defines[] = {{"label_smoothing", "0.2"}};
    options.defines = defines;
    options.define_count = 1;
    l = load("convnextv2_atto", &options);
    assert_true(find_op(l.graph, IR_OP_cross_entropy, 0)->attrs.smoothing == 0.2);
    unload(&l);
}

static void test_fashion(void **state) {
    (void)state;
    fe_options options = {.kind = IR_KIND_TRAIN, .random = true};
    loaded l = load("fashion", &options);
    assert_string_equal(fe_model_name(l.model), "fashion");
    check_type(find_op(l.graph, IR_OP_input, 0)->type, "f32[64,1,28,28]");
    check_type(output_type(l.graph, "logits"), "f32[64,10]");
    assert_string_equal(ir_get_meta(l.graph, "class_names"),
                        "t-shirt\ntrouser\npullover\ndress\ncoat\nsandal\nshirt\nsneaker\nbag\n"
                        "ankle boot");
    assert_string_equal(ir_get_meta(l.graph, "mean"), "0.286");
    assert_string_equal(ir_get_meta(l.graph, "std"), "0.353");
    assert_in_range(count_macs(l.graph) / 64, 2000000, 20000000);
    fe_recipe recipe;
    assert_true(fe_resolve_recipe(l.model, &options, &recipe, l.diag));
    assert_string_equal(recipe.name, "default");
    assert_string_equal(recipe.optimizer, "adamw");
    unload(&l);
}

/* Every file of the folder loads; a variant is at most five lines. */
static void test_variants_are_short(void **state) {
    (void)state;
    static const char *const names[] = {"convnextv2_atto", "convnextv2_femto", "convnextv2_pico",
                                        "convnextv2_nano", "convnextv2_tiny",  "convnextv2_small",
                                        "convnextv2_base", "convnextv2_large", "convnextv2_huge",
                                        "convnext_atto",   "convnext_femto",   "convnext_pico",
                                        "convnext_nano",   "convnext_tiny",    "convnext_small",
                                        "convnext_base",   "convnext_large",   "convnext_xlarge"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096], line[256];
        snprintf(path, sizeof path, "%s/models/%s.cnx", CNX_TEST_SOURCE_DIR, names[i]);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        int lines = 0;
        while (fgets(line, sizeof line, file))
            lines++;
        fclose(file);
        assert_in_range(lines, 1, 5);
    }
}

/* Elaborates for inference and training; a family alone lacks values, and only those. */
static void check_file(const char *path) {
    for (int train = 0; train < 2; train++) {
        ir_diag *diag = ir_diag_new();
        fe_model *model = fe_load(path, NULL, diag);
        fe_options options = {
            .kind = train ? IR_KIND_TRAIN : IR_KIND_INFER, .batch = 2, .random = true};
        ir_graph *graph = model ? fe_elaborate(model, &options, NULL, diag) : NULL;
        for (size_t i = 0; i < diag->count; i++)
            if (!strstr(diag->messages[i].text, "needs a value for")) {
                ir_diag_print(diag, stderr);
                fail_msg("%s is wrong", path);
            }
        ir_graph_free(graph);
        fe_model_free(model);
        ir_diag_free(diag);
    }
}

static void test_every_file(void **state) {
    (void)state;
    static const char *const patterns[] = {CNX_TEST_SOURCE_DIR "/models/*.cnx",
                                           CNX_TEST_SOURCE_DIR "/models/*/*.cnx"};
    glob_t found = {0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(glob(patterns[i], i ? GLOB_APPEND : 0, NULL, &found), 0);
    assert_in_range(found.gl_pathc, 20, 1000);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_file(found.gl_pathv[i]);
    globfree(&found);
}

static void test_huge_elaborates_fast(void **state) {
    (void)state;
    clock_t start = clock();
    loaded l = load("convnextv2_huge", &(fe_options){.kind = IR_KIND_TRAIN, .random = true});
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 5) fail_msg("took %g s", seconds);
    unload(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_atto_parameters),
        cmocka_unit_test(test_first_version),
        cmocka_unit_test(test_pointwise_shapes),
        cmocka_unit_test(test_defines),
        cmocka_unit_test(test_wrong_defines),
        cmocka_unit_test(test_image_sizes),
        cmocka_unit_test(test_drop_path),
        cmocka_unit_test(test_recipe_shapes_the_graph),
        cmocka_unit_test(test_fashion),
        cmocka_unit_test(test_variants_are_short),
        cmocka_unit_test(test_every_file),
        cmocka_unit_test(test_huge_elaborates_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
