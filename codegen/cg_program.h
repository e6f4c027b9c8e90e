/* A plan as one LLVM module: its kernels, a task function per region, and the public functions.
 *
 * Every name starts with the prefix N of the program:
 *
 *     int32_t N_init(void *state, const float *weights)            checks the CPU, packs
 *     int32_t N_run(const void *state, void *workspace, inputs..., outputs..., const N_threads *)
 *     int32_t N_step(void *state, void *workspace, inputs..., float lr, uint64_t step,
 *                    uint64_t seed, outputs..., const N_threads *)    a training step
 *     int32_t N_export(const void *state, float *weights)          train and grad: out of the state
 *     const char *N_error(int32_t code)
 *     int32_t N_regions(int64_t first, int64_t last, void *state, void *workspace,
 *                       void *const *io, const cnx_scalars *, const cnx_threads *)   JIT only
 *     int32_t N_init_regions(int64_t first, int64_t last, void *state, const float *weights,
 *                            const cnx_threads *)                    JIT only
 *
 * Inputs and outputs come in the order of their io index. A program that infers or computes
 * gradients has N_run; it takes (uint64_t step, uint64_t seed) after the inputs if the plan reads
 * scalars. Codes are those of cnx_abi.h.
 *
 * Inside: a constant table holds {task function, tasks, whether tasks may be handed out in runs}
 * for every region, init first; one loop goes through it, serially or through the caller's
 * parallel-for. Public functions are compiled for the plainest CPU of the target, so that N_init
 * can tell an old CPU from within. The JIT and the object hold the same module but for the
 * functions of regions.
 */
#ifndef CG_PROGRAM_H
#define CG_PROGRAM_H

#include "cg_machine.h"
#include "plan.h"

#include <llvm-c/TargetMachine.h>

typedef struct cg_program_options {
    const char *prefix; /* N: a C identifier */
    const cg_machine *machine;
    const char *triple;   /* NULL: of this computer */
    const float *weights; /* plan->weights_elements to embed, or NULL */
    bool regions;         /* export N_regions and N_init_regions */
} cg_program_options;

/* A module after optimization with what it takes to emit it; free with cg_program_end. */
typedef struct cg_program {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMTargetMachineRef target;
} cg_program;

/* False with an error in `diag` if the triple is unknown or does not fit the machine. */
bool cg_program_begin(cg_program *program, const ir_plan *plan, const cg_program_options *options,
                      ir_diag *diag);
/* Machine code as an object file or assembly text; the module is used up by it. */
bool cg_program_emit(const cg_program *program, LLVMCodeGenFileType kind,
                     LLVMMemoryBufferRef *buffer, ir_diag *diag);
void cg_program_end(cg_program *program);

/* The buffer that is io[index]; a plan has every index below the count once. */
const ir_buffer *cg_program_io(const ir_plan *plan, int32_t index);
int32_t cg_program_io_count(const ir_plan *plan);
/* Whether the caller may give NULL for io[index]: a mask that is drawn then. */
bool cg_program_io_optional(const ir_plan *plan, int32_t index);
/* Whether the run function takes step and seed: every training step, and what reads scalars. */
bool cg_program_takes_scalars(const ir_plan *plan);

/* What public functions return: the codes of cnx_abi.h with names and words. */
typedef struct cg_code {
    int value;
    const char *name; /* "E_CPU" */
    const char *text; /* a sentence without its full stop */
} cg_code;
size_t cg_code_count(void);
const cg_code *cg_code_at(size_t index);

#endif
