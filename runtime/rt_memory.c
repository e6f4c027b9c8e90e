/* Large blocks straight from the system, and how much of it is left. */
#define _GNU_SOURCE
#include "rt_memory.h"

#include "rt_cgroup.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGE_PAGE = 2 << 20 };

/* What a block of `bytes` takes: whole pages, at least one; 0 if that does not fit. */
static size_t block_size(int64_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes < 0 || bytes > INT64_MAX / 2) return 0;
    size_t size = ((size_t)bytes + page - 1) / page * page;
    return size ? size : page;
}

void *rt_memory_alloc(int64_t bytes) {
    size_t size = block_size(bytes), spare = size >= LARGE_PAGE ? LARGE_PAGE : 0;
    if (size == 0) return NULL;
    char *start =
        mmap(NULL, size + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    if (spare == 0) return start;
    /* A large page can begin only where its size divides the address: cut off both ends. */
    size_t front = (size_t)(-(uintptr_t)start % LARGE_PAGE);
    if (front > 0) munmap(start, front);
    if (front < spare) munmap(start + front + size, spare - front);
    madvise(start + front, size, MADV_HUGEPAGE);
    return start + front;
}

void *rt_memory_reserve(int64_t bytes) {
    size_t size = block_size(bytes);
    if (size == 0) return NULL;
    void *start = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return NULL;
    madvise(start, size, MADV_NOHUGEPAGE);
    return start;
}

void rt_memory_drop(void *memory, int64_t offset, int64_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)memory;
    uintptr_t first = (start + (uintptr_t)offset + page - 1) / page * page;
    uintptr_t last = (start + (uintptr_t)(offset + bytes)) / page * page;
    if (first < last) madvise((void *)first, last - first, MADV_DONTNEED);
}

void rt_memory_release(void *memory, int64_t bytes) {
    if (memory) munmap(memory, block_size(bytes));
}

/* Bytes the system can give without swapping; 0 if it does not say. */
static int64_t machine_available(const char *root) {
    char path[PATH_MAX], line[256];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "r");
    int64_t kilobytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNd64 " kB", &kilobytes) == 1) break;
    if (file) fclose(file);
    return kilobytes > 0 && kilobytes < INT64_MAX / 1024 ? kilobytes * 1024 : 0;
}

int64_t rt_memory_free_in(const char *root) {
    int64_t machine = machine_available(root), groups = rt_cgroup_memory(root);
    if (machine == 0) return groups == INT64_MAX ? 0 : groups;
    return machine < groups ? machine : groups;
}

int64_t rt_memory_free(void) {
    return rt_memory_free_in("");
}
