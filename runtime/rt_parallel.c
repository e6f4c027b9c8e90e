/* The parallel-for of compiled programs over OpenMP.
 *
 * A training step has hundreds of regions, so what a region costs matters. GNU's and LLVM's OpenMP
 * both keep their threads and let them spin for a while between regions (one to three microseconds
 * for fork and join), but only as long as the size of the team stays the same: a smaller team ends
 * threads and the next larger one starts them anew. So a region always asks for all workers, and
 * those without tasks go straight to the end.
 */
#define _GNU_SOURCE
#include "rt_parallel.h"

#include "rt_cgroup.h"

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* Workers of a cnx_threads travel in its context pointer: there is nothing to allocate or free. */
static void *pack_count(int64_t count) {
    return (void *)(intptr_t)count;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The tasks of worker w among n: [tasks w / n, tasks (w + 1) / n). */
static void run_range(int64_t tasks, int64_t w, int64_t n, cnx_task body, void *argument) {
    int64_t each = tasks / n, rest = tasks % n;
    int64_t begin = w * each + least(w, rest), end = begin + each + (w < rest);
    for (int64_t t = begin; t < end; t++)
        body(argument, t, w);
}

static void parallel_for(void *context, int64_t tasks, int64_t workers, cnx_task body,
                         void *argument) {
    int64_t count = (int64_t)(intptr_t)context, active = least(least(workers, tasks), count);
    if (active <= 1) {
        run_range(tasks, 0, 1, body, argument);
        return;
    }
#pragma omp parallel num_threads((int)count)
    {
        /* OpenMP may give fewer threads than asked for. */
        int64_t w = omp_get_thread_num(), n = least(active, omp_get_num_threads());
        if (w < n) run_range(tasks, w, n, body, argument);
    }
}

int64_t rt_cores(void) {
    cpu_set_t set;
    int64_t cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                                : sysconf(_SC_NPROCESSORS_ONLN);
    double share = ceil(rt_cgroup_cores(""));
    if (share > 0 && share < (double)cores) cores = (int64_t)share;
    return cores > 1 ? cores : 1;
}

void rt_limit_spinning(char **argv) {
    char path[4096];
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || setenv("GOMP_SPINCOUNT", "2000", 1) != 0) return;
    path[length] = 0;
    execv(path, argv); /* if that fails, the program goes on with the usual limit */
}

cnx_threads rt_threads(int64_t count) {
    count = count < 1 ? 1 : count > 1024 ? 1024 : count;
    return (cnx_threads){
        .parallel_for = parallel_for, .context = pack_count(count), .count = count};
}
