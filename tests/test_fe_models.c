/* The models that come with cnxc: parameters, MACs, names, shapes, initialisation, metadata. */
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
    if (l.model) l.graph = fe_elaborate(l.model, options, l.diag);
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
    for (uint32_t i = 0; i < graph->count; i++) macs += ir_node_cost(graph, (ir_value){i}).macs;
    return macs;
}

/* Parameters for 1000 classes and multiply-accumulates of one image of 224 x 224. */
static void test_variants(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t parameters, macs;
    } variants[] = {
        {"convnextv2_atto", 3708400, 547332480},
        {"convnextv2_femto", 5233240, 779629824},
        {"convnextv2_pico", 9066280, 1367055360},
        {"convnextv2_nano", 15623800, 2445528320},
        {"convnextv2_tiny", 28635496, 4455531264},
        {"convnextv2_base", 88717800, 15354729472},
        {"convnextv2_large", 197956840, 34361433600},
        {"convnextv2_huge", 660289640, 114922100480},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        loaded l = load(variants[i].name, &(fe_options){.kind = IR_KIND_INFER});
        assert_string_equal(fe_model_name(l.model), variants[i].name);
        assert_int_equal(count_parameters(l.graph), variants[i].parameters);
        assert_int_equal(count_macs(l.graph), variants[i].macs);
        unload(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
