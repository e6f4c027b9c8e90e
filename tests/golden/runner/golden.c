/* golden [--update] [--keep] --cnxc PATH --root DIR FILE.golden...
 * Runs golden cases (see golden.h); status 0 if all passed, 1 if any failed, 77 if all skipped. */
#define _GNU_SOURCE
#include "golden.h"

#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
    const char *root; /* of the project: models and tests are below */
    bool update, keep;
};

enum verdict { PASSED, FAILED, SKIPPED };

static bool cpu_has(const char *flag) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (file && !found && getline(&line, &capacity, file) > 0) {
        if (strncmp(line, "flags", 5) != 0 && strncmp(line, "Features", 8) != 0) continue;
        char *save = NULL;
        for (char *word = strtok_r(line, " \t\n", &save); word && !found;
             word = strtok_r(NULL, " \t\n", &save))
            found = strcmp(word, flag) == 0;
    }
    free(line);
    if (file) fclose(file);
    return found;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static char *join(const char *a, const char *b, const char *c) {
    struct golden_text text = {0};
    golden_appends(&text, a);
    golden_appends(&text, b);
    golden_appends(&text, c);
    return text.data;
}

static bool write_inputs(const struct golden_case *c, const char *dir) {
    for (int i = 0; i < c->file_count; i++) {
        char *path = join(dir, "/", c->files[i].name);
        FILE *file = fopen(path, "w");
        free(path);
        if (!file) return false;
        size_t size = c->files[i].text.size;
        bool ok = size == 0 || fwrite(c->files[i].text.data, 1, size, file) == size;
        if (fclose(file) != 0 || !ok) return false;
    }
    return true;
}

/* All RUN lines in order, until one fails that is not the last. */
static void run_commands(const struct golden_case *c, const struct options *options,
                         const char *dir, struct golden_run *run) {
    char *models = join(options->root, "/", "models"), *tests = join(options->root, "/", "tests");
    for (int i = 0; i < c->run_count; i++) {
        struct golden_text command = {0};
        golden_appends(&command, c->runs[i]);
        golden_replace(&command, "%models", models);
        golden_replace(&command, "%tests", tests);
        golden_replace(&command, "%s", c->files[0].name);
        golden_replace(&command, "%t", "scratch");
        golden_exec(run, command.data, dir, c->timeout);
        golden_free(&command);
        if (i + 1 < c->run_count && (run->exit_status != 0 || run->timed_out)) break;
    }
    golden_replace(&run->out, models, "%models");
    golden_replace(&run->out, tests, "%tests");
    golden_replace(&run->err, models, "%models");
    golden_replace(&run->err, tests, "%tests");
    free(models);
    free(tests);
}

static bool equal(const struct golden_text *a, const struct golden_text *b) {
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* True if the process ended in a way no expectation can describe. */
static bool crashed(const struct golden_case *c, const struct golden_run *run) {
    if (run->timed_out)
        printf("  no end after %d s\n", c->timeout);
    else if (run->signal)
        printf("  killed by signal %d (%s)\n", run->signal, strsignal(run->signal));
    else if (run->exit_status == 99)
        printf("  a sanitizer found an error\n");
    else if (run->exit_status == 126 || run->exit_status == 127)
        printf("  the command could not be run (status %d)\n", run->exit_status);
    else
        return false;
    printf("%s%s", run->out.data, run->err.data);
    return true;
}

static enum verdict judge(const struct golden_case *c, const struct options *options,
                          const struct golden_run *run) {
    if (crashed(c, run)) return FAILED;
    bool same_out = equal(&c->out, &run->out), same_err = equal(&c->err, &run->err);
    if (same_out && same_err && c->exit_status == run->exit_status) return PASSED;
    if (options->update) {
        if (!golden_case_write(c, &run->out, &run->err, run->exit_status)) return FAILED;
        printf("  updated\n");
        return PASSED;
    }
    if (c->exit_status != run->exit_status)
        printf("  exit status %d, expected %d\n", run->exit_status, c->exit_status);
    if (!same_out) golden_diff("stdout", &c->out, &run->out);
    if (!same_err) golden_diff("stderr", &c->err, &run->err);
    return FAILED;
}

static enum verdict run_case(const char *path, const struct options *options) {
    struct golden_case c;
    struct golden_run run = {0};
    enum verdict verdict = FAILED;
    const char *tmp = getenv("TMPDIR");
    if (!golden_case_read(&c, path)) {
        golden_case_free(&c);
        return FAILED;
    }
    if (c.requires && !cpu_has(c.requires)) {
        printf("  this machine has no %s\n", c.requires);
        golden_case_free(&c);
        return SKIPPED;
    }
    char *dir = join(tmp ? tmp : "/tmp", "/", "golden.XXXXXX"), *cache = join(dir, "/", ".cache");
    if (!mkdtemp(dir) || !write_inputs(&c, dir)) {
        perror(dir);
    } else {
        memcpy(cache, dir, strlen(dir));
        setenv("XDG_CACHE_HOME", cache, 1);
        run_commands(&c, options, dir, &run);
        verdict = judge(&c, options, &run);
        if (options->keep)
            printf("  kept %s\n", dir);
        else
            nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    free(dir);
    free(cache);
    golden_case_free(&c);
    golden_free(&run.out);
    golden_free(&run.err);
    return verdict;
}

/* `cnxc` in a RUN line is found through PATH. */
static bool put_in_path(const char *program) {
    char full[PATH_MAX];
    if (!realpath(program, full)) {
        perror(program);
        return false;
    }
    const char *old = getenv("PATH");
    char *path = join(dirname(full), ":", old ? old : "/usr/bin:/bin");
    bool ok = setenv("PATH", path, 1) == 0;
    free(path);
    return ok;
}

int main(int argc, char **argv) {
    struct options options = {0};
    const char *program = NULL;
    int i = 1, count[3] = {0};
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--update") == 0)
            options.update = true;
        else if (strcmp(argv[i], "--keep") == 0)
            options.keep = true;
        else if (strcmp(argv[i], "--cnxc") == 0 && i + 1 < argc)
            program = argv[++i];
        else if (strcmp(argv[i], "--root") == 0 && i + 1 < argc)
            options.root = argv[++i];
        else
            break;
    }
    char root[PATH_MAX];
    if (!program || !options.root || i == argc || strncmp(argv[i], "--", 2) == 0) {
        fprintf(stderr, "usage: golden [--update] [--keep] --cnxc PATH --root DIR FILE...\n");
        return 2;
    }
    if (!realpath(options.root, root) || !put_in_path(program)) return 2;
    options.root = root;
    for (; i < argc; i++) {
        static const char *const words[] = {"ok", "FAILED", "skipped"};
        enum verdict verdict = run_case(argv[i], &options);
        printf("%s %s\n", words[verdict], argv[i]);
        fflush(stdout);
        count[verdict]++;
    }
    return count[FAILED] ? 1 : count[PASSED] ? 0 : 77;
}
