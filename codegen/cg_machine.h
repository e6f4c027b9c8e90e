/* The machines cnx compiles for, one table row each: what passes need to know (ir_machine), what
 * LLVM needs to know (cpu, features), and what the CPU must have for the code to run.
 */
#ifndef CG_MACHINE_H
#define CG_MACHINE_H

#include "plan.h"

/* CPUID features a path needs; a mask of these is checked by the generated init function. */
typedef enum cg_feature {
    CG_AVX2 = 1,
    CG_FMA = 2,
    CG_AVX512 = 4 /* F, BW, CD, DQ, VL */,
    CG_AVX512_BF16 = 8,
    CG_AMX_BF16 = 16
} cg_feature;

typedef struct cg_machine {
    ir_machine facts;
    const char *cpu;      /* LLVM's name */
    const char *features; /* LLVM's feature string, "+avx2,+fma" */
    bool has_fma;
    unsigned needs; /* cg_feature bits */
} cg_machine;

/* The machine of this name, or NULL; "native" is the best row this CPU can run. */
const cg_machine *cg_machine_find(const char *name);
size_t cg_machine_count(void);
const cg_machine *cg_machine_at(size_t index); /* without native */
/* cg_feature bits this CPU and operating system offer; 0 on a CPU other than x86-64. */
unsigned cg_machine_offers(void);
bool cg_machine_runs_here(const cg_machine *machine);

#endif
