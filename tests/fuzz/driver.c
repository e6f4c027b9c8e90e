/* The loop around a fuzz harness: corpus, mutations, clock, and the input kept on a crash. */
#define _GNU_SOURCE
#include "fuzz.h"

#include "seed.h"

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CORPUS = 512, SECONDS_PER_INPUT = 10 };

struct input {
    uint8_t *data;
    size_t size;
};

struct fuzzer {
    struct input corpus[MAX_CORPUS];
    size_t corpus_count;
    uint64_t random;
    struct input now; /* room for max_size + 1 */
};

/* What a signal handler needs; the only globals of the driver. */
static struct {
    const uint8_t *data;
    size_t size;
    char path[256];
} at_crash;

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void keep_input(void) {
    int fd = open(at_crash.path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ssize_t written = fd < 0 ? -1 : write(fd, at_crash.data, at_crash.size);
    static const char text[] = "\nfuzz: the input was kept as ";
    if (written >= 0 && write(2, text, sizeof text - 1) > 0 &&
        write(2, at_crash.path, strlen(at_crash.path)) > 0)
        written = write(2, "\n", 1);
    (void)written;
}

static void on_signal(int number) {
    if (number == SIGPROF && write(2, "\nfuzz: one input takes too long", 31) < 0) _exit(1);
    keep_input();
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_crashes(void) {
    signal(SIGPROF, on_signal);
    signal(SIGABRT, on_signal);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(keep_input);
    } else {
        signal(SIGSEGV, on_signal);
        signal(SIGFPE, on_signal);
        signal(SIGBUS, on_signal);
    }
}

/* splitmix64 */
static uint64_t next_random(struct fuzzer *f) {
    uint64_t z = f->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t below(struct fuzzer *f, size_t n) {
    return n ? next_random(f) % n : 0;
}

static struct input read_input(const char *path) {
    struct input input = {0};
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    input.data = malloc(fuzz_target.max_size + 1);
    if (!input.data) exit(2);
    input.size = fread(input.data, 1, fuzz_target.max_size, file);
    input.data[input.size] = 0;
    fclose(file);
    return input;
}

static void read_corpus(struct fuzzer *f, const char *root) {
    for (const char *const *pattern = fuzz_target.corpus; pattern && *pattern; pattern++) {
        char *full = NULL;
        glob_t found;
        if (asprintf(&full, "%s/%s", root, *pattern) < 0) exit(2);
        if (glob(full, 0, NULL, &found) != 0) {
            fprintf(stderr, "%s: there is no file '%s'; --root is the project's directory\n",
                    fuzz_target.name, full);
            exit(2);
        }
        for (size_t i = 0; i < found.gl_pathc && f->corpus_count < MAX_CORPUS; i++)
            f->corpus[f->corpus_count++] = read_input(found.gl_pathv[i]);
        globfree(&found);
        free(full);
    }
    if (f->corpus_count == 0) /* an empty input to grow from */
        f->corpus[f->corpus_count++].data = calloc(1, fuzz_target.max_size + 1);
}

/* Replaces [at, at + cut) of the current input by `size` bytes of `data`, as far as they fit. */
static void splice_in(struct fuzzer *f, size_t at, size_t cut, const void *data, size_t size) {
    struct input *now = &f->now;
    size_t room = fuzz_target.max_size - (now->size - cut);
    size = size < room ? size : room;
    memmove(now->data + at + size, now->data + at + cut, now->size - at - cut);
    memmove(now->data + at, data, size);
    now->size += size - cut;
}

static void insert_word(struct fuzzer *f, size_t at, size_t cut) {
    static const char *const numbers[] = {"0",
                                          "-1",
                                          "1000000000000000000",
                                          "9223372036854775807",
                                          "18446744073709551616",
                                          "4294967296",
                                          "1e308",
                                          "1e400",
                                          "0.0000001",
                                          "2147483648",
                                          "nan",
                                          "inf"};
    const char *const *words = fuzz_target.dictionary;
    size_t count = 0;
    while (words && words[count])
        count++;
    size_t n = sizeof numbers / sizeof *numbers, pick = below(f, count + n);
    const char *word = pick < count ? words[pick] : numbers[pick - count];
    splice_in(f, at, cut, word, strlen(word));
}

/* Many copies of a short range: deep nesting, long names, long lists. */
static void repeat_range(struct fuzzer *f, size_t at, size_t length) {
    static uint8_t copies[1 << 18];
    length = length < 64 ? length : 64;
    size_t times = (size_t)1 << below(f, 13);
    for (size_t i = 0; i < times * length && i < sizeof copies; i++)
        copies[i] = f->now.data[at + i % length];
    splice_in(f, at, 0, copies, times * length < sizeof copies ? times * length : sizeof copies);
}

static void mutate(struct fuzzer *f) {
    size_t at = below(f, f->now.size + 1);
    size_t cut = below(f, 1 + (f->now.size - at < 32 ? f->now.size - at : 32));
    const struct input *other = &f->corpus[below(f, f->corpus_count)];
    uint8_t byte = (uint8_t)next_random(f);
    switch (below(f, 8)) {
    case 0: splice_in(f, at, cut, "", 0); break;
    case 1: splice_in(f, at, cut ? 1 : 0, &byte, 1); break;
    case 2: splice_in(f, at, 0, &byte, 1); break;
    case 3: insert_word(f, at, cut); break;
    case 4: insert_word(f, at, 0); break;
    case 5: repeat_range(f, at, cut); break;
    case 6: f->now.size = at; break;
    case 7: {
        size_t from = below(f, other->size + 1);
        splice_in(f, at, cut, other->data + from, below(f, other->size - from + 1));
        break;
    }
    }
}

/* Time of the processor, not of the wall: a machine busy or asleep is no finding. 0 stops it. */
static void set_clock(int seconds) {
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = seconds}}, NULL);
}

static void run_now(struct fuzzer *f) {
    f->now.data[f->now.size] = 0;
    at_crash.data = f->now.data;
    at_crash.size = f->now.size;
    set_clock(SECONDS_PER_INPUT);
    fuzz_one(f->now.data, f->now.size);
    set_clock(0);
}

static void fuzz(struct fuzzer *f, double seconds) {
    struct timespec start, t;
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t runs = 0;
    do {
        const struct input *seed = &f->corpus[below(f, f->corpus_count)];
        memcpy(f->now.data, seed->data, seed->size);
        f->now.size = seed->size;
        size_t changes = runs < f->corpus_count ? 0 : 1 + below(f, 8);
        if (runs < f->corpus_count) {
            memcpy(f->now.data, f->corpus[runs].data, f->corpus[runs].size);
            f->now.size = f->corpus[runs].size;
        }
        while (changes--)
            mutate(f);
        run_now(f);
        runs++;
        clock_gettime(CLOCK_MONOTONIC, &t);
    } while ((double)(t.tv_sec - start.tv_sec) + 1e-9 * (double)(t.tv_nsec - start.tv_nsec) <
             seconds);
    printf("%s: %" PRIu64 " inputs from %zu files\n", fuzz_target.name, runs, f->corpus_count);
}

int main(int argc, char **argv) {
    static struct fuzzer f;
    const char *root = ".";
    double seconds = 5;
    uint64_t seed = seed_of_test();
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--root") == 0)
            root = argv[i + 1];
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else
            break;
    }
    if (i < argc && strncmp(argv[i], "--", 2) == 0) {
        fprintf(stderr, "usage: %s [--root DIR] [--seconds N] [--seed N] [FILE...]\n", argv[0]);
        return 2;
    }
    const char *length = getenv("CNX_FUZZ_SECONDS");
    seconds = length ? strtod(length, NULL) : seconds;
    f.random = seed;
    snprintf(at_crash.path, sizeof at_crash.path, "%s-%" PRIu64 ".input", fuzz_target.name, seed);
    catch_crashes();
    f.now.data = malloc(fuzz_target.max_size + 1);
    if (!f.now.data) return 2;
    if (i < argc) {
        for (; i < argc; i++) {
            free(f.now.data);
            f.now = read_input(argv[i]);
            run_now(&f);
        }
    } else {
        printf("%s: seed %" PRIu64 ", %g s\n", fuzz_target.name, seed, seconds);
        fflush(stdout);
        read_corpus(&f, root);
        fuzz(&f, seconds);
        for (size_t k = 0; k < f.corpus_count; k++)
            free(f.corpus[k].data);
    }
    free(f.now.data);
    return 0;
}
