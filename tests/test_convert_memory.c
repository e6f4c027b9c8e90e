/* Large weights are in memory once: packed, as the program wants them. A file of 350 MB without
 * data (a hole of zeros) loads and predicts, while the anonymous memory of the process is watched.
 *
 * cnx-test: release serial */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli_case.h"
#include "made_weights.h"

#include <fcntl.h>
#include <time.h>

/* The header of a safetensors file, and nothing behind it but zeros; its size in bytes. */
static int64_t write_hollow(const cli_case *t, const char *name, const made_shape *shape) {
    made m = made_weights(shape);
    char *header = NULL;
    size_t length;
    uint64_t at = 0;
    FILE *text = open_memstream(&header, &length);
    for (size_t i = 0; i < m.count; i++) {
        const rt_tensor *w = &m.tensors[i];
        fprintf(text, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "{", w->name);
        for (int d = 0; d < w->rank; d++)
            fprintf(text, "%s%lld", d ? "," : "", (long long)w->dim[d]);
        fprintf(text, "],\"data_offsets\":[%llu,", (unsigned long long)at);
        at += made_bytes(w);
        fprintf(text, "%llu]}", (unsigned long long)at);
    }
    fprintf(text, "}");
    assert_int_equal(fclose(text), 0);
    uint64_t header_bytes = length;
    int file = open(cli_case_path(t, name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_int_equal(write(file, &header_bytes, 8), 8);
    assert_int_equal(write(file, header, length), length);
    assert_int_equal(ftruncate(file, (off_t)(8 + length + at)), 0);
    close(file);
    free(header);
    made_free(&m);
    return (int64_t)(8 + length + at);
}

static int64_t anonymous_bytes(pid_t process) {
    char path[64], line[256];
    long long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)process);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %lld kB", &kilobytes) == 1) break;
    if (file) fclose(file);
    return 1024 * kilobytes;
}

/* The most anonymous memory that is seen while the command runs, which must succeed. */
static int64_t peak_of(cli_case *t, const char *arguments) {
    pid_t child = cli_case_start_cnxc(t, arguments);
    int64_t peak = 0;
    siginfo_t info;
    do {
        int64_t now = anonymous_bytes(child);
        if (now > peak) peak = now;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        info.si_pid = 0;
        assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    } while (info.si_pid == 0);
    int code = cli_case_wait(t, child);
    if (code != 0) fail_msg("cnxc %s: %d: %s", arguments, code, t->err);
    return peak;
}

static int64_t peak_of_predict(cli_case *t, const char *model) {
    char arguments[512];
    snprintf(arguments, sizeof arguments,
             "predict '" CNX_TEST_SOURCE_DIR "/models/%s.cnx' -D image_size=32 --weights "
             "w.safetensors '" CNX_TEST_SOURCE_DIR "/tests/fuzz/images/rgb.png'",
             model);
    return peak_of(t, arguments);
}

static void test_peak(void **state) {
    (void)state;
    cli_case t = cli_case_new_in(CNX_TEST_BINARY_DIR); /* /tmp may lie in memory */
    made_shape atto = {.dims = {40, 80, 160, 320},
                       .depths = {2, 2, 6, 2},
                       .conv = true,
                       .classes = 1000,
                       .hollow = true};
    made_shape base = {
        .dims = {128, 256, 512, 1024}, .depths = {3, 3, 27, 3}, .classes = 1000, .hollow = true};
    write_hollow(&t, "w.safetensors", &atto);
    int64_t compiler = peak_of_predict(&t, "convnextv2_atto"); /* all that is no weights */
    int64_t file = write_hollow(&t, "w.safetensors", &base);
    int64_t peak = peak_of_predict(&t, "convnextv2_base");
    print_message("peak %.1f MB, file %.1f MB, compiler %.1f MB\n", 1e-6 * (double)peak,
                  1e-6 * (double)file, 1e-6 * (double)compiler);
    assert_true(peak > file); /* or nothing was measured */
    assert_true(peak - compiler <= file + file / 4);
    cli_case_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_peak)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
