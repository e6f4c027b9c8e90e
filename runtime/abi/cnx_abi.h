/* The C interface between compiled code and its caller.
 *
 * A compiled program has one entry that runs the whole plan. Memory belongs to the caller: a state
 * (weights, packed weights, optimizer moments) and a workspace, both aligned to 64 bytes. Threads
 * come from the caller, too: a parallel-for function; NULL runs everything serially, with the same
 * result.
 */
#ifndef CNX_ABI_H
#define CNX_ABI_H

#include <stdint.h>

typedef void (*cnx_task)(void *argument, int64_t task, int64_t worker);

typedef struct cnx_threads {
    /* Runs body(argument, t, w) for every t in [0, tasks), each once, on at most `workers` workers
     * with w in [0, workers); returns when all are done. */
    void (*parallel_for)(void *context, int64_t tasks, int64_t workers, cnx_task body,
                         void *argument);
    void *context; /* passed to parallel_for */
    int64_t count; /* workers there are */
} cnx_threads;

typedef struct cnx_scalars {
    float lr;      /* learning rate of this step */
    uint64_t step; /* from 1 */
    uint64_t seed; /* key of the random streams */
} cnx_scalars;

/* What every function of a compiled program returns. */
enum {
    CNX_OK = 0,
    CNX_E_CPU = 1,     /* this CPU lacks instructions the program was compiled for */
    CNX_E_NULL = 2,    /* a required pointer is NULL */
    CNX_E_ALIGN = 3,   /* state or workspace is not aligned to 64 bytes */
    CNX_E_WEIGHTS = 4, /* no weights given and none embedded */
    CNX_E_MASK = 5     /* a row of a mask is not what the program was compiled for */
};

/* Packs the weights into the state; `weights` are f32 in the order of the program's table. */
typedef int32_t (*cnx_init_fn)(void *state, const float *weights);

#endif
