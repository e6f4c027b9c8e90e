/* Lowering: plans of a small network, interpreted, give what the reference evaluator gives; with
 * every optional pass on, with each off, and with all off; and each fusion makes fewer kernels or
 * less memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernel_build.h"
#include "sample_net.h"

static const ir_machine machine = {"test", 8, 16, 4, 2, 32768, 524288, 33554432};

static ir_plan *lower(const sample_net *net, const char *const *disabled) {
    pass_lower_options options = {.machine = &machine, .workers = 2, .disabled = disabled};
    ir_plan *plan = pass_lower(net->graph, &options);
    ir_plan_verify(plan);
    return plan;
}

static double interpret(sample_net *net, const ir_plan *plan) {
    ir_plan_run run = {.state = sample_block_of(plan->state_bytes),
                       .workspace = sample_block_of(plan->workspace_bytes),
                       .weights = net->weights,
                       .io = net->io,
                       .lr = 1e-3f,
                       .step = 3,
                       .seed = 7};
    if (plan->kind != IR_KIND_INFER)
        memcpy(run.state, net->weights, (size_t)plan->weights_elements * sizeof(float));
    ir_plan_interpret_init(plan, &run);
    ir_plan_interpret_main(plan, &run);
    free(run.state);
    free(run.workspace);
    return sample_error(net);
}

static void check(sample_options o, const char *const *disabled) {
    sample_net net = sample_net_new(o);
    ir_plan *plan = lower(&net, disabled);
    double error = interpret(&net, plan);
    if (!(error < 1e-5))
        print_error("batch %d size %d: error %g\n", (int)o.batch, (int)o.size, error);
    assert_true(error < 1e-5);
    ir_plan_free(plan);
    sample_net_free(&net);
}

static void infers_like_the_reference(void **unused) {
    (void)unused;
    for (int64_t batch = 1; batch <= 5; batch++)
        check((sample_options){.batch = batch, .size = 10, .channels = 3}, NULL);
    check((sample_options){.batch = 2, .size = 22, .channels = 10}, NULL);
}

static void differentiates_like_the_reference(void **unused) {
    (void)unused;
    for (int64_t batch = 1; batch <= 4; batch++)
        check((sample_options){.batch = batch, .size = 8, .channels = 4, .gradients = true}, NULL);
    check((sample_options){.batch = 2, .size = 14, .channels = 9, .gradients = true}, NULL);
}

static void every_pass_can_be_switched_off(void **unused) {
    (void)unused;
    const char *off[32] = {0};
    sample_options o = {.batch = 2, .size = 8, .channels = 4, .gradients = true};
    for (size_t i = 0; i < pass_lower_count(); i++) {
        const char *one[2] = {pass_lower_get(i)->name, NULL};
        check(o, one);
        off[i] = one[0];
    }
    check(o, off);
}

/* A plan with the pass and what it is without: tests/golden/plan. */
static void every_pass_has_a_golden_plan(void **unused) {
    (void)unused;
    for (size_t i = 0; i < pass_lower_count(); i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/tests/golden/plan/%s.golden", CNX_TEST_SOURCE_DIR,
                 pass_lower_get(i)->name);
        FILE *file = fopen(path, "r");
        if (!file) fail_msg("pass '%s' has no golden plan: %s", pass_lower_get(i)->name, path);
        fclose(file);
    }
}

static size_t calls_of(const ir_plan *plan) {
    size_t n = 0;
    for (size_t r = 0; r < plan->main_count; r++)
        n += plan->main[r].call_count;
    return n;
}

/* Switching a fusion off never gives fewer calls; switching all off gives many more. */
static void fusions_save_kernels(void **unused) {
    (void)unused;
    sample_net net =
        sample_net_new((sample_options){.batch = 2, .size = 8, .channels = 4, .gradients = true});
    ir_plan *all = lower(&net, NULL);
    const char *fusions[] = {"fuse_epilogue", "fuse_pointwise", "fuse_sums", "fuse_operand", NULL};
    for (int i = 0; i < 4; i++) {
        const char *one[2] = {fusions[i], NULL};
        ir_plan *without = lower(&net, one);
        if (calls_of(without) <= calls_of(all)) print_error("%s saves nothing\n", fusions[i]);
        assert_true(calls_of(without) > calls_of(all));
        ir_plan_free(without);
    }
    ir_plan *none = lower(&net, fusions);
    assert_true(calls_of(none) > calls_of(all) * 3 / 2);
    ir_plan_free(none);
    ir_plan_free(all);
    sample_net_free(&net);
}

static void memory_is_shared(void **unused) {
    (void)unused;
    sample_net net = sample_net_new((sample_options){.batch = 4, .size = 16, .channels = 8});
    const char *no_depth[] = {"depth_first", NULL}, *no_place[] = {"in_place", NULL};
    ir_plan *plan = lower(&net, NULL), *wide = lower(&net, no_depth);
    ir_plan *apart = lower(&net, no_place);
    assert_true(plan->workspace_bytes * 3 < plan->naive_bytes);
    assert_true(plan->workspace_bytes < wide->workspace_bytes);
    assert_true(plan->workspace_bytes <= apart->workspace_bytes);
    assert_true(plan->private_bytes > 0);
    assert_int_equal(wide->private_bytes, 0);
    ir_plan_free(plan);
    ir_plan_free(wide);
    ir_plan_free(apart);
    sample_net_free(&net);
}

/* A chain that no model contains fuses as well: rules ask for traits, not for ops. */
static void an_unknown_chain_fuses(void **unused) {
    (void)unused;
    ir_graph *g = ir_graph_new("chain", IR_KIND_INFER);
    ir_value x = ir_input(g, "x", ir_type_make(IR_F32, 3, (int64_t[]){2, 5, 6}));
    ir_value w =
        ir_source_node(g, IR_OP_param, "w", ir_type_make(IR_F32, 2, (int64_t[]){7, 6}), NULL);
    ir_value y = ir_binary(g, IR_OP_matmul_nt, x, w);
    y = ir_unary(g, IR_OP_sigmoid, ir_scale(g, y, 0.5));
    ir_value z = ir_unary(g, IR_OP_exp, ir_binary(g, IR_OP_mul, y, y));
    ir_add_output(g, "z", z);
    ir_add_output(g, "total", ir_sum(g, z, IR_INTS(1), true));
    pass_lower_options options = {.machine = &machine, .workers = 1};
    ir_plan *plan = pass_lower(g, &options);
    ir_plan_verify(plan);
    assert_int_equal(calls_of(plan), 1);
    ir_plan_free(plan);
    ir_graph_free(g);
}

/* Every value of a chain may be wanted. */
static void a_chain_stores_any_number_of_values(void **unused) {
    (void)unused;
    ir_graph *g = ir_graph_new("chain", IR_KIND_INFER);
    ir_value x = ir_input(g, "x", ir_type_make(IR_F32, 2, (int64_t[]){2, 4}));
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", i);
        x = ir_unary(g, IR_OP_exp, x);
        ir_add_output(g, name, x);
    }
    ir_plan *plan = pass_lower(g, &(pass_lower_options){.machine = &machine, .workers = 1});
    ir_plan_verify(plan);
    assert_int_equal(calls_of(plan), 1);
    ir_plan_free(plan);
    ir_graph_free(g);
}

static void plans_print_the_same_twice(void **unused) {
    (void)unused;
    sample_net net =
        sample_net_new((sample_options){.batch = 2, .size = 8, .channels = 4, .gradients = true});
    ir_text a = {0}, b = {0};
    ir_plan *first = lower(&net, NULL), *second = lower(&net, NULL);
    ir_plan_print(first, &a);
    ir_plan_print(second, &b);
    assert_string_equal(a.data, b.data);
    ir_text_free(&a);
    ir_text_free(&b);
    ir_plan_free(first);
    ir_plan_free(second);
    sample_net_free(&net);
}

/* One sample makes enough tasks of every large product that carries no sums. */
static void one_sample_is_cut_into_rows(void **unused) {
    (void)unused;
    for (int64_t workers = 1; workers <= 2; workers++) {
        ir_graph *g = ir_graph_new("rows", IR_KIND_INFER);
        ir_value x = ir_input(g, "x", ir_type_make(IR_F32, 4, (int64_t[]){1, 53, 53, 160}));
        ir_type shape = ir_type_make(IR_F32, 2, (int64_t[]){8, 160});
        ir_value w = ir_source_node(g, IR_OP_param, "w", shape, NULL);
        ir_add_output(g, "y", ir_binary(g, IR_OP_matmul_nt, x, w));
        pass_lower_options options = {.machine = &machine, .workers = workers};
        ir_plan *plan = pass_lower(g, &options);
        ir_plan_verify(plan);
        assert_int_equal(plan->main_count, 1);
        /* Alone, the sample's tasks run in a row and gain nothing by being many. */
        if (workers == 1)
            assert_int_equal(plan->main[0].tasks, 1);
        else
            assert_true(plan->main[0].tasks >= 8);
        ir_plan_free(plan);
        ir_graph_free(g);
    }
}

static void parts_need_no_divisor(void **unused) {
    (void)unused;
    assert_int_equal(kb_chunk(3136, 100), 98);
    assert_int_equal(kb_chunk(2053, 128), 121);
    assert_int_equal(kb_chunk(49, 128), 49);
    assert_int_equal(kb_part(784, 16, 4), 49);
    assert_int_equal(kb_part(2053, 16, 4), 132);
    assert_int_equal(kb_part(23, 8, 1), 3);
    for (int64_t n = 1; n < 3000; n += 7)
        for (int64_t most = 1; most <= 128; most *= 2) {
            int64_t part = kb_part(n, most, 4), chunk = kb_chunk(n, most);
            assert_true(part >= 1 && (n + part - 1) / part <= most);
            assert_true(chunk >= 1 && chunk <= most && (chunk == n || 2 * chunk > most / 2));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(infers_like_the_reference),
        cmocka_unit_test(differentiates_like_the_reference),
        cmocka_unit_test(every_pass_can_be_switched_off),
        cmocka_unit_test(every_pass_has_a_golden_plan),
        cmocka_unit_test(fusions_save_kernels),
        cmocka_unit_test(memory_is_shared),
        cmocka_unit_test(an_unknown_chain_fuses),
        cmocka_unit_test(a_chain_stores_any_number_of_values),
        cmocka_unit_test(plans_print_the_same_twice),
        cmocka_unit_test(parts_need_no_divisor),
        cmocka_unit_test(one_sample_is_cut_into_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
