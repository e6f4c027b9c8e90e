/* Blocks of memory, and how much is free: made-up machines with control groups of both versions. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rt_cgroup.h"
#include "rt_memory.h"
#include "rt_scratch.h"

static void test_blocks(void **state) {
    (void)state;
    static const int64_t sizes[] = {0,       1,       63, 4096, 4097, 1 << 20, (2 << 20) - 1,
                                    2 << 20, 10000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *block = rt_memory_alloc(sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        if (sizes[i] >= 2 << 20) assert_int_equal((uintptr_t)block % (2 << 20), 0);
        for (int64_t k = 0; k < sizes[i]; k += 97)
            assert_int_equal(block[k], 0);
        memset(block, 255, (size_t)sizes[i]);
        rt_memory_release(block, sizes[i]);
    }
    rt_memory_release(NULL, 5);
}

static void test_no_room(void **state) {
    (void)state;
    assert_null(rt_memory_alloc(-1));
    assert_null(rt_memory_alloc(INT64_MAX));
    assert_null(rt_memory_alloc((int64_t)1 << 60));
}

/* A block that is used again comes back zeroed. */
static void test_zero_again(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        char *block = rt_memory_alloc(3 << 20);
        for (int64_t k = 0; k < 3 << 20; k += 64)
            assert_int_equal(block[k], 0);
        memset(block, 1, 3 << 20);
        rt_memory_release(block, 3 << 20);
    }
}

/* This machine: some memory is free, and less than there is. */
/* Whole pages inside a range come back as zeros, what shares a page with others stays. */
static void test_drop(void **state) {
    (void)state;
    enum { BYTES = 1 << 20 };
    int64_t page = sysconf(_SC_PAGESIZE);
    unsigned char *memory = rt_memory_reserve(BYTES);
    assert_non_null(memory);
    for (int64_t i = 0; i < BYTES; i++)
        assert_int_equal(memory[i], 0);
    memset(memory, 7, BYTES);
    rt_memory_drop(memory, page + 1, 3 * page);
    for (int64_t i = 0; i < BYTES; i++)
        assert_int_equal(memory[i], i >= 2 * page && i < 4 * page ? 0 : 7);
    memset(memory, 7, BYTES);
    rt_memory_drop(memory, page + 1, page - 2); /* no whole page */
    rt_memory_drop(memory, page, 0);
    for (int64_t i = 0; i < BYTES; i++)
        assert_int_equal(memory[i], 7);
    rt_memory_release(memory, BYTES);
    assert_null(rt_memory_reserve(INT64_MAX));
    assert_null(rt_memory_reserve(-1));
}

static void test_here(void **state) {
    (void)state;
    int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE), free = rt_memory_free();
    assert_true(free > 1 << 20);
    assert_true(free <= pages * page);
}

static void test_unknown(void **state) {
    const char *root = scratch_path(*state, "nothing");
    assert_int_equal(rt_memory_free_in(root), 0);
    assert_true(rt_cgroup_memory(root) == INT64_MAX);
    assert_true(rt_cgroup_cores(root) == 0);
}

static void test_no_groups(void **state) {
    const char *root = scratch_path(*state, "plain");
    scratch_text(root, "proc/meminfo",
                 "MemTotal: 16000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n");
    assert_int_equal(rt_memory_free_in(root), 8000 * 1024);
}

/* Version 2, in a group two levels deep; the upper level has the tighter limits. */
static void test_version_2(void **state) {
    const char *root = scratch_path(*state, "v2");
    scratch_text(root, "proc/meminfo", "MemAvailable: 1000000 kB\n");
    scratch_text(root, "proc/self/cgroup", "0::/slice/job\n");
    scratch_text(root, "proc/self/mountinfo",
                 "22 1 0:20 / /proc rw - proc proc rw\n"
                 "30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup rw\n");
    scratch_text(root, "sys/fs/cgroup/slice/job/memory.max", "max\n");
    scratch_text(root, "sys/fs/cgroup/slice/job/memory.current", "5000\n");
    scratch_text(root, "sys/fs/cgroup/slice/job/cpu.max", "max 100000\n");
    assert_true(rt_cgroup_memory(root) == INT64_MAX);
    assert_true(rt_cgroup_cores(root) == 0);
    assert_int_equal(rt_memory_free_in(root), 1000000 * 1024);
    scratch_text(root, "sys/fs/cgroup/slice/memory.max", "100000\n");
    scratch_text(root, "sys/fs/cgroup/slice/memory.current", "60000\n");
    scratch_text(root, "sys/fs/cgroup/slice/memory.stat",
                 "anon 30000\nfile 30000\ninactive_file 20000\nactive_file 10000\n");
    scratch_text(root, "sys/fs/cgroup/slice/cpu.max", "150000 100000\n");
    assert_int_equal(rt_cgroup_memory(root), 60000);
    assert_int_equal(rt_memory_free_in(root), 60000);
    assert_true(rt_cgroup_cores(root) == 1.5);
    scratch_text(root, "sys/fs/cgroup/slice/job/memory.max", "6000\n");
    scratch_text(root, "sys/fs/cgroup/slice/job/cpu.max", "50000 100000\n");
    assert_int_equal(rt_cgroup_memory(root), 1000);
    assert_true(rt_cgroup_cores(root) == 0.5);
    scratch_text(root, "sys/fs/cgroup/slice/job/memory.max", "4000\n"); /* lowered below use */
    assert_int_equal(rt_memory_free_in(root), 0);
}

/* Version 1 inside of a container: the mount shows the container's own group as its root. */
static void test_version_1(void **state) {
    const char *root = scratch_path(*state, "v1");
    scratch_text(root, "proc/meminfo", "MemAvailable: 1000000 kB\n");
    scratch_text(root, "proc/self/cgroup",
                 "5:cpuset:/\n4:memory:/docker/abc/job\n3:cpu,cpuacct:/docker/abc\n");
    scratch_text(root, "proc/self/mountinfo",
                 "31 1 0:27 /docker/abc /cg/memory ro - cgroup cgroup rw,memory\n"
                 "32 1 0:28 /docker/abc /cg/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"
                 "33 1 0:29 / /cg/cpuset ro - cgroup cgroup rw,cpuset\n");
    scratch_text(root, "cg/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    scratch_text(root, "cg/memory/job/memory.usage_in_bytes", "500\n");
    scratch_text(root, "cg/memory/memory.limit_in_bytes", "200000\n");
    scratch_text(root, "cg/memory/memory.usage_in_bytes", "50000\n");
    scratch_text(root, "cg/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 30000\n");
    scratch_text(root, "cg/cpu/cpu.cfs_quota_us", "-1\n");
    scratch_text(root, "cg/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(rt_memory_free_in(root), 180000);
    assert_true(rt_cgroup_cores(root) == 0);
    scratch_text(root, "cg/cpu/cpu.cfs_quota_us", "200000\n");
    assert_true(rt_cgroup_cores(root) == 2);
}

/* A group that the mount does not show is the mount itself; files without sense are no limit. */
static void test_hidden_group(void **state) {
    const char *root = scratch_path(*state, "hidden");
    scratch_text(root, "proc/meminfo", "MemAvailable: 1000000 kB\n");
    scratch_text(root, "proc/self/cgroup", "0::/../other\n");
    scratch_text(root, "proc/self/mountinfo", "30 1 0:26 / /cg rw - cgroup2 cgroup rw\n");
    scratch_text(root, "cg/memory.max", "7000\n");
    scratch_text(root, "cg/memory.current", "junk\n");
    scratch_text(root, "cg/cpu.max", "\n");
    assert_true(rt_cgroup_memory(root) == INT64_MAX);
    assert_true(rt_cgroup_cores(root) == 0);
    scratch_text(root, "cg/memory.current", "2000\n");
    assert_int_equal(rt_cgroup_memory(root), 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),     cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_zero_again), cmocka_unit_test(test_here),
        cmocka_unit_test(test_drop),       cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_no_groups),  cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_1),  cmocka_unit_test(test_hidden_group),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
