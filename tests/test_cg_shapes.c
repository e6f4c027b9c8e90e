/* Models whose shapes no network has, in the language: one parameter under several shapes, a
 * dimension 0 that is not the batch. Interpreted and compiled for every --cpu path this machine can
 * run, alone and on threads, against the reference evaluator. cnx-test: codegen
 */
#include "fe_compile.h"
#include "graph_run.h"

static const ir_machine small = {"test", 8, 16, 4, 2, 32768, 524288, 33554432};

static ir_graph *graph_of(const char *text, const fe_options *options, ir_diag *diag) {
    fe_model *model = fe_load_text("m.cnx", text, NULL, diag);
    ir_graph *graph = model ? fe_elaborate(model, options, NULL, diag) : NULL;
    if (!graph) ir_diag_print(diag, stderr);
    assert_non_null(graph);
    fe_model_free(model);
    return graph;
}

static void check_kind(const char *text, const fe_options *options) {
    ir_diag *diag = ir_diag_new(); /* holds the text that nodes point into */
    for (int64_t workers = 1; workers <= 2; workers++) {
        graph_run_options o = {.seed = 6, .machine = &small, .workers = workers};
        graph_run r = graph_run_new(graph_of(text, options, diag), &o);
        graph_run_interpret(&r, text);
        graph_run_free(&r);
    }
    for (size_t m = 0; m < cg_machine_count(); m++) {
        const cg_machine *machine = cg_machine_at(m);
        if (!cg_machine_runs_here(machine)) continue;
        graph_run_options o = {.seed = 6, .machine = &machine->facts, .workers = 2};
        graph_run r = graph_run_new(graph_of(text, options, diag), &o);
        graph_run_compile(&r, machine);
        graph_run_free(&r);
    }
    ir_diag_free(diag);
}

/* Forward, and with every gradient. */
static void check(const char *text, int64_t batch) {
    check_kind(text, &(fe_options){.kind = IR_KIND_INFER, .batch = batch});
    check_kind(text, &(fe_options){.kind = IR_KIND_GRAD, .batch = batch});
}

static void a_window_under_two_shapes(void **unused) {
    (void)unused;
    check("model m {\n"
          "    input x: f32[batch, 6, 6, 4]\n"
          "    p = p: parameter([4, 1, 3, 3], init = \"normal\")\n"
          "    y = reshape(depthwise_conv(x, p, pad = [1, 1]), [batch, 6, 2, 12])\n"
          "    y = depthwise_conv(y, reshape(p, [12, 1, 1, 3]), pad = [0, 1])\n"
          "    output logits = y\n"
          "    if training { output loss = mean(square(y), axes = [0, 1, 2, 3]) }\n"
          "}\n",
          2);
}

static void a_matrix_under_two_shapes(void **unused) {
    (void)unused;
    check("model m {\n"
          "    input x: f32[batch, 5, 16]\n"
          "    input z: f32[batch, 5, 32]\n"
          "    w = w: parameter([96, 16], init = \"normal\")\n"
          "    output logits = linear(x, w)\n"
          "    y = linear(z, reshape(w, [48, 32]))\n"
          "    output b = y\n"
          "    if training {\n"
          "        l = mean(square(y), axes = [0, 1, 2])\n"
          "        output loss = l + mean(square(logits), axes = [0, 1, 2])\n"
          "    }\n"
          "}\n",
          2);
}

static void a_matrix_in_one_group_and_two(void **unused) {
    (void)unused;
    check("model m {\n"
          "    input x: f32[batch, 5, 4]\n"
          "    input z: f32[batch, 5, 8]\n"
          "    w = w: parameter([88, 4], init = \"normal\")\n"
          "    output logits = matmul_nt(x, w)\n"
          "    y = matmul_nt(z, w, groups = 2)\n"
          "    output b = y\n"
          "    if training {\n"
          "        l = mean(square(y), axes = [0, 1, 2])\n"
          "        output loss = l + mean(square(logits), axes = [0, 1, 2])\n"
          "    }\n"
          "}\n",
          2);
}

/* Every sample of the input is three images. */
static void more_images_than_samples(void **unused) {
    (void)unused;
    check("model m {\n"
          "    input x: f32[batch, 3, 8, 8, 4]\n"
          "    y = reshape(x, [batch * 3, 8, 8, 4])\n"
          "    y = c: depthwise_conv(y, 3)\n"
          "    y = g: grn(y)\n"
          "    y = l: linear(y, 6)\n"
          "    output logits = y\n"
          "    if training { output loss = mean(square(y), axes = [0, 1, 2, 3]) }\n"
          "}\n",
          2);
}

/* Images are what runs along the second dimension: a task of a sample finds none of its own. */
static void samples_become_lines(void **unused) {
    (void)unused;
    for (int64_t batch = 2; batch <= 4; batch++)
        check("model m {\n"
              "    input x: f32[batch, 4, 3, 2]\n"
              "    y = c: depthwise_conv(permute(x * 1.25, [1, 0, 2, 3]), 3)\n"
              "    y = l: linear(y, 5)\n"
              "    y = reshape(sigmoid(y), [batch, 4, 3, 5])\n"
              "    y = m: linear(y, 4)\n"
              "    output logits = y\n"
              "    if training { output loss = mean(square(y), axes = [0, 1, 2, 3]) }\n"
              "}\n",
              batch);
}

static void the_first_input_is_no_batch(void **unused) {
    (void)unused;
    for (int64_t batch = 1; batch <= 2; batch++)
        check("model m {\n"
              "    input q: f32[5, 3]\n"
              "    input x: f32[batch, 12, 12, 4]\n"
              "    y = c: depthwise_conv(x, 3)\n"
              "    y = g: grn(y)\n"
              "    y = l: linear(y, 6)\n"
              "    output logits = y\n"
              "    output l2 = q * 2.0\n"
              "    if training { output loss = mean(square(y), axes = [0, 1, 2, 3]) }\n"
              "}\n",
              batch);
}

static void samples_are_summed_before_a_window(void **unused) {
    (void)unused;
    check("model m {\n"
          "    input x: f32[batch, 8, 8, 4]\n"
          "    p = p: parameter([4, 1, 3, 3], init = \"normal\")\n"
          "    q = q: parameter([3, 8, 8, 4], init = \"normal\")\n"
          "    y = depthwise_conv(sum(q, axes = [0], keep = true), p, pad = [1, 1])\n"
          "    y = depthwise_conv(x + y, p, pad = [1, 1])\n"
          "    z = depthwise_conv(q, p, pad = [1, 1])\n"
          "    output logits = y\n"
          "    if training {\n"
          "        l = mean(square(y), axes = [0, 1, 2, 3])\n"
          "        output loss = l + mean(square(z), axes = [0, 1, 2, 3])\n"
          "    }\n"
          "}\n",
          2);
}

/* No number of rows, outputs or elements has a divisor: every part but the last is longer. */
static void primes_are_cut_into_parts(void **unused) {
    (void)unused;
    for (int64_t batch = 1; batch <= 2; batch++)
        check("model m {\n"
              "    input x: f32[batch, 521, 89]\n"
              "    y = n: layer_norm(x)\n"
              "    y = l: linear(y, 97)\n"
              "    y = gelu(y)\n"
              "    output logits = y\n"
              "    if training { output loss = mean(square(y), axes = [0, 1, 2]) }\n"
              "}\n",
              batch);
}

/* One sample for all workers: rows of products and moves are cut, the last part is shorter. */
static void one_sample_is_cut_into_parts(void **unused) {
    (void)unused;
    check("model m {\n"
          "    input x: f32[batch, 8, 68, 68]\n"
          "    y = permute(x, [0, 2, 3, 1])\n"
          "    y = stem: conv2d(y, 48, kernel = 4, stride = 4)\n"
          "    y = n: layer_norm(y)\n"
          "    y = l: linear(y, 64)\n"
          "    y = g: grn(y)\n"
          "    y = m: linear(y, 24)\n"
          "    output logits = y\n"
          "    output again = x\n"
          "    if training { output loss = mean(square(y), axes = [0, 1, 2, 3]) }\n"
          "}\n",
          1);
}

/* Kept tiles of one sample, gathered by several tasks. */
static void tiles_of_one_sample_are_cut_into_parts(void **unused) {
    (void)unused;
    for (size_t m = 0; m < cg_machine_count(); m++) {
        if (!cg_machine_runs_here(cg_machine_at(m))) continue;
        ir_graph *g = ir_graph_new("tiles", IR_KIND_INFER);
        ir_value x = ir_input(g, "x", ir_type_make(IR_F32, 4, (int64_t[]){1, 64, 64, 8}));
        ir_value draw = ir_constant(g, ir_type_make(IR_F32, 2, (int64_t[]){1, 16}), -1);
        ir_value count = ir_build(g, IR_OP_step, NULL, 0, NULL, NULL);
        ir_attrs mask = {.kept = 7, .stream = 1}, list = {.kept = 7};
        ir_attrs grid = {.grid = IR_INTS(4, 4), .tile = 16};
        ir_value table = ir_build(g, IR_OP_random_mask, (ir_value[]){draw, count}, 2, &mask, NULL);
        table = ir_build(g, IR_OP_kept_tiles, &table, 1, &list, NULL);
        x = ir_build(g, IR_OP_gather_tiles, (ir_value[]){x, table}, 2, &grid, NULL);
        ir_add_output(g, "y", x);
        graph_run_options o = {
            .seed = 6, .machine = &cg_machine_at(m)->facts, .workers = 2, .plain = true};
        graph_run r = graph_run_new(g, &o);
        int64_t most = 0;
        for (size_t k = 0; k < r.plan->kernel_count; k++)
            if (strncmp(r.plan->kernels[k].name, "gather", 6) == 0) most = r.plan->kernels[k].tasks;
        assert_int_equal(most, 3); /* of 3, 3 and 1 */
        graph_run_interpret(&r, "tiles");
        graph_run_compile(&r, cg_machine_at(m));
        graph_run_free(&r);
    }
}

/* Finished graphs: kind, nodes and results. */
static const char *const finished[] = {
    /* both operands of a weight gradient made by one chain of cheap nodes */
    "infer version 1\n"
    "%0 = input \"x\" : f32[2,5,6]\n%1 = param \"b\" : f32[6]\n%2 = param \"s\" : f32[6]\n"
    "%3 = broadcast(%1) {shape=[2,5,6]} : f32[2,5,6]\n%4 = add(%0, %3) : f32[2,5,6]\n"
    "%5 = broadcast(%2) {shape=[2,5,6]} : f32[2,5,6]\n%6 = mul(%4, %5) : f32[2,5,6]\n"
    "%7 = matmul_tn(%4, %6) : f32[6,6]\noutput \"y\" = %7\n",
    /* a single class, rows that are not the batch */
    "infer version 1\n"
    "%0 = input \"x\" : f32[2,3]\n%1 = input \"label\" : i64[2,4]\n"
    "%2 = reshape(%1) {shape=[8]} : i64[8]\n%3 = one_hot(%2) {classes=1} : f32[8,1]\n"
    "output \"y\" = %3\noutput \"x2\" = %0\n",
    /* two updates in one kernel, with other moments each */
    "train version 1\n"
    "%0 = input \"x\" : f32[2,3]\n%1 = param \"p\" : f32[2,3]\n%2 = param \"q\" : f32[2,3]\n"
    "%3 = lr : f32[]\n%4 = step : i64[]\n%5 = mul(%0, %0) : f32[2,3]\n"
    "%6 = adamw(%1, %0, %5, %3, %4) {beta1=0.9, beta2=0.999, eps=0.01, decay=0, lr_scale=1} "
    ": f32[2,3]\n"
    "%7 = adamw(%2, %0, %5, %3, %4) {beta1=0.5, beta2=0.9, eps=0.01, decay=0, lr_scale=1} "
    ": f32[2,3]\n"
    "update %1 = %6\nupdate %2 = %7\noutput \"loss\" = %3\n",
};

static graph_run finished_run(size_t i, const ir_machine *machine) {
    char text[4096];
    snprintf(text, sizeof text, "cnx graph finished %s", finished[i]);
    ir_source source = {.file = "finished.cnxir", .text = text};
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = ir_graph_parse(&source, diag);
    if (!graph) ir_diag_print(diag, stderr);
    assert_non_null(graph);
    ir_diag_free(diag);
    return graph_run_of(graph, &(graph_run_options){.seed = i, .machine = machine, .workers = 3});
}

static void finished_graphs(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof finished / sizeof *finished; i++) {
        graph_run r = finished_run(i, &small);
        graph_run_interpret(&r, "plan of a finished graph");
        graph_run_free(&r);
        for (size_t m = 0; m < cg_machine_count(); m++) {
            const cg_machine *machine = cg_machine_at(m);
            if (!cg_machine_runs_here(machine)) continue;
            r = finished_run(i, &machine->facts);
            graph_run_compile(&r, machine);
            graph_run_free(&r);
        }
    }
}

/* What is summed is the same in every column, or row: each counts. */
static void sums_count_equal_columns(void **unused) {
    (void)unused;
    for (int axis = 0; axis < 3; axis++)
        for (size_t m = 0; m < cg_machine_count(); m++) {
            if (!cg_machine_runs_here(cg_machine_at(m))) continue;
            ir_graph *g = ir_graph_new("sums", IR_KIND_INFER);
            int64_t dims[3] = {2, 3, 21}, part[3] = {2, 3, 21};
            ir_type whole = ir_type_make(IR_F32, 3, dims);
            part[axis] = 1;
            ir_value x = ir_input(g, "x", ir_type_make(IR_F32, 3, part));
            ir_value y = ir_binary(g, IR_OP_add, x, ir_constant(g, whole, 1));
            y = ir_unary(g, IR_OP_sigmoid, y);
            ir_add_output(g, "y", ir_sum(g, y, (ir_ints){.count = 1, .item = {axis}}, true));
            graph_run_options o = {.seed = 6, .machine = &cg_machine_at(m)->facts, .workers = 2};
            graph_run r = graph_run_new(g, &o);
            graph_run_interpret(&r, "sums");
            graph_run_compile(&r, cg_machine_at(m));
            graph_run_free(&r);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_under_two_shapes),
        cmocka_unit_test(a_matrix_under_two_shapes),
        cmocka_unit_test(a_matrix_in_one_group_and_two),
        cmocka_unit_test(more_images_than_samples),
        cmocka_unit_test(samples_become_lines),
        cmocka_unit_test(the_first_input_is_no_batch),
        cmocka_unit_test(samples_are_summed_before_a_window),
        cmocka_unit_test(primes_are_cut_into_parts),
        cmocka_unit_test(one_sample_is_cut_into_parts),
        cmocka_unit_test(tiles_of_one_sample_are_cut_into_parts),
        cmocka_unit_test(finished_graphs),
        cmocka_unit_test(sums_count_equal_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
