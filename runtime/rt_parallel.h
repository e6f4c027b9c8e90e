/* Threads for compiled programs: the parallel-for of the ABI over OpenMP. rt_parallel.c is the only
 * file with pragmas. */
#ifndef RT_PARALLEL_H
#define RT_PARALLEL_H

#include "cnx_abi.h"

/* Cores this process may run on (its affinity mask, and the CPU share of its control group). */
int64_t rt_cores(void);
/* Keeps idle workers from burning a core for long: GNU's OpenMP lets a thread at a barrier spin for
 * 300,000 pauses, which takes milliseconds and, where other programs want the cores, makes a step
 * many times slower. The limit is read when a program starts, so this sets it and starts the
 * program again, once; `argv` is main's. Nothing happens if the user decided (OMP_WAIT_POLICY,
 * GOMP_SPINCOUNT). */
void rt_limit_spinning(char **argv);
/* A parallel-for with `count` workers (at least 1). A worker takes a contiguous range of tasks, as
 * even as possible, so a task meets the same worker in every step. */
cnx_threads rt_threads(int64_t count);

#endif
