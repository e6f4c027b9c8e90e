/* cnxc train: a run that is stopped, killed or continued learns the same, bit for bit; tests after
 * each epoch agree with eval and predict; a run that fails says where. cnx-test: serial timeout=600
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli_case.h"
#include "rt_image.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/file.h>

/* Metrics without the numbers that the clock gives. */
static void same_metrics(cli_case *t, const char *a, const char *b) {
    char command[512];
    snprintf(command, sizeof command,
             "for d in %s %s; do sed 's/, \"images_per_s.*//' $d/metrics.jsonl > $d.cut; done; "
             "test -s %s.cut && cmp %s.cut %s.cut",
             a, b, a, a, b);
    assert_int_equal(cli_case_shell(t, command), 0);
}

static void learns(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 240);
    cli_case_expect(&t, "train net.cnx --data data --out a --log-json log -D epochs=8", 0,
                    "done: a/last");
    assert_non_null(strstr(t.err, "epoch 1/8 30/30  "));
    assert_non_null(strstr(t.err, "images/s  ETA "));
    assert_null(strchr(t.err, '\r'));
    char *log = cli_case_read(&t, "log", NULL),
         *metrics = cli_case_read(&t, "a/metrics.jsonl", NULL);
    assert_non_null(strstr(log, "{\"event\": \"epoch\", \"epoch\": 8, "));
    assert_non_null(strstr(log, "{\"event\": \"progress\", \"epoch\": 1, "));
    const char *last = strstr(metrics, "{\"epoch\": 8, \"step\": 240, ");
    assert_non_null(last);
    double tested = atof(strstr(last, "\"test_top1\": ") + 13);
    assert_true(tested > 0.9);
    cli_case_expect(&t, "eval net.cnx --data data --weights a/last.safetensors --json", 0, NULL);
    assert_string_equal(t.err, "");
    assert_non_null(strstr(t.out, "\"images\": 30, \"classes\": ["));
    assert_true(atof(strstr(t.out, "\"top1\": ") + 8) == tested);
    cli_case_expect(&t, "train net.cnx --data data --out b --threads 1 -D epochs=8", 0, NULL);
    cli_case_same_run(&t, "a", "b");
    cli_case_expect(&t, "train net.cnx --data data --out b --log-json log2", 1,
                    "'b' holds a run already; --resume");
    char *early = cli_case_read(&t, "log2", NULL);
    assert_null(strstr(early, "\"compile\""));
    free(early);
    cli_case_expect(&t, "train net.cnx --data data --out b --resume -D epochs=8", 0,
                    "after 8 epochs and 0 steps");
    cli_case_same_run(&t, "a", "b");
    same_metrics(&t, "a", "b");
    free(log);
    free(metrics);
    cli_case_free(&t);
}

static void resumes(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 8 * CLI_CASE_STEPS);
    const char *resume = "train net.cnx --data data --out b --resume";
    cli_case_expect(&t, "train net.cnx --data data --out a", 0, NULL);
    cli_case_interrupt(&t, resume, SIGINT, 3);
    assert_non_null(strstr(t.err, "'b' holds no state: the run starts from the beginning"));
    cli_case_interrupt_epoch(&t, resume);
    cli_case_interrupt(&t, resume, SIGTERM, 3);
    cli_case_interrupt(&t, resume, SIGKILL, 1000 + SIGKILL);
    cli_case_expect(&t, resume, 0, "resuming 'b' after ");
    cli_case_same_run(&t, "a", "b");
    same_metrics(&t, "a", "b");
    cli_case_free(&t);
}

/* A run that was killed between the metrics of an epoch and its state has a line too many. */
static void repeats_no_metrics(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    cli_case_expect(&t, "train net.cnx --data data --out a", 0, NULL);
    assert_int_equal(cli_case_shell(&t, "cp -r a b; echo '{\"epoch\": 5}' >> b/metrics.jsonl"), 0);
    cli_case_expect(&t, "train net.cnx --data data --out b --resume", 0, NULL);
    assert_true(cli_case_same_file(&t, "a/metrics.jsonl", "b/metrics.jsonl"));
    assert_int_equal(cli_case_shell(&t, "head -n 2 a/metrics.jsonl > b/metrics.jsonl"), 0);
    cli_case_expect(&t, "train net.cnx --data data --out b --resume", 0,
                    "'b/metrics.jsonl' has 2 lines of 4 epochs: the others are lost");
    cli_case_free(&t);
}

static void refuses_another_run(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    const char *resume = "train net.cnx --data data --out a --resume";
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=1", 0, NULL);
    cli_case_expect(&t, resume, 1, "has 'epochs = 1' in its recipe, but now it is 'epochs = 4'");
    cli_case_expect(&t, "train net.cnx --data data --out a --resume -D epochs=1 -D width=16", 1,
                    "the run in 'a' is of another model than 'net.cnx' is now");
    assert_int_equal(cli_case_shell(&t, "rm -r data"), 0);
    cli_case_data(&t, 72);
    cli_case_expect(&t, "train net.cnx --data data --out a --resume -D epochs=1", 1,
                    "the run in 'a' is on 64 images, but 'data' holds 72");
    assert_int_equal(cli_case_shell(&t, "head -c 3000 a/state.safetensors > cut; "
                                        "mv cut a/state.safetensors"),
                     0);
    cli_case_expect(&t, "train net.cnx --data data --out a --resume -D epochs=1", 3,
                    "state.safetensors");
    cli_case_free(&t);
}

static void tells_what_is_not_finite(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    cli_case_expect(&t, "train net.cnx --data data --out a -D gain=1e42", 3,
                    "cnxc: the loss of step 1 (epoch 1) is ");
    assert_non_null(strstr(t.err, "first op that is not finite: scale at net.cnx:24:"));
    cli_case_expect(&t,
                    "run net.cnx --train --weights a/failed.safetensors --inputs "
                    "a/failed_inputs.safetensors --outputs o.safetensors",
                    0, NULL);
    cli_case_free(&t);
}

static void starts_from_weights(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    cli_case_expect(&t, "train net.cnx --data data --out a", 0, NULL);
    cli_case_expect(&t, "train net.cnx --data data --out b --from a -D lr=0 -D epochs=1", 0, NULL);
    assert_true(cli_case_same_file(&t, "a/last.safetensors", "b/last.safetensors"));
    cli_case_expect(&t,
                    "train net.cnx --data data --out c --from b/best.safetensors -D lr=0 -D "
                    "epochs=1",
                    0, NULL);
    assert_true(cli_case_same_file(&t, "a/last.safetensors", "c/last.safetensors"));
    cli_case_expect(&t, "train net.cnx --data data --out d --from nowhere", 1, "'nowhere'");
    cli_case_expect(&t, "train net.cnx --data data --out d -D classes=4", 1,
                    "'data' has 3 classes, but 'net' gives logits for 4; try -D classes=3");
    cli_case_expect(&t, "train net.cnx --data data --out d --batch 100", 3, "100");
    cli_case_expect(&t, "train net.cnx --data data --out stdout.txt/d", 3, "stdout.txt");
    cli_case_free(&t);
}

/* A run that was killed before its first state has no other beginning than the one it was given. */
static void remembers_its_weights(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    const char *resume = "train net.cnx --data data --out b -D lr=0 -D epochs=1 --resume";
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=1", 0, NULL);
    cli_case_expect(&t, "train net.cnx --data data --out b --from a -D lr=0 -D epochs=1", 0, NULL);
    assert_int_equal(cli_case_shell(&t, "cd b && rm *.safetensors"), 0);
    cli_case_expect(&t, resume, 0,
                    "'b' holds no state: the run starts from the beginning, with the weights of "
                    "'a'");
    assert_true(cli_case_same_file(&t, "a/last.safetensors", "b/last.safetensors"));
    char command[256];
    snprintf(command, sizeof command, "%s --from a", resume);
    cli_case_expect(&t, command, 0, "resuming 'b' after 1 epochs");
    snprintf(command, sizeof command, "%s --from c", resume);
    cli_case_expect(&t, command, 1,
                    "the run in 'b' began with the weights of 'a', but --from is 'c'");
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=1 --resume --from b", 1,
                    "the run in 'a' began with random weights, but --from is 'b'");
    assert_int_equal(cli_case_shell(&t, "rm -r b"), 0);
    cli_case_expect(&t, resume, 0, "from the beginning, with random weights");
    assert_int_equal(cli_case_shell(&t, "rm -r b"), 0);
    snprintf(command, sizeof command, "%s --from a", resume);
    cli_case_expect(&t, command, 0, "from the beginning, with the weights of 'a'");
    assert_true(cli_case_same_file(&t, "a/last.safetensors", "b/last.safetensors"));
    cli_case_free(&t);
}

static void predicts(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 240);
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=8", 0, NULL);
    for (int label = 0; label < 3; label++) {
        uint8_t pixels[CLI_CASE_SIDE * CLI_CASE_SIDE];
        rt_image image = {CLI_CASE_SIDE, CLI_CASE_SIDE, 1, pixels};
        rt_error error;
        char name[16];
        cli_case_image(200000 + label, label, pixels);
        snprintf(name, sizeof name, "%d.png", label);
        assert_true(rt_image_write_png(cli_case_path(&t, name), &image, &error));
    }
    const char *all = "predict net.cnx --weights a/last.safetensors 0.png 1.png 2.png";
    cli_case_expect(&t, all, 0, NULL);
    const char *line = t.out;
    for (int label = 0; label < 3; label++) {
        char want[32];
        snprintf(want, sizeof want, "%d.png: %d ", label, label);
        if (strncmp(line, want, strlen(want)) != 0) print_error("%s", t.out);
        assert_int_equal(strncmp(line, want, strlen(want)), 0);
        line = strchr(line, '\n') + 1;
    }
    cli_case_expect(&t, "predict net.cnx --weights a/last.safetensors 1.png --json --top 2", 0, "");
    assert_non_null(strstr(t.out,
                           "[{\"file\": \"1.png\", \"top\": [{\"class\": 1, \"name\": \"1\", "
                           "\"probability\": 0."));
    cli_case_expect(&t, "predict net.cnx --weights a/last.safetensors net.cnx", 1, "net.cnx");
    cli_case_expect(&t, "predict net.cnx --weights a/last.safetensors nowhere.png", 1,
                    "nowhere.png");
    assert_string_equal(t.out, "");
    cli_case_free(&t);
}

/* data/train/CLASS/N.png and data/val/CLASS/N.png */
static void write_folders(const cli_case *t) {
    static const char *const classes[] = {"\303\251toile \"1\"", "a b", "c"};
    assert_int_equal(cli_case_shell((cli_case *)t, "mkdir -p data/train data/val"), 0);
    for (int i = 0; i < 60; i++) {
        char name[64];
        uint8_t pixels[CLI_CASE_SIDE * CLI_CASE_SIDE];
        rt_image image = {CLI_CASE_SIDE, CLI_CASE_SIDE, 1, pixels};
        rt_error error;
        snprintf(name, sizeof name, "data/%s/%s", i < 48 ? "train" : "val", classes[i % 3]);
        mkdir(cli_case_path(t, name), 0777);
        snprintf(name, sizeof name, "data/%s/%s/%d.png", i < 48 ? "train" : "val", classes[i % 3],
                 i);
        cli_case_image(i, i % 3, pixels);
        if (!rt_image_write_png(cli_case_path(t, name), &image, &error)) fail_msg("%s", error.text);
    }
}

/* More threads than a loader may have. */
static void takes_many_threads(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 24);
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=1 --threads 257", 0, "");
    cli_case_expect(&t, "eval net.cnx --data data --weights a/last.safetensors --threads 2000", 0,
                    " on 30 images");
    cli_case_free(&t);
}

static void reads_folders(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    write_folders(&t);
    cli_case_write(&t, "data/train/c/50.webp", "", 0);
    cli_case_write(&t, "data/val/c/list.txt", "", 0);
    cli_case_expect(&t, "train net.cnx --data data --out a", 0, "48 images of 3 classes");
    assert_non_null(strstr(t.err, "'data/train/c': passed over what is no .png,"));
    assert_non_null(strstr(t.err, "'data/val/c': passed over what is no .png,"));
    cli_case_expect(&t, "eval net.cnx --data data --weights a/last.safetensors --batch 7", 0,
                    " on 12 images");
    assert_non_null(strstr(t.err, "'data/val/c': passed over what is no .png,"));
    cli_case_expect(&t, "predict net.cnx --weights a/last.safetensors --json data/val/c/50.png", 0,
                    "");
    assert_non_null(strstr(t.out, "\"name\": \"a b\""));
    assert_non_null(strstr(t.out, "\"name\": \"\303\251toile \\\"1\\\"\""));
    cli_case_write(&t, "data/train/c/50.png", "no image", 8);
    cli_case_expect(&t, "train net.cnx --data data --out b", 3,
                    "; expected PNG, JPEG or BMP; put another file in its place, then --resume");
    assert_int_equal(cli_case_shell(&t, "cp data/val/c/50.png data/train/c/50.png"), 0);
    cli_case_expect(&t, "train net.cnx --data data --out b --resume", 0, "resuming 'b' after ");
    cli_case_free(&t);
}

/* What the model calls its classes counts more than what the data does. */
static void keeps_names(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    write_folders(&t);
    assert_int_equal(cli_case_shell(&t, "sed -i 's/^    meta mean/    meta class_names = "
                                        "[\"x\", \"y\", \"z\"]\\n&/' net.cnx"),
                     0);
    cli_case_expect(&t, "train net.cnx --data data --out a -D epochs=1", 0,
                    "classes go by their order: class 0 is 'a b' in 'data', 'x' in 'net'");
    assert_null(strstr(strstr(t.err, "classes go by") + 1, "classes go by")); /* said once */
    cli_case_expect(&t, "predict net.cnx --weights a/last.safetensors --json data/val/c/50.png", 0,
                    "");
    assert_non_null(strstr(t.out, "\"name\": \"y\""));
    assert_null(strstr(t.out, "\"name\": \"a b\""));
    assert_int_equal(cli_case_shell(&t, "sed -i 's/\"x\", /\"c\", /' net.cnx"), 0);
    cli_case_expect(&t, "train net.cnx --data data --out b", 1,
                    "class 1 of 'data' is 'c', which is class 0 of 'net'");
    cli_case_free(&t);
}

/* data_seed draws the images, and nothing else. */
static void draws_images(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 240);
    const char *fifth = "train net.cnx --data data -D epochs=1 -D data_fraction=0.2 --seed 5 ";
    char command[256];
    static const char *const more[] = {"--out a", "--out b -D data_seed=5",
                                       "--out c -D data_seed=6"};
    for (int i = 0; i < 3; i++) {
        snprintf(command, sizeof command, "%s%s", fifth, more[i]);
        cli_case_expect(&t, command, 0, "48 images of 3 classes");
    }
    assert_true(cli_case_same_file(&t, "a/last.safetensors", "b/last.safetensors"));
    assert_false(cli_case_same_file(&t, "a/last.safetensors", "c/last.safetensors"));
    cli_case_expect(&t, "train net.cnx --data data --out d -D data_seed=6", 1,
                    "'data_seed' has no effect: data_fraction is 1");
    cli_case_free(&t);
}

static void works_alone(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    const char *resume = "train net.cnx --data data --out a -D epochs=1 --resume";
    cli_case_expect(&t, resume, 0, NULL);
    int other = open(cli_case_path(&t, "a"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    cli_case_expect(&t, resume, 3, "another process works in 'a'");
    close(other);
    cli_case_expect(&t, resume, 0, "resuming 'a' after 1 epochs");
    cli_case_free(&t);
}

static void tells_of_another_cpu(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    const char *resume = "train net.cnx --data data --out a -D epochs=1 --resume --cpu ";
    char command[128];
    snprintf(command, sizeof command, "%sgeneric", resume);
    cli_case_expect(&t, command, 0, NULL);
    cli_case_expect(&t, command, 0, NULL);
    assert_null(strstr(t.err, "was trained on"));
    snprintf(command, sizeof command, "%sx86-64-v3", resume);
    cli_case_expect(&t, command, 0, "'a' was trained on generic, now on x86-64-v3");
    cli_case_free(&t);
}

/* On a terminal there is one moving line with a bar. */
static void shows_a_bar(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    int terminal;
    char text[65536], command[512];
    size_t used = 0;
    snprintf(command, sizeof command, "cd '%s' && exec '%s' train net.cnx --data data --out a",
             t.directory, CNX_TEST_CNXC);
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    for (ssize_t got; used < sizeof text - 1; used += (size_t)got) {
        got = read(terminal, text + used, sizeof text - 1 - used);
        if (got <= 0) break; /* the other side is closed */
    }
    text[used] = 0;
    close(terminal);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (!strstr(text, "\repoch 4/4 [####################] 8/8  ")) print_error("%s", text);
    assert_non_null(strstr(text, "\repoch 4/4 [####################] 8/8  "));
    assert_non_null(strstr(text, "\x1b[K\r\nepoch 4: loss "));
    cli_case_free(&t);
}

static void needs_no_test_part(void **unused) {
    (void)unused;
    cli_case t = cli_case_new();
    cli_case_model(&t);
    cli_case_data(&t, 64);
    assert_int_equal(cli_case_shell(&t, "rm data/t10k*"), 0);
    cli_case_expect(&t, "train net.cnx --data data --out a", 0, "'data' has no test part");
    cli_case_expect(&t, "eval net.cnx --data data --weights a/best.safetensors", 3, "no test part");
    cli_case_expect(&t, "train net.cnx --data data --out b -D test_epochs=2", 1,
                    "'test_epochs' has no effect: there is nothing to test on");
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns),
        cmocka_unit_test(resumes),
        cmocka_unit_test(repeats_no_metrics),
        cmocka_unit_test(refuses_another_run),
        cmocka_unit_test(tells_what_is_not_finite),
        cmocka_unit_test(starts_from_weights),
        cmocka_unit_test(remembers_its_weights),
        cmocka_unit_test(predicts),
        cmocka_unit_test(needs_no_test_part),
        cmocka_unit_test(takes_many_threads),
        cmocka_unit_test(reads_folders),
        cmocka_unit_test(keeps_names),
        cmocka_unit_test(draws_images),
        cmocka_unit_test(works_alone),
        cmocka_unit_test(tells_of_another_cpu),
        cmocka_unit_test(shows_a_bar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
