/* Tests that run cnxc itself: a scratch directory, commands in it, files for them to read.
 *
 *     cli_case t = cli_case_new();
 *     cli_case_model(&t);                              net.cnx, a network of three classes
 *     assert_int_equal(cli_case_run(&t, "inspect net.cnx"), 0);
 *     assert_non_null(strstr(t.out, "parameters"));    what it wrote to stdout; t.err likewise
 *     cli_case_free(&t);
 */
#ifndef CLI_CASE_H
#define CLI_CASE_H

#include "rt_random.h"
#include "rt_safetensors.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLI_CASE_SIDE = 12, CLI_CASE_CLASSES = 3, CLI_CASE_PATH = 256, CLI_CASE_MOST = 64 };

typedef struct cli_case {
    char directory[CLI_CASE_PATH];
    char *out, *err; /* of the last command */
} cli_case;

static inline const char *cli_case_path(const cli_case *t, const char *name) {
    static char paths[4][2 * CLI_CASE_PATH]; /* so that a call may take a few of them */
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", t->directory, name);
    return path;
}

/* A whole file, NUL-terminated; NULL if it is not there. */
static inline char *cli_case_read(const cli_case *t, const char *name, size_t *size) {
    FILE *file = fopen(cli_case_path(t, name), "rb");
    if (!file) return NULL;
    char *data = NULL;
    size_t used = 0, got;
    do {
        data = realloc(data, used + 65537);
        assert_non_null(data);
        got = fread(data + used, 1, 65536, file);
        used += got;
    } while (got > 0);
    fclose(file);
    data[used] = 0;
    if (size) *size = used;
    return data;
}

static inline void cli_case_write(const cli_case *t, const char *name, const void *data,
                                  size_t size) {
    FILE *file = fopen(cli_case_path(t, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline int cli_case_remove(const char *path, const struct stat *s, int kind,
                                  struct FTW *walk) {
    (void)s, (void)kind, (void)walk;
    return remove(path);
}

static inline void cli_case_remove_all(const char *directory) {
    nftw(directory, cli_case_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* The directories of this process: a test that fails never comes to its cli_case_free. */
static struct {
    pid_t process;
    char directory[CLI_CASE_MOST][CLI_CASE_PATH];
    int count;
} cli_case_made;

static inline void cli_case_clean(void) {
    if (getpid() != cli_case_made.process) return;
    for (int i = 0; i < cli_case_made.count; i++)
        cli_case_remove_all(cli_case_made.directory[i]);
}

/* A directory below `base`; NULL: where temporary files go. */
static inline cli_case cli_case_new_in(const char *base) {
    cli_case t = {0};
    if (!base) base = getenv("TMPDIR");
    snprintf(t.directory, sizeof t.directory, "%s/cnx_cli.XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(t.directory));
    if (cli_case_made.count == 0) assert_int_equal(atexit(cli_case_clean), 0);
    cli_case_made.process = getpid();
    assert_true(cli_case_made.count < CLI_CASE_MOST);
    strcpy(cli_case_made.directory[cli_case_made.count++], t.directory);
    return t;
}

static inline cli_case cli_case_new(void) {
    return cli_case_new_in(NULL);
}

static inline void cli_case_free(cli_case *t) {
    cli_case_remove_all(t->directory);
    free(t->out);
    free(t->err);
}

/* Starts a shell command in the directory as a process group of its own. */
static inline pid_t cli_case_start(const cli_case *t, const char *command) {
    remove(cli_case_path(t, "stdout.txt")); /* nobody must read those of the last command */
    remove(cli_case_path(t, "stderr.txt"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL); /* which a script's jobs in the background ignore */
    if (chdir(t->directory) != 0 || !freopen("stdout.txt", "w", stdout) ||
        !freopen("stderr.txt", "w", stderr) || !freopen("/dev/null", "r", stdin))
        _exit(126);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* The exit status; 1000 + the signal that ended it. */
static inline int cli_case_wait(cli_case *t, pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    free(t->out);
    free(t->err);
    t->out = cli_case_read(t, "stdout.txt", NULL);
    t->err = cli_case_read(t, "stderr.txt", NULL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline int cli_case_shell(cli_case *t, const char *command) {
    return cli_case_wait(t, cli_case_start(t, command));
}

/* cnxc with these arguments; exec keeps the process a single one, so that signals reach it. */
static inline pid_t cli_case_start_cnxc(const cli_case *t, const char *arguments) {
    char command[2048];
    snprintf(command, sizeof command, "exec '%s' %s", CNX_TEST_CNXC, arguments);
    return cli_case_start(t, command);
}

static inline int cli_case_run(cli_case *t, const char *arguments) {
    return cli_case_wait(t, cli_case_start_cnxc(t, arguments));
}

/* Runs cnxc and fails the test unless it ends with `status` and its stderr holds `part`. */
static inline void cli_case_expect(cli_case *t, const char *arguments, int status,
                                   const char *part) {
    int found = cli_case_run(t, arguments);
    if (found != status || (part && !strstr(t->err, part)))
        print_error("cnxc %s: exit %d, expected %d and '%s'; stderr:\n%s\n", arguments, found,
                    status, part ? part : "", t->err);
    assert_int_equal(found, status);
    assert_true(!part || strstr(t->err, part));
}

static inline void cli_case_pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Waits until the running command has printed `part` to stderr, at most five minutes. */
static inline bool cli_case_wait_for(const cli_case *t, const char *part) {
    for (int i = 0; i < 30000; i++) {
        char *err = cli_case_read(t, "stderr.txt", NULL);
        bool found = err && strstr(err, part);
        free(err);
        if (found) return true;
        cli_case_pause_ms(10);
    }
    return false;
}

/* --- runs that are interrupted --- */

enum { CLI_CASE_STEPS = 1125 }; /* of an epoch of 8 * CLI_CASE_STEPS images at batch 8 */

/* Resumes the run in 'b' and sends `signal` a while after it began to learn. The pause is a guess:
 * where the run was over by then, 'b' is put back as it was and the pause halved. */
static inline void cli_case_interrupt(cli_case *t, const char *command, int signal, int status) {
    int found = 0;
    for (long ms = 50; found == 0; ms /= 2) {
        assert_int_equal(cli_case_shell(t, "rm -rf kept; if test -e b; then cp -r b kept; fi"), 0);
        pid_t child = cli_case_start_cnxc(t, command);
        assert_true(cli_case_wait_for(t, "training '"));
        cli_case_pause_ms(ms);
        assert_int_equal(kill(child, signal), 0);
        found = cli_case_wait(t, child);
        if (found != 0) break;
        assert_true(ms > 0);
        assert_int_equal(cli_case_shell(t, "rm -rf b; if test -e kept; then mv kept b; fi"), 0);
    }
    if (found != status) print_error("exit %d, expected %d: %s\n", found, status, t->err);
    assert_int_equal(found, status);
}

/* Stops the run in 'b' by SIGINT, as often as it takes to stop in the midst of an epoch that is not
 * its last: a slow machine may not have made a step yet, a fast one be past the epoch. */
static inline void cli_case_interrupt_epoch(cli_case *t, const char *command) {
    long step = 0, epoch = 0;
    for (int i = 0; i < 50 && step == 0; i++) {
        cli_case_interrupt(t, command, SIGINT, 3);
        const char *stopped = strstr(t->err, "stopped after step ");
        assert_non_null(stopped);
        assert_int_equal(sscanf(stopped, "stopped after step %ld of epoch %ld", &step, &epoch), 2);
        if (step < CLI_CASE_STEPS && epoch < 3) continue;
        step = 0;
        assert_int_equal(cli_case_shell(t, "rm -r b"), 0);
    }
    assert_true(step > 0);
}

/* --- a network and images for it --- */

static inline void cli_case_model(const cli_case *t) {
    static const char text[] =
        "param classes = 3\nparam mean = [0.3]\nparam std = [0.25]\nparam width = 8\nparam gain = "
        "1.0\n"
        "block B(x, dim, drop) {\n"
        "    y = conv_dw: depthwise_conv(x, kernel = 3)\n    y = norm: layer_norm(y)\n"
        "    y = fc1: linear(y, 2 * dim)\n    y = gelu(y)\n    y = grn: grn(y)\n"
        "    y = fc2: linear(y, dim, conv = true)\n    return x + drop_path(y, drop)\n}\n"
        "model net {\n    input image: f32[batch, 1, 12, 12]\n"
        "    meta mean = mean\n    meta std = std\n    meta crop_pct = 1.0\n"
        "    y = permute(image, [0, 2, 3, 1])\n"
        "    y = stem: conv2d(y, width, kernel = 2, stride = 2)\n"
        "    y = blocks.0: B(y, width, 0.2)\n    y = blocks.1: B(y, width, 0.0)\n"
        "    y = gain * global_avg_pool(y)\n    output logits = head: linear(y, classes)\n"
        "    if training {\n        input label: i64[batch]\n"
        "        output loss = cross_entropy(logits, label, smoothing = label_smoothing)\n    "
        "}\n}\n"
        "recipe default {\n    optimizer = adamw(lr = 0.01)\n    schedule = cosine(warmup_epochs = "
        "0.5)\n    epochs = 4\n    batch = 8\n    label_smoothing = 0.1\n    clip_norm = 1.0\n"
        "    augment = [crop(padding = 1), flip(0.5)]\n}\n";
    cli_case_write(t, "net.cnx", text, sizeof text - 1);
}

/* A grey image of a class: stripes whose direction tells the class, with noise. */
static inline void cli_case_image(int64_t index, int label, uint8_t *pixels) {
    for (int y = 0; y < CLI_CASE_SIDE; y++)
        for (int x = 0; x < CLI_CASE_SIDE; x++) {
            int stripe = label == 0 ? y / 2 : label == 1 ? x / 2 : (x + y) / 2;
            rt_place place = {.sample = (uint32_t)index,
                              .index = (uint32_t)(y * CLI_CASE_SIDE + x)};
            int noise = (int)rt_random_below(5, place, 60);
            pixels[y * CLI_CASE_SIDE + x] = (uint8_t)((stripe % 2 ? 140 : 20) + noise);
        }
}

static inline void cli_case_idx(const cli_case *t, const char *part, int64_t count, int64_t first) {
    enum { PIXELS = CLI_CASE_SIDE * CLI_CASE_SIDE };
    char name[128];
    size_t bytes = 16 + (size_t)count * PIXELS;
    uint8_t *images = calloc(1, bytes), *labels = calloc(1, 8 + (size_t)count);
    uint8_t sizes[4] = {0, 0, (uint8_t)(count >> 8), (uint8_t)count};
    memcpy(images, (uint8_t[]){0, 0, 8, 3}, 4);
    memcpy(images + 4, sizes, 4);
    images[11] = images[15] = CLI_CASE_SIDE;
    memcpy(labels, (uint8_t[]){0, 0, 8, 1}, 4);
    memcpy(labels + 4, sizes, 4);
    for (int64_t i = 0; i < count; i++) {
        int label = (int)(i % CLI_CASE_CLASSES);
        labels[8 + i] = (uint8_t)label;
        cli_case_image(first + i, label, images + 16 + i * PIXELS);
    }
    snprintf(name, sizeof name, "data/%s-images-idx3-ubyte", part);
    cli_case_write(t, name, images, bytes);
    snprintf(name, sizeof name, "data/%s-labels-idx1-ubyte", part);
    cli_case_write(t, name, labels, 8 + (size_t)count);
    free(images);
    free(labels);
}

/* data/: `train` images to learn from, 30 to test on (a number that no batch divides). */
static inline void cli_case_data(const cli_case *t, int64_t train) {
    assert_int_equal(mkdir(cli_case_path(t, "data"), 0777), 0);
    cli_case_idx(t, "train", train, 0);
    cli_case_idx(t, "t10k", 30, 100000);
}

/* C that a test puts into a program of its own: aligned blocks, raw files. */
#define CLI_CASE_C_FILES                                                                           \
    "static void *block(size_t size) { return aligned_alloc(64, (size + 63) / 64 * 64); }\n"       \
    "static void load(const char *name, void *data, size_t size) {\n"                              \
    "    FILE *f = fopen(name, \"rb\");\n"                                                         \
    "    if (!f || fread(data, 1, size, f) != size) exit(9);\n    fclose(f);\n}\n"                 \
    "static void save(const char *name, const void *data, size_t size) {\n"                        \
    "    FILE *f = fopen(name, \"wb\");\n"                                                         \
    "    if (!f || fwrite(data, 1, size, f) != size) exit(9);\n    fclose(f);\n}\n"

/* --- comparing --- */

static inline bool cli_case_same_file(const cli_case *t, const char *a, const char *b) {
    size_t size_a = 0, size_b = 0;
    char *x = cli_case_read(t, a, &size_a), *y = cli_case_read(t, b, &size_b);
    bool same = x && y && size_a == size_b && memcmp(x, y, size_a) == 0;
    free(x);
    free(y);
    return same;
}

/* Two runs learned the same: their weights, states and recipes are the same files. */
static inline void cli_case_same_run(const cli_case *t, const char *a, const char *b) {
    static const char *const files[] = {"last.safetensors", "best.safetensors", "state.safetensors",
                                        "recipe.cnx"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char x[64], y[64];
        snprintf(x, sizeof x, "%s/%s", a, files[i]);
        snprintf(y, sizeof y, "%s/%s", b, files[i]);
        if (!cli_case_same_file(t, x, y)) print_error("%s and %s differ\n", x, y);
        assert_true(cli_case_same_file(t, x, y));
    }
}

#endif
