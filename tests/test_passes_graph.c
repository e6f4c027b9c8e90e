/* Graph passes: each has a step in the pipeline, a golden before and after, and keeps every value
 * of random graphs; and the manager's names, dumps, stops and times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pass.h"
#include "random_graph.h"
#include "seed.h"
#include "worst.h"

static const ir_eval_scalars scalars = {.lr = 0.01, .step = 2, .seed = 77};
static const pass_options plain = {
    .optimizer = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05, .clip_norm = 2}};

static ir_graph *run(const ir_graph *in, const pass_options *options) {
    ir_diag *diag = ir_diag_new();
    ir_graph *out = pass_run(in, options, diag);
    ir_diag_print(diag, stderr);
    assert_int_equal(diag->errors, 0);
    assert_non_null(out);
    ir_diag_free(diag);
    return out;
}

static ir_graph *run_one(const ir_graph *in, const char *name) {
    ir_diag *diag = ir_diag_new();
    pass_context context = {.options = &plain, .diag = diag};
    ir_graph *out = pass_find(name)->run(in, &context);
    bool good = out && ir_verify(out, diag);
    ir_diag_print(diag, stderr);
    if (!good) fail_msg("%s breaks the graph", name);
    ir_diag_free(diag);
    return out;
}

static char *text_of(const ir_graph *graph) {
    ir_text text = {0};
    ir_graph_print(graph, &text);
    return text.data;
}

/* ---- golden files ---- */

/* The whole file, or NULL; the caller frees. */
static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    enum { ROOM = 1 << 16 };
    char *text = calloc(1, ROOM);
    assert_non_null(text);
    size_t n = fread(text, 1, ROOM - 1, file);
    assert_in_range(n, 1, ROOM - 2);
    fclose(file);
    return text;
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("%s cannot be written", path);
    fputs(text, file);
    fclose(file);
}

static ir_graph *parse(const char *path, const char *text, ir_source *source) {
    *source = (ir_source){.file = path, .text = text};
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = ir_graph_parse(source, diag);
    bool good = graph && ir_verify(graph, diag);
    ir_diag_print(diag, stderr);
    if (!good) fail_msg("%s does not parse", path);
    ir_diag_free(diag);
    return graph;
}

/* NAME.cnxir is what the pass gets, NAME.after.cnxir what it makes of it; CNX_UPDATE=1 rewrites. */
static void check_golden(const char *name) {
    char before_path[4096], after_path[4096];
    snprintf(before_path, sizeof before_path, "%s/tests/golden/passes/%s.cnxir",
             CNX_TEST_SOURCE_DIR, name);
    snprintf(after_path, sizeof after_path, "%s/tests/golden/passes/%s.after.cnxir",
             CNX_TEST_SOURCE_DIR, name);
    char *before = read_file(before_path);
    if (!before) fail_msg("pass '%s' has no case: %s is missing", name, before_path);
    ir_source source;
    ir_graph *in = parse(before_path, before, &source);
    ir_graph *out = run_one(in, name);
    char *found = text_of(out), *unchanged = text_of(in);
    if (getenv("CNX_UPDATE")) write_file(after_path, found);
    char *wanted = read_file(after_path);
    if (!wanted) fail_msg("%s is missing", after_path);
    assert_string_equal(found, wanted);
    if (strcmp(name, "precision") != 0) assert_string_not_equal(found, unchanged);
    ir_graph_free(in);
    ir_graph_free(out);
    free(before);
    free(found);
    free(unchanged);
    free(wanted);
}

static void test_every_pass_has_a_golden_case(void **state) {
    (void)state;
    for (size_t i = 0; i < pass_count(); i++)
        check_golden(pass_get(i)->name);
}

/* ---- values of random graphs ---- */

static ir_value output(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->output_count; i++)
        if (strcmp(graph->outputs[i].name, name) == 0) return graph->outputs[i].value;
    fail_msg("no output '%s'", name);
    return IR_NO_VALUE;
}

static const char *target_name(const ir_graph *graph, size_t update) {
    return graph->nodes[graph->updates[update].target.id].name;
}

static ir_value updated(const ir_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->update_count; i++)
        if (strcmp(target_name(graph, i), name) == 0) return graph->updates[i].value;
    fail_msg("no update of '%s'", name);
    return IR_NO_VALUE;
}

static void near(const char *what, const char *name, ir_type type, const double *found,
                 const double *wanted, double tolerance) {
    double most = 1e-3, error = 0;
    for (int64_t i = 0; i < ir_type_elements(type); i++) {
        assert_true(isfinite(wanted[i]));
        most = fmax(most, fabs(wanted[i]));
        error = worst_of(error, fabs(found[i] - wanted[i]));
    }
    if (!(error <= tolerance * most))
        fail_msg("%s: '%s' differs by %g of %g", what, name, error, most);
}

/* Every output and update of `wanted` has the same value in `found`. */
static void same_values(const char *what, const ir_graph *found, const ir_graph *wanted,
                        uint64_t seed, double tolerance) {
    double **a = random_tensors(found, seed), **b = random_tensors(wanted, seed);
    ir_eval_result *x = ir_eval_graph(found, (const double *const *)a, &scalars);
    ir_eval_result *y = ir_eval_graph(wanted, (const double *const *)b, &scalars);
    for (size_t i = 0; i < wanted->output_count; i++) {
        const ir_output *o = &wanted->outputs[i];
        ir_value value = output(found, o->name);
        ir_type type = ir_type_of(wanted, o->value);
        assert_true(ir_type_equal(ir_type_of(found, value), type));
        near(what, o->name, type, x->value[value.id], y->value[o->value.id], tolerance);
    }
    for (size_t i = 0; i < wanted->update_count; i++) {
        ir_value value = updated(found, target_name(wanted, i));
        near(what, target_name(wanted, i), ir_type_of(found, value), x->value[value.id],
             y->value[wanted->updates[i].value.id], tolerance);
    }
    ir_eval_free(x);
    ir_eval_free(y);
    random_tensors_free(a, found);
    random_tensors_free(b, wanted);
}

/* Text that parses back to itself, whatever pass it comes after. */
static void check_round_trip(const ir_graph *graph) {
    char *text = text_of(graph);
    ir_source source;
    ir_graph *again = parse("random.cnxir", text, &source);
    char *second = text_of(again);
    assert_string_equal(second, text);
    free(second);
    free(text);
    ir_graph_free(again);
}

enum { GRAPHS = 40 };

/* Each pass alone, on the expanded graph and on one with gradients. */
static void test_each_pass_keeps_values(void **state) {
    (void)state;
    uint64_t seed = seed_of_test();
    print_message("seeds %llu..%llu\n", (unsigned long long)seed,
                  (unsigned long long)seed + GRAPHS - 1);
    for (int n = 0; n < GRAPHS; n++, seed++) {
        random_graph r = random_graph_new(seed, IR_KIND_GRAD);
        ir_graph *expanded = run_one(r.graph, "expand");
        same_values("expand", expanded, r.graph, seed, 1e-9);
        ir_graph *gradients = run_one(expanded, "autodiff");
        same_values("autodiff", gradients, expanded, seed, 1e-12);
        for (size_t i = 0; i < pass_count(); i++) {
            const pass_info *pass = pass_get(i);
            if (pass->when != PASS_ALL) continue;
            char what[64];
            snprintf(what, sizeof what, "%s, seed %llu", pass->name, (unsigned long long)seed);
            ir_graph *after = run_one(gradients, pass->name);
            same_values(what, after, gradients, seed, 1e-8);
            ir_graph_free(after);
        }
        ir_graph_free(gradients);
        ir_graph_free(expanded);
        ir_graph_free(r.graph);
    }
}

static void keep_text(void *context, const char *pass, int run_number, const ir_graph *graph) {
    (void)pass;
    (void)run_number;
    ++*(int *)context;
    check_round_trip(graph);
}

/* The whole pipeline of each kind against the pipeline with every optional pass off; the text after
 * every pass parses back. */
static void test_pipelines_keep_values(void **state) {
    (void)state;
    const char *off[32] = {0}, *all[] = {"all", NULL};
    size_t count = 0;
    for (size_t i = 0; i < pass_count(); i++)
        if (pass_get(i)->need == PASS_OPTIONAL) off[count++] = pass_get(i)->name;
    uint64_t seed = seed_of_test();
    print_message("seeds %llu..%llu\n", (unsigned long long)seed,
                  (unsigned long long)seed + GRAPHS - 1);
    for (int n = 0; n < GRAPHS; n++, seed++) {
        int dumps = 0;
        random_graph r = random_graph_new(seed, (ir_kind)(n % 3));
        pass_options without = plain, with = plain;
        without.disabled = off;
        with.dump_after = all;
        with.dump = keep_text;
        with.dump_context = &dumps;
        ir_graph *wanted = run(r.graph, &without), *found = run(r.graph, &with);
        char what[64];
        snprintf(what, sizeof what, "pipeline, seed %llu", (unsigned long long)seed);
        same_values(what, found, wanted, seed, 1e-7);
        assert_in_range(dumps, 6, 24);
        for (size_t i = 0; i < count; i++) {
            without.disabled = (const char *const[]){off[i], NULL};
            ir_graph *one = run(r.graph, &without);
            same_values(what, one, wanted, seed, 1e-7);
            ir_graph_free(one);
        }
        ir_graph_free(wanted);
        ir_graph_free(found);
        ir_graph_free(r.graph);
    }
}

/* A second run of the pipeline finds nothing left to do, and equal input gives equal text. */
static void test_pipeline_is_idempotent_and_deterministic(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        random_graph r = random_graph_new(seed, IR_KIND_INFER);
        ir_graph *once = run(r.graph, &plain), *again = run(r.graph, &plain);
        ir_graph *twice = run(once, &plain);
        char *a = text_of(once), *b = text_of(again), *c = text_of(twice);
        assert_string_equal(a, b);
        if (strcmp(a, c) != 0)
            fail_msg("seed %llu:\n%s\nbecomes\n%s", (unsigned long long)seed, a, c);
        free(a);
        free(b);
        free(c);
        ir_graph_free(once);
        ir_graph_free(again);
        ir_graph_free(twice);
        ir_graph_free(r.graph);
    }
}

/* ---- the manager ---- */

static bool has_step(ir_kind kind, const char *pass) {
    ir_text text = {0};
    pass_print_pipeline(kind, &text);
    bool found = false;
    size_t n = strlen(pass);
    for (const char *line = text.data; line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        found = found || (strncmp(line, pass, n) == 0 && line[n] == ' ');
    ir_text_free(&text);
    return found;
}

static void test_every_pass_has_a_step(void **state) {
    (void)state;
    for (size_t i = 0; i < pass_count(); i++) {
        const pass_info *pass = pass_get(i);
        assert_ptr_equal(pass_find(pass->name), pass);
        assert_true(pass->doc[0] != 0);
        if (pass->when == PASS_ASKED) continue; /* run by test_passes_sparse.c */
        if (!has_step(IR_KIND_TRAIN, pass->name)) fail_msg("'%s' never runs", pass->name);
        assert_int_equal(has_step(IR_KIND_GRAD, pass->name), pass->when != PASS_TRAIN);
        assert_int_equal(has_step(IR_KIND_INFER, pass->name), pass->when == PASS_ALL);
    }
    assert_null(pass_find("cs"));
}

typedef struct dumped {
    char names[1024];
    size_t nodes; /* of the last graph */
} dumped;

static void note(void *context, const char *pass, int run_number, const ir_graph *graph) {
    dumped *d = context;
    size_t n = strlen(d->names);
    snprintf(d->names + n, sizeof d->names - n, "%s.%d ", pass, run_number);
    d->nodes = graph->count;
}

static void check_dumps(ir_kind kind, const char *after, const char *stop, const char *wanted) {
    random_graph r = random_graph_new(5, kind);
    dumped d = {0};
    const char *names[] = {after, NULL};
    pass_options options = plain;
    options.dump_after = names;
    options.stop_after = stop;
    options.dump = note;
    options.dump_context = &d;
    ir_graph *out = run(r.graph, &options);
    assert_string_equal(d.names, wanted);
    if (stop) assert_int_equal(out->count, d.nodes);
    ir_graph_free(out);
    ir_graph_free(r.graph);
}

static void test_dumps_and_stops(void **state) {
    (void)state;
    check_dumps(IR_KIND_INFER, "cse", NULL, "cse.1 cse.2 ");
    check_dumps(IR_KIND_INFER, "cse.2", NULL, "cse.2 ");
    check_dumps(IR_KIND_GRAD, "cse", "cse", "cse.1 ");
    check_dumps(IR_KIND_GRAD, "cse", "cse.2", "cse.1 cse.2 ");
    check_dumps(IR_KIND_TRAIN, "all", "fold", "expand.1 live_sites.1 fold.1 ");
    check_dumps(IR_KIND_TRAIN, "optimizer", "optimizer.1", "optimizer.1 ");
}

static void check_mistake(pass_options options, const char *message, const char *hint) {
    random_graph r = random_graph_new(5, IR_KIND_INFER);
    ir_diag *diag = ir_diag_new();
    assert_null(pass_run(r.graph, &options, diag));
    assert_int_equal(diag->errors, 1);
    assert_string_equal(diag->messages[0].text, message);
    if (hint)
        assert_string_equal(diag->messages[0].hint, hint);
    else
        assert_null(diag->messages[0].hint);
    ir_diag_free(diag);
    ir_graph_free(r.graph);
}

#define NAMES(...)                                                                                 \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }

static void test_wrong_names(void **state) {
    (void)state;
    check_mistake((pass_options){.disabled = NAMES("dce", "csee")},
                  "disabled: there is no pass 'csee'", "did you mean 'cse'?");
    check_mistake((pass_options){.disabled = NAMES("expand")},
                  "disabled: pass 'expand' cannot be left out: composite ops become the primitive "
                  "ops they stand for",
                  NULL);
    check_mistake((pass_options){.stop_after = "zzzzzzzz"},
                  "stop after: there is no pass 'zzzzzzzz'", NULL);
    check_mistake((pass_options){.stop_after = "cse.9"},
                  "stop after cse.9: pass 'cse' runs 2 times in a program of kind infer", NULL);
    check_mistake((pass_options){.stop_after = "autodiff"},
                  "stop after autodiff: pass 'autodiff' runs 0 times in a program of kind infer",
                  NULL);
    check_mistake((pass_options){.dump_after = NAMES("all", "cse.x")},
                  "dump after: there is no pass 'cse.x'", "did you mean 'cse'?");
    check_mistake((pass_options){.dump_after = NAMES("cse.0")},
                  "dump after: there is no pass 'cse.0'", "did you mean 'cse'?");
    check_mistake((pass_options){.dump_after = NAMES("cse"), .disabled = NAMES("cse")},
                  "dump after cse: pass 'cse' is disabled", NULL);
    check_mistake((pass_options){.dump_after = NAMES("dce"), .stop_after = "cse"},
                  "dump after dce: pass 'dce' runs 0 times in a program of kind infer that stops "
                  "after cse",
                  NULL);
}

/* What a file may hold and lowering may not see is taken apart or reported with its place. */
static void test_prepare(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"%0 = input \"x\" : bf16[2]\noutput \"y\" = %0\n",
         "the output of input 'x' is bf16, expected f32"},
        {"%0 = input \"x\" : i64[2]\n%1 = permute \"p\" (%0) {order=[0]} : i64[2]\n"
         "%2 = one_hot(%1) {classes=3} : f32[2,3]\noutput \"y\" = %2\n",
         "the value of permute 'p' is i64, expected f32"},
        {"%0 = input \"x\" : f32[2,3]\n%1 = input \"label\" : i64[2,1]\n"
         "%2 = reshape(%1) {shape=[2]} : i64[2]\n"
         "%3 = cross_entropy(%0, %2) : f32[]\noutput \"y\" = %3\n",
         NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "cnx graph file infer version 1\n%s", cases[i].text);
        ir_source source;
        ir_graph *graph = parse("file.cnxir", text, &source);
        ir_diag *diag = ir_diag_new();
        ir_graph *ready = pass_prepare(graph, diag);
        if (cases[i].message) {
            assert_null(ready);
            assert_string_equal(diag->messages[0].text, cases[i].message);
            assert_non_null(diag->messages[0].loc.source);
        } else {
            assert_int_equal(diag->errors, 0);
            for (size_t n = 0; n < ready->count; n++)
                assert_int_not_equal(ir_op_get(ready->nodes[n].op)->kind, IR_COMPOSITE);
        }
        ir_diag_free(diag);
        ir_graph_free(ready);
        ir_graph_free(graph);
    }
}

static char *printed(pass_options options, bool times) {
    random_graph r = random_graph_new(5, IR_KIND_TRAIN);
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    if (times)
        options.time_file = file;
    else
        options.dump_file = file;
    ir_graph_free(run(r.graph, &options));
    fclose(file);
    ir_graph_free(r.graph);
    return text;
}

static void test_files(void **state) {
    (void)state;
    char *times = printed(plain, true);
    assert_non_null(strstr(times, "before    after  pass\n"));
    assert_non_null(strstr(times, "cse.3\n"));
    assert_non_null(strstr(times, "all passes\n"));
    free(times);
    pass_options options = plain;
    options.dump_after = NAMES("expand");
    char *dump = printed(options, false);
    assert_int_equal(strncmp(dump, "# after expand.1\ncnx graph random train version 1\n", 50), 0);
    free(dump);
}

/* Sources are a program's interface: passes neither drop nor reorder them. */
static void test_interface_stays(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        random_graph r = random_graph_new(seed, IR_KIND_TRAIN);
        ir_graph *out = run(r.graph, &plain);
        size_t at = 0;
        for (size_t i = 0; i < r.graph->count; i++) {
            const ir_node *node = &r.graph->nodes[i];
            if (node->op != IR_OP_input && node->op != IR_OP_param) continue;
            while (out->nodes[at].op != IR_OP_input && out->nodes[at].op != IR_OP_param)
                at++;
            assert_string_equal(out->nodes[at].name, node->name);
            assert_true(ir_type_equal(out->nodes[at].type, node->type));
            at++;
        }
        ir_graph_free(out);
        ir_graph_free(r.graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pass_has_a_step),
        cmocka_unit_test(test_every_pass_has_a_golden_case),
        cmocka_unit_test(test_each_pass_keeps_values),
        cmocka_unit_test(test_pipelines_keep_values),
        cmocka_unit_test(test_pipeline_is_idempotent_and_deterministic),
        cmocka_unit_test(test_dumps_and_stops),
        cmocka_unit_test(test_wrong_names),
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_interface_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
