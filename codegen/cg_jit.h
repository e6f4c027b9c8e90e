/* A plan compiled into this process.
 *
 * The plan becomes the same object file that cnxc would write, which is then linked into memory
 * that is never writable and executable at once; so JIT and object run the same machine code.
 *
 *     cg_jit *jit = cg_jit_compile(plan, &(cg_jit_options){.machine = machine}, diag);
 *     int32_t code = cg_jit_init(jit, state, weights);
 *     code = cg_jit_run(jit, &(cg_run){.state = state, .workspace = workspace, .io = io,
 *                                      .scalars = &scalars, .threads = threads});
 *     if (code) puts(cg_error(code));
 *     cg_jit_free(jit);
 *
 * A compiled program has no state of its own: calls on different memory may run at the same time.
 */
#ifndef CG_JIT_H
#define CG_JIT_H

#include "cg_machine.h"
#include "diag.h"
#include "plan.h"

#include "cnx_abi.h"

typedef struct cg_jit cg_jit;

typedef struct cg_jit_options {
    const cg_machine *machine; /* whose code is emitted; init fails where it cannot run */
    bool perf_map;             /* names for `perf` in /tmp/perf-PID.map */
} cg_jit_options;

/* What a run works on; memory and alignment as in cnx_abi.h. */
typedef struct cg_run {
    void *state;                /* plan->state_bytes */
    void *workspace;            /* plan->workspace_bytes */
    void *const *io;            /* inputs and outputs by their io index */
    const cnx_scalars *scalars; /* NULL where the program takes none */
    const cnx_threads *threads; /* NULL: serial */
} cg_run;

/* NULL after an error, which is in `diag`. */
cg_jit *cg_jit_compile(const ir_plan *plan, const cg_jit_options *options, ir_diag *diag);
void cg_jit_free(cg_jit *jit);

/* These return CNX_OK or another code of cnx_abi.h. */
int32_t cg_jit_init(const cg_jit *jit, void *state, const float *weights);
/* Regions [first, last) of plan->init alone, so that weights need not be there all at once: those
 * that these regions do not read may be anything. All in their order, on a state of zeros (which
 * holds the parameters already where it is that of training), are one cg_jit_init on a CPU that was
 * checked. */
typedef struct cg_init {
    void *state;
    const float *weights;
    const cnx_threads *threads; /* NULL: serial */
} cg_init;
int32_t cg_jit_init_regions(const cg_jit *jit, const cg_init *init, size_t first, size_t last);
int32_t cg_jit_run(const cg_jit *jit, const cg_run *run);
/* Regions [first, last) of plan->main alone, to time them. */
int32_t cg_jit_run_regions(const cg_jit *jit, const cg_run *run, size_t first, size_t last);
/* Bytes of machine code, with the data next to it. */
size_t cg_jit_code_bytes(const cg_jit *jit);

/* A code in words. */
const char *cg_error(int32_t code);

#endif
