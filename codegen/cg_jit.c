#include "cg_jit.h"
#include "cg_perf.h"
#include "cg_program.h"

#include <llvm-c/Core.h>
#include <llvm-c/LLJIT.h>

#include <stdlib.h>

static const char prefix[] = "cnx"; /* of the names of the program in memory */

typedef int32_t (*regions_fn)(int64_t first, int64_t last, void *state, void *workspace,
                              void *const *io, const cnx_scalars *scalars,
                              const cnx_threads *threads);

typedef int32_t (*init_regions_fn)(int64_t first, int64_t last, void *state, const float *weights,
                                   const cnx_threads *threads);

struct cg_jit {
    LLVMOrcLLJITRef linker; /* owns the code */
    cnx_init_fn init;
    regions_fn regions;
    init_regions_fn init_regions;
    size_t region_count; /* of plan->main */
    size_t init_count;   /* of plan->init */
    size_t bytes;
};

/* Records what LLVM says and returns false; true if it says nothing. */
static bool passed(LLVMErrorRef error, const char *what, ir_diag *diag) {
    if (!error) return true;
    char *text = LLVMGetErrorMessage(error);
    ir_error(diag, (ir_loc){0}, "%s: %s", what, text);
    LLVMDisposeErrorMessage(text);
    return false;
}

static bool find(cg_jit *jit, const char *name, LLVMOrcExecutorAddress *address, ir_diag *diag) {
    return passed(LLVMOrcLLJITLookup(jit->linker, address, name), "linking in memory", diag);
}

/* memcpy, memset and pow come from this process. */
static bool add_process_symbols(cg_jit *jit, ir_diag *diag) {
    LLVMOrcDefinitionGeneratorRef generator = NULL;
    if (!passed(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                    &generator, LLVMOrcLLJITGetGlobalPrefix(jit->linker), NULL, NULL),
                "symbols of this process", diag))
        return false;
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(jit->linker), generator);
    return true;
}

static LLVMMemoryBufferRef copy_of(LLVMMemoryBufferRef object) {
    return LLVMCreateMemoryBufferWithMemoryRangeCopy(LLVMGetBufferStart(object),
                                                     LLVMGetBufferSize(object), prefix);
}

/* Takes the object; the linker works on a copy, so that names are found in it afterwards. */
static bool link_object(cg_jit *jit, LLVMMemoryBufferRef object, ir_diag *diag) {
    if (!passed(LLVMOrcCreateLLJIT(&jit->linker, NULL), "starting the linker", diag)) return false;
    LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(jit->linker);
    if (!add_process_symbols(jit, diag)) return false;
    LLVMErrorRef error = LLVMOrcLLJITAddObjectFile(jit->linker, library, copy_of(object));
    LLVMOrcExecutorAddress init, regions, init_regions;
    if (!passed(error, "adding code", diag) || !find(jit, "cnx_init", &init, diag) ||
        !find(jit, "cnx_regions", &regions, diag) ||
        !find(jit, "cnx_init_regions", &init_regions, diag))
        return false;
    jit->init = (cnx_init_fn)(uintptr_t)init;
    jit->regions = (regions_fn)(uintptr_t)regions;
    jit->init_regions = (init_regions_fn)(uintptr_t)init_regions;
    return true;
}

cg_jit *cg_jit_compile(const ir_plan *plan, const cg_jit_options *options, ir_diag *diag) {
    cg_program program;
    cg_program_options what = {.prefix = prefix, .machine = options->machine, .regions = true};
    if (!cg_program_begin(&program, plan, &what, diag)) return NULL;
    LLVMMemoryBufferRef object = NULL;
    bool ok = cg_program_emit(&program, LLVMObjectFile, &object, diag);
    cg_program_end(&program);
    if (!ok) return NULL;
    cg_jit *jit = calloc(1, sizeof *jit);
    IR_ASSERT(jit);
    jit->region_count = plan->main_count;
    jit->init_count = plan->init_count;
    jit->bytes = LLVMGetBufferSize(object);
    ok = link_object(jit, object, diag);
    if (ok && options->perf_map)
        cg_perf_write(object, "cnx_init", (uintptr_t)jit->init, plan->name);
    LLVMDisposeMemoryBuffer(object);
    if (ok) return jit;
    cg_jit_free(jit);
    return NULL;
}

void cg_jit_free(cg_jit *jit) {
    if (!jit) return;
    LLVMErrorRef error = jit->linker ? LLVMOrcDisposeLLJIT(jit->linker) : NULL;
    if (error) IR_BUG("freeing machine code: %s", LLVMGetErrorMessage(error));
    free(jit);
}

int32_t cg_jit_init(const cg_jit *jit, void *state, const float *weights) {
    return jit->init(state, weights);
}

int32_t cg_jit_init_regions(const cg_jit *jit, const cg_init *init, size_t first, size_t last) {
    IR_ASSERT(first <= last && last <= jit->init_count);
    return jit->init_regions((int64_t)first, (int64_t)last, init->state, init->weights,
                             init->threads);
}

int32_t cg_jit_run(const cg_jit *jit, const cg_run *run) {
    return cg_jit_run_regions(jit, run, 0, jit->region_count);
}

int32_t cg_jit_run_regions(const cg_jit *jit, const cg_run *run, size_t first, size_t last) {
    IR_ASSERT(first <= last && last <= jit->region_count);
    return jit->regions((int64_t)first, (int64_t)last, run->state, run->workspace, run->io,
                        run->scalars, run->threads);
}

size_t cg_jit_code_bytes(const cg_jit *jit) {
    return jit->bytes;
}

const char *cg_error(int32_t code) {
    for (size_t i = 0; i < cg_code_count(); i++)
        if (cg_code_at(i)->value == code) return cg_code_at(i)->text;
    return "unknown code";
}
