/* The text form of graphs: print, parse, print again; every message of the parser; hostile text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph.h"
#include "op_case.h"

#include <math.h>

static char *read_file(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/ir/%s", CNX_TEST_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is missing", path);
    enum { ROOM = 1 << 20 };
    char *text = calloc(1, ROOM);
    assert_non_null(text);
    assert_in_range(fread(text, 1, ROOM - 1, file), 1, ROOM - 2);
    fclose(file);
    return text;
}

/* Parses a text that must be right; the caller frees. */
static ir_graph *parse(const char *text) {
    ir_source source = {.file = "test.cnxir", .text = text};
    ir_diag *diag = ir_diag_new();
    ir_graph *graph = ir_graph_parse(&source, diag);
    if (!graph || !ir_verify(graph, diag)) {
        ir_diag_print(diag, stderr);
        fail_msg("the text does not parse");
    }
    assert_int_equal(diag->errors, 0);
    ir_diag_free(diag);
    return graph;
}

static void check_round_trip(const char *text) {
    ir_graph *graph = parse(text);
    ir_text printed = {0};
    ir_graph_print(graph, &printed);
    assert_string_equal(printed.data, text);
    ir_text_free(&printed);
    ir_graph_free(graph);
}

static void test_files_round_trip(void **state) {
    (void)state;
    static const char *const files[] = {"every_op.cnxir", "train_step.cnxir"};
    for (int i = 0; i < 2; i++) {
        char *text = read_file(files[i]);
        check_round_trip(text);
        free(text);
    }
}

/* Appends the nodes of a case; its sources get names of their own. */
static void append_case(ir_graph *to, const op_case *c) {
    const char *op = ir_op_get(c->op)->name;
    op_case_graph g = op_case_build(c);
    ir_value map[2 * IR_MAX_OPERANDS + 1];
    for (size_t i = 0; i < g.graph->count; i++) {
        map[i] = ir_copy_node(to, g.graph, (ir_value){(uint32_t)i}, map);
        ir_node *node = &to->nodes[map[i].id];
        if (!node->name) continue;
        node->name = ir_arena_printf(to->arena, "%s.%s.%s", op, c->label, node->name);
    }
    ir_add_output(to, op, map[g.y.id]);
    op_case_free(&g);
}

/* The first case of every op in one graph; CNX_UPDATE=1 rewrites the file. */
static void test_every_op_is_in_the_file(void **state) {
    (void)state;
    bool seen[IR_OP_COUNT] = {false};
    ir_graph *graph = ir_graph_new("every-op", IR_KIND_INFER);
    ir_set_meta(graph, "classes", "5");
    ir_set_meta(graph, "mean", "0.485 0.456 0.406");
    for (size_t i = 0; i < op_case_count; i++) {
        if (seen[op_cases[i].op]) continue;
        seen[op_cases[i].op] = true;
        append_case(graph, &op_cases[i]);
    }
    ir_text printed = {0};
    ir_graph_print(graph, &printed);
    if (getenv("CNX_UPDATE")) {
        FILE *file = fopen(CNX_TEST_SOURCE_DIR "/tests/golden/ir/every_op.cnxir", "wb");
        assert_non_null(file);
        fputs(printed.data, file);
        fclose(file);
    }
    char *text = read_file("every_op.cnxir");
    if (strcmp(text, printed.data) != 0)
        print_error("every_op.cnxir is not what op_cases.def says: CNX_UPDATE=1 rewrites it\n");
    assert_string_equal(printed.data, text);
    for (int op = 0; op < IR_OP_COUNT; op++)
        if (!seen[op]) fail_msg("op_cases.def lacks '%s'", ir_op_get((ir_op)op)->name);
    free(text);
    ir_text_free(&printed);
    ir_graph_free(graph);
}

static void test_cases_round_trip(void **state) {
    (void)state;
    for (size_t i = 0; i < op_case_count; i++) {
        op_case_graph g = op_case_build(&op_cases[i]);
        ir_text printed = {0};
        ir_graph_print(g.graph, &printed);
        check_round_trip(printed.data);
        ir_text_free(&printed);
        op_case_free(&g);
    }
}

/* Blanks, comments, quotes, carriage returns and the order of attributes do not matter. */
static void test_layout_is_free(void **state) {
    (void)state;
    ir_graph *graph = parse("\n# a comment\n\n cnx  graph \"net\" infer\tversion 1 # one\r\n"
                            "%0=input\"x\":f32[ 2 , 3 ]\r\n"
                            "  %1 = sum ( %0 ) { keep = true , axes = [ 1 ] } : f32[2,1]\n"
                            "meta \"a\" = \"# no comment\"\n"
                            "output \"y\" = %1");
    ir_text printed = {0};
    ir_graph_print(graph, &printed);
    assert_string_equal(printed.data, "cnx graph net infer version 1\n"
                                      "meta a = \"# no comment\"\n"
                                      "%0 = input \"x\" : f32[2,3]\n"
                                      "%1 = sum(%0) {axes=[1], keep=true} : f32[2,1]\n"
                                      "output \"y\" = %1\n");
    ir_text_free(&printed);
    ir_graph_free(graph);
}

static void check_number(double value, const char *wanted) {
    ir_graph *graph = ir_graph_new("n", IR_KIND_INFER);
    ir_constant(graph, ir_type_make(IR_F32, 0, NULL), value);
    ir_text printed = {0};
    ir_graph_print(graph, &printed);
    const char *start = strstr(printed.data, "value=");
    assert_non_null(start);
    char text[64];
    assert_int_equal(sscanf(start, "value=%63[^}]", text), 1);
    if (wanted) assert_string_equal(text, wanted);
    ir_graph *again = parse(printed.data);
    double back = again->nodes[0].attrs.value;
    if (isnan(value))
        assert_true(isnan(back));
    else
        assert_memory_equal(&back, &value, sizeof value);
    ir_graph_free(again);
    ir_graph_free(graph);
    ir_text_free(&printed);
}

static void test_numbers_are_exact_and_short(void **state) {
    (void)state;
    check_number(0.1, "0.1");
    check_number(1e-6, "1e-06");
    check_number(3, "3");
    check_number(-0.0, "-0");
    check_number(1.0 / 3, "0.3333333333333333");
    check_number(0.1 + 0.2, "0.30000000000000004");
    check_number(INFINITY, "inf");
    check_number(-INFINITY, "-inf");
    check_number(NAN, "nan");
    check_number(5e-324, "5e-324");
    uint64_t random = 1;
    for (int i = 0; i < 200; i++)
        check_number(ldexp(op_case_random(&random) - 0.5, (int)(random % 600) - 300), NULL);
}

static void test_sparse_type(void **state) {
    (void)state;
    check_round_trip("cnx graph sparse infer version 1\n"
                     "%0 = input \"x\" : f32[2,19,8,8,40;grid=7x7,kept=19]\n"
                     "%1 = gelu(%0) : f32[2,19,8,8,40;grid=7x7,kept=19]\n"
                     "output \"y\" = %1\n");
    check_round_trip("cnx graph long infer version 1\n"
                     "%0 = input \"x\" : f32[1,4,1,1,2;grid=1048576x2,kept=4]\n"
                     "output \"y\" = %0\n");
}

/* ---- mistakes ---- */

#define HEAD "cnx graph net infer version 1\n%0 = input \"x\" : f32[2,3]\n"

static const struct {
    const char *text;
    int line, column;
    const char *message; /* start of it */
    const char *hint;    /* NULL: none */
} mistakes[] = {
    {"", 1, 1, "expected 'cnx', found the end of the file", NULL},
    {"cnxgraph", 1, 1, "expected 'cnx', found 'cnxgraph'", NULL},
    {"cnx graph", 1, 10, "expected the name of the graph, found the end of the file", NULL},
    {"cnx graph net inferr version 1", 1, 15, "unknown kind of graph 'inferr'",
     "did you mean 'infer'?"},
    {"cnx graph net infer version 2", 1, 29, "format version 2, expected 1", NULL},
    {"cnx graph net infer version 1 2", 1, 31, "expected the end of the line, found '2'", NULL},
    {HEAD "outptu \"y\" = %0", 3, 1, "unknown line 'outptu'", "did you mean 'output'?"},
    {HEAD "= 3", 3, 1, "expected a line that starts with %", NULL},
    {HEAD "output y = %0", 3, 8, "expected a name in quotes, found 'y'", NULL},
    {HEAD "output \"y = %0\n", 3, 8, "this text has no closing quote", NULL},
    {HEAD "output \"\\q\" = %0", 3, 9, "unknown escape", NULL},
    {HEAD "output \"\\x00\" = %0", 3, 9, "unknown escape", NULL},
    {HEAD "output \"y\" = %1", 3, 14, "%1 is not defined above this line", NULL},
    {HEAD "output \"y\" = %99999999999999999999", 3, 15, "the number is outside", NULL},
    {HEAD "update %0 = %7", 3, 13, "%7 is not defined above this line", NULL},
    {HEAD "meta a = \"1\"\nmeta a = \"2\"", 4, 6, "the key 'a' is given twice", NULL},
    {HEAD "%2 = gelu(%0) : f32[2,3]", 3, 2, "expected %1, the next number, found %2", NULL},
    {HEAD "%1 = geluu(%0) : f32[2,3]", 3, 6, "unknown op 'geluu'", "did you mean 'gelu'?"},
    {HEAD "%1 = gelu(%1) : f32[2,3]", 3, 11, "%1 is not defined above this line", NULL},
    {HEAD "%1 = gelu(%0, %0) : f32[2,3]", 3, 6, "gelu: takes 1 operands (x), found 2", NULL},
    {HEAD "%1 = add(%0,%0,%0,%0,%0,%0,%0) : f32[2,3]", 3, 28, "an op has at most 6 operands", NULL},
    {HEAD "%1 = gelu(%0 : f32[2,3]", 3, 14, "expected ')', found ':'", NULL},
    {HEAD "%1 = gelu(%0)", 3, 14, "expected ':', found the end of the file", NULL},
    {HEAD "%1 = gelu(%0) : f32[2,4]", 3, 17,
     "the type is stated as f32[2,4], but the op gives f32[2,3]", NULL},
    {HEAD "%1 = gelu(%0) : f33[2,3]", 3, 17, "unknown element type 'f33'", "did you mean 'f32'?"},
    {HEAD "%1 = gelu(%0) {tahn=true} : f32[2,3]", 3, 16, "gelu has no attribute 'tahn'",
     "did you mean 'tanh'?"},
    {HEAD "%1 = gelu(%0) {kernel=3} : f32[2,3]", 3, 16, "gelu has no attribute 'kernel'",
     "it takes tanh=false"},
    {HEAD "%1 = gelu(%0) {tanh=1} : f32[2,3]", 3, 21, "expected true or false, found '1'", NULL},
    {HEAD "%1 = gelu(%0) {tanh=yes} : f32[2,3]", 3, 21, "expected true or false, found 'yes'",
     NULL},
    {HEAD "%1 = gelu(%0) {tanh=true, tanh=true} : f32[2,3]", 3, 27,
     "attribute 'tanh' is given twice", NULL},
    {HEAD "%1 = gelu(%0) {tanh=true : f32[2,3]", 3, 26, "expected '}', found ':'", NULL},
    {HEAD "%1 = scale(%0) : f32[2,3]", 3, 6, "scale needs the attribute 'factor'", NULL},
    {HEAD "%1 = scale(%0) {factor=x} : f32[2,3]", 3, 24, "expected a number, found 'x'", NULL},
    {HEAD "%1 = scale(%0) {factor=1.2.3} : f32[2,3]", 3, 24, "'1.2.3' is no number", NULL},
    {HEAD "%1 = sum(%0) {axes=[0,1,2,3,4,5,6]} : f32[]", 3, 33, "a list has at most 6 numbers",
     NULL},
    {HEAD "%1 = sum(%0) {axes=[1,0]} : f32[]", 3, 6, "sum: axes must ascend within 0..1", NULL},
    {HEAD "%1 = sum(%0) {axes=0} : f32[3]", 3, 20, "expected '[', found '0'", NULL},
    {HEAD "%1 = input \"y\" {shape=[2]} : f32[2]", 3, 17, "input has no attribute 'shape'", NULL},
    {HEAD "%1 = input \"y\" : f32[0]", 3, 22, "the number is outside 1..", NULL},
    {HEAD "%1 = input \"y\" : f32[-4]", 3, 22, "the number is outside 1..", NULL},
    {HEAD "%1 = input \"y\" : f32[1,1,1,1,1,1,1]", 3, 34, "a tensor has at most 6 dimensions",
     NULL},
    {HEAD "%1 = input \"y\" : f32[4294967296,4294967296]", 3, 18,
     "the tensor is larger than 2^46 bytes", NULL},
    {HEAD "%1 = input \"y\" : f32[2;grid=0x7,kept=1]", 3, 29, "the number is outside 1..1048576",
     NULL},
    {HEAD "%1 = input \"y\" : f32[2;grid=2x7,kept=15]", 3, 38, "the number is outside 1..14", NULL},
    {HEAD "%1 = input \"y\" : f32[2;grid=2,kept=15]", 3, 30, "expected 'x', found ','", NULL},
    {HEAD "%1 = param \"w\" {init=random} : f32[2]", 3, 6, "param: unknown init 'random'", NULL},
};

static void test_mistakes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        ir_source source = {.file = "test.cnxir", .text = mistakes[i].text};
        ir_diag *diag = ir_diag_new();
        assert_null(ir_graph_parse(&source, diag));
        if (diag->errors != 1) fail_msg("%zu errors in: %s", diag->errors, mistakes[i].text);
        const ir_message *m = &diag->messages[0];
        int line, column;
        ir_loc_line(m->loc, &line, &column);
        if (line != mistakes[i].line || column != mistakes[i].column ||
            strncmp(m->text, mistakes[i].message, strlen(mistakes[i].message)) != 0)
            fail_msg("%s\nis at %d:%d: %s\nexpected %d:%d: %s", source.text, line, column, m->text,
                     mistakes[i].line, mistakes[i].column, mistakes[i].message);
        if (mistakes[i].hint)
            assert_string_equal(m->hint ? m->hint : "", mistakes[i].hint);
        else if (m->hint)
            fail_msg("%s\nhas the hint %s", source.text, m->hint);
        ir_diag_free(diag);
    }
}

/* Every prefix, and every text with one byte changed, ends in a message or in a graph. */
static void test_damaged_text(void **state) {
    (void)state;
    char *text = read_file("train_step.cnxir");
    size_t length = strlen(text);
    uint64_t random = 3;
    for (size_t i = 0; i < length * 3; i++) {
        char *copy = strdup(text);
        assert_non_null(copy);
        if (i < length)
            copy[i] = '\0';
        else
            copy[i % length] = (char)(op_case_random(&random) * 255 + 1);
        ir_source source = {.file = "damaged.cnxir", .text = copy};
        ir_diag *diag = ir_diag_new();
        ir_graph *graph = ir_graph_parse(&source, diag);
        bool right = graph && ir_verify(graph, diag);
        assert_int_equal(right, diag->errors == 0);
        ir_graph_free(graph);
        ir_diag_free(diag);
        free(copy);
    }
    free(text);
}

/* Attributes and sizes far outside what anybody means: messages, not overflows. */
static void test_hostile_sizes(void **state) {
    (void)state;
    static const char *const lines[] = {
        "%2 = unfold(%0) {kernel=[2147483647,2147483647], stride=[1,1], "
        "pad=[2147483647,2147483647]} : f32[1]",
        "%2 = conv2d(%0, %1) {groups=9223372036854775807} : f32[1]",
        "%2 = conv2d(%0, %1) {stride=[-9223372036854775808,1]} : f32[1]",
        "%2 = conv2d(%0, %1) {pad=[9223372036854775807,0]} : f32[1]",
        "%2 = fold(%0) {kernel=[1,1], stride=[1,1], pad=[0,0], shape=[9223372036854775807,2,2,2]} "
        ": f32[1]",
        "%2 = reshape(%0) {shape=[4294967296,4294967296]} : f32[1]",
        "%2 = reshape(%0) {shape=[-1,-16]} : f32[1]",
        "%2 = broadcast(%0) {shape=[70000,70000,70000,70000]} : f32[1]",
        "%2 = permute(%0) {order=[0,0,1,9223372036854775807]} : f32[1]",
        "%2 = window_dw(%0, %0) {kernel=[9223372036854775807,9223372036854775807]} : f32[1]",
        "%2 = matmul_nt(%0, %1) {groups=-1} : f32[1]",
        "%2 = drop_path(%0) {rate=nan, stream=0} : f32[1]",
        "%2 = random_keep(%0) {rate=0, stream=0, shape=[1]} : f32[1]",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "cnx graph net infer version 1\n%%0 = input \"x\" : f32[1,2,2,4]\n"
                 "%%1 = input \"w\" : f32[4,4,1,1]\n%s\n",
                 lines[i]);
        ir_source source = {.file = "hostile.cnxir", .text = text};
        ir_diag *diag = ir_diag_new();
        assert_null(ir_graph_parse(&source, diag));
        assert_int_equal(diag->errors, 1);
        ir_diag_free(diag);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_round_trip),
        cmocka_unit_test(test_every_op_is_in_the_file),
        cmocka_unit_test(test_cases_round_trip),
        cmocka_unit_test(test_layout_is_free),
        cmocka_unit_test(test_numbers_are_exact_and_short),
        cmocka_unit_test(test_sparse_type),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_damaged_text),
        cmocka_unit_test(test_hostile_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
