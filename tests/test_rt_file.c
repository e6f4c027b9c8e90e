/* Files that are whole or absent: what a failure leaves, what a second writer sees, links, folders.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_file.h"
#include "rt_scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void write_file(const char *path, const char *text) {
    rt_error error;
    rt_file *file = rt_file_create(path, &error);
    if (!file) fail_msg("%s", error.text);
    rt_file_write(file, text, strlen(text));
    assert_true(rt_file_commit(file, &error));
}

static void expect_text(const char *folder, const char *name, const char *text) {
    char *found = scratch_read(folder, name, NULL);
    assert_string_equal(found, text);
    free(found);
}

static void test_write(void **state) {
    const char *folder = scratch_path(*state, "write");
    mkdir(folder, 0777);
    write_file(scratch_path(folder, "f"), "first");
    expect_text(folder, "f", "first");
    write_file(scratch_path(folder, "f"), "and second");
    expect_text(folder, "f", "and second");
    write_file(scratch_path(folder, "empty"), "");
    expect_text(folder, "empty", "");
    assert_int_equal(scratch_count(folder), 2); /* nothing else is left */
}

/* The umask decides who may read, as for any other file. */
static void test_mode(void **state) {
    mode_t old = umask(027);
    write_file(scratch_path(*state, "mode"), "x");
    umask(old);
    struct stat info;
    assert_int_equal(stat(scratch_path(*state, "mode"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

static void test_until_commit(void **state) {
    const char *folder = scratch_path(*state, "until");
    mkdir(folder, 0777);
    write_file(scratch_path(folder, "f"), "old");
    rt_error error;
    rt_file *file = rt_file_create(scratch_path(folder, "f"), &error);
    assert_non_null(file);
    rt_file_write(file, "new", 3);
    expect_text(folder, "f", "old");
    rt_file_abandon(file);
    expect_text(folder, "f", "old");
    assert_int_equal(scratch_count(folder), 1);
    rt_file_abandon(NULL);
}

/* A disk that is full, played by a limit on the size of files: an error, the old file is left. */
static void test_disk_full(void **state) {
    const char *folder = scratch_path(*state, "full");
    mkdir(folder, 0777);
    write_file(scratch_path(folder, "f"), "old");
    struct rlimit before, small = {.rlim_cur = 100000};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    rt_error error;
    rt_file *file = rt_file_create(scratch_path(folder, "f"), &error);
    assert_non_null(file);
    static char block[50000];
    for (int i = 0; i < 10; i++)
        rt_file_write(file, block, sizeof block);
    assert_false(rt_file_commit(file, &error));
    setrlimit(RLIMIT_FSIZE, &before);
    assert_string_equal(scratch_message(&error, folder), "cannot write '@/f.tmp': File too large");
    expect_text(folder, "f", "old");
    assert_int_equal(scratch_count(folder), 1);
}

/* The second of two files does not fit: the first keeps its old content, too. */
static void test_together(void **state) {
    const char *folder = scratch_path(*state, "together");
    mkdir(folder, 0777);
    write_file(scratch_path(folder, "a"), "old a");
    write_file(scratch_path(folder, "b"), "old b");
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    static const char big[1000];
    for (int fits = 0; fits < 2; fits++) {
        rt_error error;
        rt_file *files[] = {rt_file_create(scratch_path(folder, "a"), &error),
                            rt_file_create(scratch_path(folder, "b"), &error)};
        assert_true(files[0] && files[1]);
        rt_file_write(files[0], "new a", 5);
        rt_file_write(files[1], big, fits ? 0 : sizeof big);
        setrlimit(RLIMIT_FSIZE, &small);
        assert_int_equal(rt_file_commit_all(files, 2, &error), fits);
        setrlimit(RLIMIT_FSIZE, &before);
        if (!fits) assert_non_null(strstr(error.text, "b.tmp"));
        expect_text(folder, "a", fits ? "new a" : "old a");
        expect_text(folder, "b", fits ? "" : "old b");
        assert_int_equal(scratch_count(folder), 2);
    }
}

/* A writer that is killed leaves the old file; the next one takes over what it began. */
static void test_killed(void **state) {
    const char *folder = scratch_path(*state, "killed");
    mkdir(folder, 0777);
    write_file(scratch_path(folder, "f"), "old");
    pid_t child = fork();
    if (child == 0) {
        rt_error error;
        rt_file *file = rt_file_create(scratch_path(folder, "f"), &error);
        static char block[1 << 20];
        memset(block, 'x', sizeof block);
        if (file) rt_file_write(file, block, sizeof block);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    expect_text(folder, "f", "old");
    assert_int_equal(scratch_count(folder), 2); /* f and f.tmp */
    write_file(scratch_path(folder, "f"), "new");
    expect_text(folder, "f", "new");
    assert_int_equal(scratch_count(folder), 1);
}

static void test_two_writers(void **state) {
    const char *folder = scratch_path(*state, "two");
    mkdir(folder, 0777);
    rt_error error;
    rt_file *first = rt_file_create(scratch_path(folder, "f"), &error);
    assert_non_null(first);
    assert_null(rt_file_create(scratch_path(folder, "f"), &error));
    assert_string_equal(scratch_message(&error, folder),
                        "cannot write '@/f.tmp': another process is writing it");
    rt_file_write(first, "whole", 5);
    assert_true(rt_file_commit(first, &error));
    expect_text(folder, "f", "whole");
    write_file(scratch_path(folder, "f"), "later");
    expect_text(folder, "f", "later");
}

/* A link stays a link; what it names is replaced. */
static void test_link(void **state) {
    const char *folder = scratch_path(*state, "link");
    scratch_text(folder, "real/f", "old");
    assert_int_equal(symlink("real/f", scratch_path(folder, "l")), 0);
    write_file(scratch_path(folder, "l"), "new");
    expect_text(folder, "real/f", "new");
    struct stat info;
    assert_int_equal(lstat(scratch_path(folder, "l"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

/* The same where the target is not there yet, behind a link to a link; circles end in an error. */
static void test_dangling_link(void **state) {
    const char *folder = scratch_path(*state, "dangling");
    scratch_text(folder, "real/other", "");
    assert_int_equal(symlink("real/k", scratch_path(folder, "l")), 0);
    assert_int_equal(symlink(scratch_path(folder, "real/f"), scratch_path(folder, "real/k")), 0);
    write_file(scratch_path(folder, "l"), "new");
    expect_text(folder, "real/f", "new");
    struct stat info;
    assert_int_equal(lstat(scratch_path(folder, "l"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(scratch_count(scratch_path(folder, "real")), 3); /* other, k and f */
    assert_int_equal(symlink("circle", scratch_path(folder, "circle")), 0);
    rt_error error;
    assert_null(rt_file_create(scratch_path(folder, "circle"), &error));
    assert_string_equal(scratch_message(&error, folder),
                        "cannot write '@/circle': Too many levels of symbolic links");
}

static void test_bad_targets(void **state) {
    const char *folder = scratch_path(*state, "bad");
    mkdir(folder, 0777);
    rt_error error;
    assert_null(rt_file_create(folder, &error));
    assert_string_equal(scratch_message(&error, *state), "cannot write '@/bad': found a directory, "
                                                         "expected a regular file or none");
    assert_null(rt_file_create("/dev/null", &error)); /* a rename would replace the device */
    assert_string_equal(error.text, "cannot write '/dev/null': found a device, expected a regular "
                                    "file or none");
    assert_null(rt_file_create(scratch_path(folder, "no/f"), &error));
    assert_string_equal(scratch_message(&error, folder),
                        "cannot create '@/no/f.tmp': No such file or directory");
    assert_int_equal(scratch_count(folder), 0);
}

/* A bare name stands in the current folder. */
static void test_bare_name(void **state) {
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(*state), 0);
    write_file("bare", "x");
    assert_int_equal(chdir(here), 0);
    expect_text(*state, "bare", "x");
}

static int syncs; /* calls of fsync */

/* In place of libc's, which the runtime would find otherwise. */
int fsync(int file) {
    syncs++;
    return (int)syscall(SYS_fsync, file);
}

static void test_append(void **state) {
    rt_error error;
    syncs = 0;
    const char *path = scratch_path(*state, "log");
    assert_true(rt_file_append_line(path, "one", &error));
    assert_true(rt_file_append_line(path, "", &error));
    assert_true(rt_file_append_line(path, "three", &error));
    expect_text(*state, "log", "one\n\nthree\n");
    assert_int_equal(syncs, 3);                                 /* each is on the disk at once */
    assert_true(rt_file_append_line("/dev/null", "x", &error)); /* which has none */
    assert_false(rt_file_append_line(*state, "x", &error));
    assert_string_equal(scratch_message(&error, *state), "cannot append to '@': Is a directory");
}

static void test_read(void **state) {
    const char *folder = scratch_path(*state, "read");
    scratch_text(folder, "f", "12345");
    scratch_text(folder, "empty", "");
    rt_error error;
    uint8_t *bytes;
    size_t size;
    assert_true(rt_file_read(scratch_path(folder, "f"), 5, &bytes, &size, &error));
    assert_int_equal(size, 5);
    assert_string_equal(bytes, "12345");
    free(bytes);
    assert_true(rt_file_read(scratch_path(folder, "empty"), 5, &bytes, &size, &error));
    assert_int_equal(size, 0);
    free(bytes);
    assert_false(rt_file_read(scratch_path(folder, "f"), 4, &bytes, &size, &error));
    assert_string_equal(scratch_message(&error, folder),
                        "cannot read '@/f': 5 bytes; expected at most 4");
    assert_false(rt_file_read(scratch_path(folder, "no"), 4, &bytes, &size, &error));
    assert_string_equal(scratch_message(&error, folder),
                        "cannot open '@/no': No such file or directory");
    assert_false(rt_file_read(folder, 4, &bytes, &size, &error));
    assert_string_equal(scratch_message(&error, folder), "cannot read '@': is no regular file");
    assert_null(bytes);
    assert_int_equal(mkfifo(scratch_path(folder, "pipe"), 0666), 0); /* nobody writes into it */
    assert_false(rt_file_read(scratch_path(folder, "pipe"), 4, &bytes, &size, &error));
    assert_string_equal(scratch_message(&error, folder),
                        "cannot read '@/pipe': is no regular file");
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static void test_directories(void **state) {
    const char *folder = scratch_path(*state, "dirs");
    rt_error error;
    assert_true(rt_make_directory(scratch_path(folder, "a/b//c/"), &error));
    assert_true(is_folder(scratch_path(folder, "a/b/c")));
    assert_true(rt_make_directory(scratch_path(folder, "a/b"), &error));
    scratch_text(folder, "file", "x");
    assert_false(rt_make_directory(scratch_path(folder, "file/d"), &error));
    assert_string_equal(scratch_message(&error, folder),
                        "cannot create '@/file/d': '@/file' exists and is no directory");
    assert_false(rt_make_directory("", &error));
    assert_string_equal(error.text, "cannot create a directory: its name is empty");
    assert_false(rt_make_directory("/proc/none/d", &error));
    assert_string_equal(error.text, "cannot create '/proc/none': No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),         cmocka_unit_test(test_mode),
        cmocka_unit_test(test_until_commit),  cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_together),      cmocka_unit_test(test_killed),
        cmocka_unit_test(test_two_writers),   cmocka_unit_test(test_link),
        cmocka_unit_test(test_dangling_link), cmocka_unit_test(test_bad_targets),
        cmocka_unit_test(test_bare_name),     cmocka_unit_test(test_append),
        cmocka_unit_test(test_read),          cmocka_unit_test(test_directories),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
