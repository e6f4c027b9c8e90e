/* Learning rates by layer and the first values of the head: the numbers of the official
 * optimizer groups. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fe_compile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const directories[] = {CNX_TEST_SOURCE_DIR "/models", NULL};

/* The training graph of a text after its recipe; NULL with messages. */
static ir_graph *tune(const char *text, const fe_define *defines, size_t count, ir_diag *diag) {
    fe_options options = {
        .kind = IR_KIND_TRAIN, .batch = 1, .defines = defines, .define_count = count};
    fe_recipe recipe;
    ir_graph *graph = NULL;
    fe_model *model = fe_load_text("net.cnx", text, directories, diag);
    if (model) graph = fe_elaborate(model, &options, &recipe, diag);
    if (graph && !fe_fine_tune(graph, &recipe, diag)) {
        ir_graph_free(graph);
        graph = NULL;
    }
    if (model) fe_model_free(model);
    return graph;
}

static const ir_node *find_param(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].op == IR_OP_param && strcmp(graph->nodes[i].name, name) == 0)
            return &graph->nodes[i];
    fail_msg("no parameter '%s'", name);
    return NULL;
}

typedef struct fact {
    const char *name;
    int steps; /* factors of layer_decay */
} fact;

static void check(const char *text, const fe_define *defines, size_t count, const fact *facts) {
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = tune(text, defines, count, diag);
    if (!graph) ir_diag_print(diag, stderr);
    assert_non_null(graph);
    double decay = strtod(defines[0].value, NULL);
    for (; facts->name; facts++) {
        double found = find_param(graph, facts->name)->attrs.lr_scale;
        double expected = pow(decay, facts->steps);
        if (fabs(found - expected) > 1e-12)
            print_error("%s: %g, expected %g\n", facts->name, found, expected);
        assert_true(fabs(found - expected) <= 1e-12);
    }
    ir_graph_free(graph);
    ir_diag_free(diag);
}

/* Atto: twelve blocks, the smallest scale 0.9^12 = 0.2824. */
static void single_layers(void **unused) {
    (void)unused;
    static const fe_define defines[] = {{"layer_decay", "0.9"}};
    static const fact facts[] = {{"stem.0.weight", 12},
                                 {"stem.1.bias", 12},
                                 {"stages.0.blocks.0.conv_dw.weight", 12},
                                 {"stages.0.blocks.1.mlp.grn.weight", 11},
                                 {"stages.1.downsample.0.weight", 10},
                                 {"stages.1.blocks.0.norm.bias", 10},
                                 {"stages.2.downsample.1.weight", 8},
                                 {"stages.2.blocks.5.mlp.fc1.weight", 3},
                                 {"stages.3.downsample.1.bias", 2},
                                 {"stages.3.blocks.1.mlp.fc2.bias", 1},
                                 {"head.norm.weight", 0},
                                 {"head.fc.weight", 0},
                                 {0}};
    check("use \"convnextv2_atto.cnx\"\n", defines, 1, facts);
    assert_true(fabs(pow(0.9, facts[0].steps) - 0.2824) < 5e-5);
}

/* Base: thirteen layers, from 0.6^13 = 1.31e-3 at the stem. */
static void groups_of_layers(void **unused) {
    (void)unused;
    static const fe_define defines[] = {{"layer_decay", "0.6"}, {"layer_decay_kind", "group"}};
    static const fact facts[] = {{"stem.0.weight", 13},
                                 {"stages.0.blocks.0.conv_dw.weight", 12},
                                 {"stages.0.blocks.2.conv_dw.weight", 12},
                                 {"stages.1.downsample.1.weight", 11},
                                 {"stages.1.blocks.2.norm.bias", 11},
                                 {"stages.2.downsample.1.weight", 10},
                                 {"stages.2.blocks.2.norm.weight", 10},
                                 {"stages.2.blocks.3.norm.weight", 9},
                                 {"stages.2.blocks.26.norm.weight", 2},
                                 {"stages.3.downsample.1.weight", 1},
                                 {"stages.3.blocks.2.mlp.fc2.bias", 1},
                                 {"head.fc.bias", 0},
                                 {0}};
    check("use \"convnextv2_base.cnx\"\n", defines, 2, facts);
    assert_true(fabs(pow(0.6, facts[0].steps) - 1.31e-3) < 5e-6);
}

static void quiet_head(void **unused) {
    (void)unused;
    static const fe_define defines[] = {{"head_init", "0.001"}};
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = tune("use \"convnextv2_atto.cnx\"\n", defines, 1, diag);
    assert_non_null(graph);
    assert_true(fabs(find_param(graph, "head.fc.weight")->attrs.std - 2e-5) < 1e-18);
    assert_true(find_param(graph, "stem.0.weight")->attrs.std == 0.02);
    assert_true(find_param(graph, "stem.0.weight")->attrs.lr_scale == 1);
    assert_string_equal(find_param(graph, "head.fc.bias")->attrs.init, "zeros");
    ir_graph_free(graph);
    ir_diag_free(diag);
}

/* Vectors and whatever is called bias, gamma or beta keep their size, GRN's too. */
static void what_decays(void **unused) {
    (void)unused;
    static const fe_define defines[] = {{"layer_decay", "0.9"}};
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = tune("use \"convnextv2_atto.cnx\"\n", defines, 1, diag);
    assert_non_null(graph);
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op != IR_OP_param) continue;
        assert_true(node->attrs.decay == (node->type.rank > 1 ? -1 : 0));
    }
    ir_graph_free(graph);
    ir_diag_free(diag);
}

/* The official pre-training decays whatever has more than one dimension there, and GRN has four. */
static void pretraining_decays_grn(void **unused) {
    (void)unused;
    static const fe_define defines[] = {{"decoder_dim", "16"}};
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = tune("use \"fcmae_atto.cnx\"\n", defines, 1, diag);
    assert_non_null(graph);
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op != IR_OP_param) continue;
        bool grn = strstr(node->name, ".mlp.grn.") != NULL;
        assert_true(node->attrs.decay == (grn || node->type.rank > 1 ? -1 : 0));
    }
    assert_true(find_param(graph, "decoder.0.mlp.grn.bias")->attrs.decay == -1);
    assert_true(find_param(graph, "mask_token")->attrs.decay == -1);
    ir_graph_free(graph);
    ir_diag_free(diag);
}

static void refuses(void **unused) {
    (void)unused;
    static const fe_define single[] = {{"layer_decay", "0.9"}};
    static const fe_define group[] = {{"layer_decay", "0.9"}, {"layer_decay_kind", "group"}};
    static const struct {
        const char *text;
        const fe_define *defines;
        size_t count;
        const char *message;
    } wrong[] = {
        {"model net {\n    input image: f32[batch, 4]\n    input label: i64[batch]\n"
         "    output logits = head: linear(image, 3)\n"
         "    output loss = cross_entropy(logits, label)\n}\n",
         single, 1, "needs parameters called stages.S.blocks.B, 'net' has none"},
        {"use \"fashion.cnx\"\n", group, 2, "is for 4 stages with up to 27 blocks in stage 2"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ir_diag *diag = ir_diag_new();
        assert_null(tune(wrong[i].text, wrong[i].defines, wrong[i].count, diag));
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        ir_diag_print(diag, out);
        fclose(out);
        if (!strstr(text, wrong[i].message)) print_error("%s", text);
        assert_non_null(strstr(text, wrong[i].message));
        free(text);
        ir_diag_free(diag);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_layers),
        cmocka_unit_test(groups_of_layers),
        cmocka_unit_test(quiet_head),
        cmocka_unit_test(what_decays),
        cmocka_unit_test(pretraining_decays_grn),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
