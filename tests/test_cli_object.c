/* Objects and headers that cnxc writes, in a C program: the same bits as the just-in-time compiled
 * program, serially and with OpenMP; codes for misuse; libc and libm alone.
 * cnx-test: codegen timeout=300
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli_case.h"

/* Classifies and learns from raw files, and tells what misuse returns. */
static const char program[] =
    "#include \"net.h\"\n#include \"net_train.h\"\n"
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n" CLI_CASE_C_FILES
    "static void expect(int code, int want) { if (code != want) exit(10 + code); }\n"
    "int main(void) {\n"
    "    const net_threads *threads = NULL;\n    const net_train_threads *more = NULL;\n"
    "#ifdef _OPENMP\n"
    "    net_threads a = net_openmp_threads();\n    net_train_threads b = "
    "net_train_openmp_threads();\n"
    "    threads = &a;\n    more = &b;\n"
    "#endif\n"
    "    float image[NET_IMAGE_ELEMENTS], logits[NET_LOGITS_ELEMENTS], loss;\n"
    "    int64_t label[NET_TRAIN_LABEL_ELEMENTS];\n"
    "    float *weights = block(NET_TRAIN_WEIGHTS_SIZE), *out = block(NET_TRAIN_WEIGHTS_SIZE);\n"
    "    char *state = block(NET_STATE_SIZE), *workspace = block(NET_WORKSPACE_SIZE);\n"
    "    load(\"image.raw\", image, sizeof image);\n    load(\"label.raw\", label, sizeof label);\n"
    "    load(\"weights.raw\", weights, NET_TRAIN_WEIGHTS_SIZE);\n"
    "    expect(net_init(NULL, NULL), NET_E_NULL);\n"
    "    expect(net_init(state + 4, NULL), NET_E_ALIGN);\n"
    "    expect(net_init(state, NULL), NET_OK);\n"
    "    expect(net_run(state, workspace, NULL, logits, threads), NET_E_NULL);\n"
    "    expect(net_run(state, workspace + 32, image, logits, threads), NET_E_ALIGN);\n"
    "    expect(net_run(state, workspace, image, logits, threads), 0);\n"
    "    save(\"logits.raw\", logits, sizeof logits);\n"
    "    expect(net_init(state, weights), NET_OK);\n"
    "    memset(logits, 0, sizeof logits);\n"
    "    expect(net_run(state, workspace, image, logits, threads), 0);\n"
    "    save(\"logits2.raw\", logits, sizeof logits);\n"
    "    free(state);\n    free(workspace);\n"
    "    state = block(NET_TRAIN_STATE_SIZE);\n    workspace = block(NET_TRAIN_WORKSPACE_SIZE);\n"
    "    expect(net_train_init(state, NULL), NET_TRAIN_E_WEIGHTS);\n"
    "    expect(net_train_init(state, weights), 0);\n"
    "    expect(net_train_export(state, out), 0);\n"
    "    if (memcmp(out, weights, NET_TRAIN_WEIGHTS_SIZE) != 0) exit(8);\n"
    "    expect(net_train_step(state, workspace, image, label, 0.01f, 1, 7, &loss, more), 0);\n"
    "    expect(net_train_export(state, out), 0);\n"
    "    save(\"updated.raw\", out, NET_TRAIN_WEIGHTS_SIZE);\n"
    "    save(\"loss.raw\", &loss, sizeof loss);\n"
    "    for (int i = 0; i < NET_TRAIN_PARAMETERS; i++)\n"
    "        printf(\"%s %zu %zu\\n\", net_train_parameters[i].name, "
    "net_train_parameters[i].offset,\n"
    "               net_train_parameters[i].elements);\n"
    "    fprintf(stderr, \"%s; %s\\n\", net_error(NET_E_ALIGN), net_train_error(1000));\n"
    "    free(state);\n    free(workspace);\n    free(weights);\n    free(out);\n"
    "    return 0;\n}\n";

enum { BATCH = 6, IMAGE = BATCH * CLI_CASE_SIDE * CLI_CASE_SIDE };

static void write_inputs(const cli_case *t) {
    float image[IMAGE];
    int64_t label[BATCH];
    for (int i = 0; i < IMAGE; i++)
        image[i] = (float)rt_random_normal(3, (rt_place){.index = (uint32_t)i});
    for (int i = 0; i < BATCH; i++)
        label[i] = i % CLI_CASE_CLASSES;
    cli_case_write(t, "image.raw", image, sizeof image);
    cli_case_write(t, "label.raw", label, sizeof label);
    rt_tensor tensors[2] = {{"image", RT_F32, 4, {BATCH, 1, CLI_CASE_SIDE, CLI_CASE_SIDE}, image},
                            {"label", RT_I64, 1, {BATCH}, label}};
    rt_error error;
    assert_true(rt_tensors_write(cli_case_path(t, "in.safetensors"), tensors, 2, NULL, 0, &error));
}

/* The tensor's bytes are those of the raw file from `offset` on. */
static void same_bytes(const cli_case *t, const char *raw, size_t offset, const rt_tensor *tensor) {
    size_t size, bytes = (size_t)rt_tensor_elements(tensor) * 4;
    char *data = cli_case_read(t, raw, &size);
    assert_non_null(data);
    assert_true(offset + bytes <= size);
    if (memcmp(data + offset, tensor->data, bytes) != 0)
        print_error("%s: '%s' differs\n", raw, tensor->name);
    assert_memory_equal(data + offset, tensor->data, bytes);
    free(data);
}

static rt_tensors *open_tensors(const cli_case *t, const char *name) {
    rt_error error;
    rt_tensors *file = rt_tensors_open(cli_case_path(t, name), &error);
    if (!file) print_error("%s\n", error.text);
    assert_non_null(file);
    return file;
}

/* Parameters in the order of the header's table, as the program prints it. */
static void write_weights(const cli_case *t) {
    char *header = cli_case_read(t, "net_train.h", NULL), name[64];
    rt_tensors *file = open_tensors(t, "a/last.safetensors");
    float *weights = calloc(4096, sizeof *weights);
    unsigned offset, elements, rows = 0, end = 0;
    for (const char *p = header; (p = strstr(p, "    {\"")); p++) {
        if (sscanf(p, "    {\"%63[^\"]\", %u, %u", name, &offset, &elements) != 3) continue;
        const rt_tensor *tensor = rt_tensors_find(file, name);
        assert_non_null(tensor);
        assert_int_equal(rt_tensor_elements(tensor), elements);
        assert_true(offset == end && offset + elements <= 4096);
        memcpy(weights + offset, tensor->data, elements * sizeof *weights);
        end = offset + elements;
        rows++;
    }
    assert_int_equal(rows, rt_tensors_count(file));
    cli_case_write(t, "weights.raw", weights, end * sizeof *weights);
    free(weights);
    free(header);
    rt_tensors_close(file);
}

static void compare(cli_case *t) {
    rt_tensors *run = open_tensors(t, "run.safetensors");
    rt_tensors *step = open_tensors(t, "step.safetensors");
    same_bytes(t, "logits.raw", 0, rt_tensors_find(run, "logits"));
    same_bytes(t, "logits2.raw", 0, rt_tensors_find(run, "logits"));
    same_bytes(t, "loss.raw", 0, rt_tensors_find(step, "loss"));
    int rows = 0;
    for (const char *line = t->out; *line; line = strchr(line, '\n') + 1) {
        char name[64];
        size_t offset, elements;
        assert_int_equal(sscanf(line, "%63s %zu %zu", name, &offset, &elements), 3);
        const rt_tensor *tensor = rt_tensors_find(step, name);
        assert_non_null(tensor);
        same_bytes(t, "updated.raw", 4 * offset, tensor);
        rows++;
    }
    assert_int_equal(rows + 2, rt_tensors_count(step)); /* loss and logits */
    rt_tensors_close(run);
    rt_tensors_close(step);
}

static void agree_with_jit(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    write_inputs(&t);
    cli_case_write(&t, "main.c", program, sizeof program - 1);
    cli_case_expect(&t, "train net.cnx --data data --out a", 0, NULL);
    cli_case_expect(&t, "net.cnx --emit-infer --batch 6 --weights a/last.safetensors", 0, "net.h");
    cli_case_expect(&t, "net.cnx --emit-train --batch 6", 0, "net_train.h");
    write_weights(&t);
    cli_case_expect(&t,
                    "run net.cnx --weights a/last.safetensors --inputs in.safetensors "
                    "--outputs run.safetensors",
                    0, NULL);
    cli_case_expect(&t,
                    "run net.cnx --train --update --lr 0.01 --seed 7 --recipe default --weights "
                    "a/last.safetensors --inputs in.safetensors --outputs step.safetensors",
                    0, NULL);
    static const char *const flags[] = {"", "-fopenmp", "-Wno-unknown-pragmas"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        char command[512];
        snprintf(command, sizeof command,
                 "cc -std=c11 -O1 -Wall -Wextra -Wpedantic -Werror %s main.c net.o net_train.o -lm "
                 "-o main && rm -f *.out && ./main",
                 flags[i]);
        int code = cli_case_shell(&t, command);
        if (code) print_error("exit %d: %s\n", code, t.err);
        assert_int_equal(code, 0);
        assert_string_equal(t.err, "state or workspace is not aligned to 64 bytes; unknown code\n");
        compare(&t);
    }
    cli_case_free(&t);
}

/* Names that mean something in C or C++, or are the same but for case or dots. */
static void headers_compile(void **unused) {
    (void)unused;
    static const char graph[] = "cnx graph net infer version 1\n"
                                "%0 = input \"float\" : f32[2,4]\n"
                                "%1 = input \"x\" : f32[2,4]\n"
                                "%2 = input \"X\" : f32[2,4]\n"
                                "%3 = input \"1.y\" : f32[2,4]\n"
                                "%4 = input \"int64_t\" : f32[2,4]\n"
                                "%5 = input \"net_threads\" : f32[2,4]\n"
                                "%6 = input \"linux\" : i64[2]\n"
                                "%7 = one_hot(%6) {classes=4} : f32[2,4]\n"
                                "%8 = add(%0, %7) : f32[2,4]\n"
                                "output \"class\" = %8\n"
                                "output \"x\" = %8\n"
                                "output \"a.b\" = %8\n"
                                "output \"a_b\" = %8\n"
                                "output \"x_\" = %8\n";
    static const char *const compilers[] = {"cc -std=c11", "cc -std=gnu17",
                                            "c++ -x c++ -std=gnu++17"};
    cli_case t = cli_case_new();
    cli_case_write(&t, "net.cnxir", graph, sizeof graph - 1);
    cli_case_write(&t, "main.c", "#include \"net.h\"\n", 17);
    cli_case_expect(&t, "net.cnxir --emit-infer", 0, "net.h");
    for (size_t i = 0; i < sizeof compilers / sizeof *compilers; i++) {
        char command[256];
        snprintf(command, sizeof command,
                 "command -v %.3s >/dev/null || exit 0; %s -Wall -Wextra -Wpedantic -Werror "
                 "-Wno-unknown-pragmas -c main.c -o main.o",
                 compilers[i], compilers[i]);
        int code = cli_case_shell(&t, command);
        if (code) print_error("%s\n", t.err);
        assert_int_equal(code, 0);
    }
    cli_case_free(&t);
}

static const char masked_model[] =
    "model net {\n"
    "    input x: f32[batch, 4, 6, 2]\n"
    "    input mask: f32[batch, 6]\n"
    "    input given: f32[batch, 6]\n"
    "    a = kept_tiles(random_mask(mask, kept = 2), kept = 2)\n"
    "    b = kept_tiles(given, kept = 2, removed = true)\n"
    "    output y = global_avg_pool(gather_tiles(x, a, tile = 2, grid = [2, 3]))\n"
    "    output z = global_avg_pool(gather_tiles(x, b, tile = 2, grid = [2, 3]))\n"
    "    meta kept = 2\n}\n";

/* A mask whose rows keep what the program was compiled for is taken, any other one refused. */
static const char masked_program[] =
    "#include \"net.h\"\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    "static float x[NET_X_ELEMENTS], y[NET_Y_ELEMENTS], z[NET_Z_ELEMENTS];\n"
    "static _Alignas(64) char state[NET_STATE_SIZE], workspace[NET_WORKSPACE_SIZE];\n"
    "static void expect(const char *mask, const char *given, int want) {\n"
    "    float m[12], g[12];\n"
    "    for (int i = 0; i < 12; i++) {\n"
    "        m[i] = !mask ? 0 : mask[i] == 'd' ? -1 : mask[i] == 'h' ? 0.5f : mask[i] - '0';\n"
    "        g[i] = given[i] == 'd' ? -1 : given[i] - '0';\n"
    "    }\n"
    "    int code = net_run(state, workspace, x, mask ? m : NULL, g, 1, 7, y, z, NULL);\n"
    "    if (code != want) printf(\"%s %s: %d, expected %d\\n\", mask ? mask : \"\", given, code, "
    "want);\n"
    "}\n"
    "int main(void) {\n"
    "    if (net_init(state, NULL)) return 1;\n"
    "    const char *good = \"110000000011\";\n"
    "    expect(\"110011111100\", good, NET_OK);\n"
    "    expect(\"ddddddddddd0\", good, NET_E_MASK);\n"
    "    expect(\"dddddd101011\", good, NET_OK);\n"
    "    expect(NULL, good, NET_OK);\n"
    "    expect(\"110011111000\", good, NET_E_MASK);\n"
    "    expect(\"010111111100\", good, NET_OK);\n"
    "    expect(\"110111111100\", good, NET_E_MASK);\n"
    "    expect(\"h10011111100\", good, NET_E_MASK);\n"
    "    expect(NULL, \"110000000001\", NET_E_MASK);\n"
    "    expect(NULL, \"dddddd000011\", NET_E_MASK);\n"
    "    puts(net_error(NET_E_MASK));\n"
    "    return 0;\n}\n";

static void refuse_wrong_masks(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_write(&t, "net.cnx", masked_model, sizeof masked_model - 1);
    cli_case_write(&t, "main.c", masked_program, sizeof masked_program - 1);
    cli_case_expect(&t, "net.cnx --emit-infer --batch 2", 0, "net.h");
    int code = cli_case_shell(&t, "cc -std=c11 -O1 -Wall -Wextra -Wpedantic -Werror "
                                  "-Wno-unknown-pragmas main.c net.o -lm -o main && ./main");
    if (code) print_error("exit %d: %s\n", code, t.err);
    assert_int_equal(code, 0);
    assert_string_equal(t.out,
                        "a row of a mask keeps another number of patches than the program\n");
    cli_case_free(&t);
}

/* A model with names that C does not take as they are. */
static const char named_model[] =
    "model named {\n    input image: f32[batch, 3, 4, 4]\n    meta mean = [0.5, 0, 1e-3]\n"
    "    meta std = [1, 0.25, 2]\n    meta crop_pct = 1\n    meta squash = true\n"
    "    meta classes = 4\n"
    "    meta class_names = [\"a \\\"b\\\" \\\\n\", \"what?"
    "?/\", \"\303\251t\303\251 1\", \"*/\"]\n"
    "    y = stem: conv2d(permute(image, [0, 2, 3, 1]), 4, kernel = 2, stride = 2)\n"
    "    output logits = head: linear(global_avg_pool(y), 4)\n"
    "    if training {\n        input label: i64[batch]\n"
    "        output loss = cross_entropy(logits, label)\n    }\n}\n"
    "recipe slow { optimizer = adamw(weight_decay = 0.25)\n    clip_norm = 2.0\n    batch = 8\n}\n";

static const char named_program[] =
    "#include \"named.h\"\n#include \"named_train.h\"\n#include <string.h>\n"
    "int main(void) {\n"
    "    static const float mean[] = NAMED_MEAN, std[] = NAMED_TRAIN_STD;\n"
    "    static const char *const name[] = NAMED_CLASS_NAMES;\n"
    "    static const char *const want[] = {\"a \\\"b\\\" \\\\n\", (\"what?\" \"?/\"),\n"
    "                                       \"\\303\\251t\\303\\251 1\", \"*/\"};\n"
    "    if (sizeof mean != 3 * sizeof *mean || sizeof std != sizeof mean) return 1;\n"
    "    if (mean[0] != 0.5f || mean[1] != 0.0f || mean[2] != 1e-3f || std[2] != 2.0f) return 2;\n"
    "    if (sizeof name != sizeof want || NAMED_CLASSES != 4 || !NAMED_SQUASH) return 3;\n"
    "    for (int i = 0; i < NAMED_CLASSES; i++)\n"
    "        if (strcmp(name[i], want[i]) != 0) return 4 + i;\n"
    "    return NAMED_PARAMETERS != sizeof named_parameters / sizeof *named_parameters ||\n"
    "           named_train_parameters[0].offset != 0;\n}\n";

/* Headers are C and C++, and say what the numbers mean. */
static void headers_say_what_numbers_mean(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_write(&t, "named.cnx", named_model, sizeof named_model - 1);
    cli_case_write(&t, "main.c", named_program, sizeof named_program - 1);
    cli_case_expect(&t, "named.cnx --emit-infer", 0, "named.h");
    cli_case_expect(&t, "named.cnx --emit-train", 0, "named_train.h");
    int code =
        cli_case_shell(&t, "set -e\nf='-Wall -Wextra -Wpedantic -Werror'\nfor m in '' -fopenmp; do "
                           "cc -std=c11 $f $m main.c -o main; ./main; "
                           "for c in c++ clang++-19; do ! command -v $c > /dev/null || "
                           "$c -std=c++11 $f $m -fsyntax-only -x c++ main.c; done; done\n"
                           "grep -E 'label  |update is' named_train.h");
    if (code) print_error("exit %d: %s\n", code, t.err);
    assert_int_equal(code, 0);
    assert_string_equal(t.out, " *   label      in:  (8) i64, each in [0, 4)\n"
                               " * The update is that of recipe slow: adamw(betas = [0.9, 0.999], "
                               "eps = 1e-08, weight_decay = 0.25), clip_norm = 2.\n");
    cli_case_free(&t);
}

/* Names of classes that only the weights bring along are in the header, too. */
static void headers_take_facts_of_weights(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=1", 0, NULL);
    cli_case_expect(&t, "net.cnx --emit-infer --weights a/last.safetensors -D mean=[0.5]", 0, NULL);
    assert_int_equal(cli_case_shell(&t, "grep -A 1 -E 'MEAN|STD|CLASS' net.h"), 0);
    assert_non_null(strstr(t.out, "#define NET_MEAN {0.5f} "));
    assert_non_null(strstr(t.out, "#define NET_STD {0.25f} "));
    assert_non_null(strstr(t.out, "#define NET_CLASSES 3 "));
    assert_non_null(strstr(t.out, "{\"0\", \"1\", \"2\"}"));
    cli_case_free(&t);
}

/* Also on every path that this machine can run, and for no x86 at all. */
static void need_libc_alone(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    int code = cli_case_shell(
        &t, "set -e\nfor o in '' '--cpu generic' '--cpu x86-64-v3' '--cpu x86-64-v4' "
            "'--target aarch64-linux-gnu'; do\n"
            "for k in infer train; do '" CNX_TEST_CNXC "' net.cnx --emit-$k $o -o x.o; "
            "nm -u x.o; nm x.o | grep -E ' [A-Z] ' | grep -vE ' U | x_' || true; done; done");
    if (code) print_error("%s", t.err);
    assert_int_equal(code, 0);
    static const char *const allowed[] = {"memcpy", "memset", "memmove", "pow",   "exp", "expf",
                                          "log",    "logf",   "sqrt",    "sqrtf", "fma", "fmaf"};
    for (const char *line = t.out; *line; line = strchr(line, '\n') + 1) {
        char name[128];
        bool known = false;
        assert_int_equal(sscanf(line, " U %127s", name), 1);
        for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
            known = known || strcmp(name, allowed[i]) == 0;
        if (!known) print_error("an object needs '%s'\n", name);
        assert_true(known);
    }
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(agree_with_jit),
                                       cmocka_unit_test(refuse_wrong_masks),
                                       cmocka_unit_test(headers_compile),
                                       cmocka_unit_test(headers_say_what_numbers_mean),
                                       cmocka_unit_test(headers_take_facts_of_weights),
                                       cmocka_unit_test(need_libc_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
