/* From a plan to an optimized module, and from there to machine code. */
#include "cg_parts.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <string.h>

/* Kernels arrive as explicit vector code with static sizes: what is left is to clean up addresses
 * and move what a loop does not change out of it. */
static const char passes[] =
    "globaldce,function(early-cse<memssa>,instcombine<max-iterations=1;no-verify-fixpoint>,"
    "simplifycfg,loop-mssa(licm<allowspeculation>),early-cse)";

const ir_buffer *cg_program_io(const ir_plan *plan, int32_t index) {
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        if (b->index == index && (b->class == IR_BUFFER_INPUT || b->class == IR_BUFFER_OUTPUT))
            return b;
    }
    IR_BUG("plan %s has no io %d", plan->name, index);
}

int32_t cg_program_io_count(const ir_plan *plan) {
    int32_t count = 0;
    for (size_t i = 0; i < plan->buffer_count; i++)
        count +=
            plan->buffers[i].class == IR_BUFFER_INPUT || plan->buffers[i].class == IR_BUFFER_OUTPUT;
    return count;
}

bool cg_program_io_optional(const ir_plan *plan, int32_t index) {
    const ir_buffer *b = cg_program_io(plan, index);
    return b->class == IR_BUFFER_INPUT && b->mask.drawn;
}

bool cg_program_takes_scalars(const ir_plan *plan) {
    if (plan->kind == IR_KIND_TRAIN) return true;
    for (size_t r = 0; r < plan->main_count; r++)
        for (size_t c = 0; c < plan->main[r].call_count; c++) {
            const ir_call *call = &plan->main[r].calls[c];
            for (size_t i = 0; i < plan->kernels[call->kernel].param_count; i++)
                if (plan->buffers[call->arguments[i].buffer].class == IR_BUFFER_SCALARS)
                    return true;
        }
    return false;
}

/* ---- target ---- */

static void register_targets(void) {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser(); /* cpuid stands in the code as text */
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
}

static bool open_target(cg_program *program, const cg_program_options *options, bool *x86,
                        ir_diag *diag) {
    register_targets();
    char *triple =
        options->triple ? LLVMNormalizeTargetTriple(options->triple) : LLVMGetDefaultTargetTriple();
    char *why = NULL;
    LLVMTargetRef target = NULL;
    bool found = !LLVMGetTargetFromTriple(triple, &target, &why);
    *x86 = strncmp(triple, "x86_64", 6) == 0;
    if (!found || (!*x86 && strncmp(triple, "aarch64", 7) != 0)) {
        ir_error(diag, (ir_loc){0}, "unknown target '%s'", triple);
        ir_hint(diag, "x86_64 and aarch64 are known, as in aarch64-linux-gnu");
        found = false;
    } else if (!*x86 && options->machine->cpu[0]) {
        found = ir_error(diag, (ir_loc){0}, "%s is no CPU of the target '%s'",
                         options->machine->facts.name, triple);
        ir_hint(diag, "--cpu generic fits every target");
    } else {
        /* The plainest CPU: kernels carry their own CPU as an attribute. */
        program->target = LLVMCreateTargetMachine(target, triple, "", "", LLVMCodeGenLevelDefault,
                                                  LLVMRelocPIC, LLVMCodeModelDefault);
        LLVMSetTarget(program->module, triple);
        LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(program->target);
        LLVMSetModuleDataLayout(program->module, layout);
        LLVMDisposeTargetData(layout);
    }
    LLVMDisposeMessage(why);
    LLVMDisposeMessage(triple);
    return found;
}

/* ---- module ---- */

static void check_module(const cg_program *program) {
    char *why = NULL;
    if (LLVMVerifyModule(program->module, LLVMReturnStatusAction, &why))
        IR_BUG("broken module: %s", why);
    LLVMDisposeMessage(why);
}

static void optimize(const cg_program *program) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(program->module, passes, program->target, options);
    LLVMDisposePassBuilderOptions(options);
    if (error) IR_BUG("LLVM passes: %s", LLVMGetErrorMessage(error));
}

/* Two gigabytes of data are more than one object can address in the small code model. */
static bool can_embed(const ir_plan *plan, const cg_program_options *options, ir_diag *diag) {
    if (!options->weights || plan->weights_elements < ((int64_t)1 << 31) / 4 - 65536) return true;
    return ir_error(diag, (ir_loc){0}, "%.1f GB of weights cannot be embedded, at most 2 GB",
                    4e-9 * (double)plan->weights_elements);
}

bool cg_program_begin(cg_program *program, const ir_plan *plan, const cg_program_options *options,
                      ir_diag *diag) {
    *program = (cg_program){0};
    if (!can_embed(plan, options, diag)) return false;
    program->context = LLVMContextCreate();
    cg_parts parts = {.plan = plan, .options = options};
    parts.m = cg_module_begin(program->context, options->prefix, options->machine);
    program->module = parts.m.module;
    if (!open_target(program, options, &parts.x86, diag)) {
        cg_module_end(&parts.m);
        cg_program_end(program);
        return false;
    }
    parts.scratch = ir_arena_new();
    cg_emit_regions(&parts);
    cg_emit_entries(&parts);
    ir_arena_free(parts.scratch);
    cg_module_end(&parts.m);
    check_module(program);
    optimize(program);
    return true;
}

bool cg_program_emit(const cg_program *program, LLVMCodeGenFileType kind,
                     LLVMMemoryBufferRef *buffer, ir_diag *diag) {
    char *why = NULL;
    bool failed =
        LLVMTargetMachineEmitToMemoryBuffer(program->target, program->module, kind, &why, buffer);
    if (failed) ir_error(diag, (ir_loc){0}, "no machine code: %s", why);
    LLVMDisposeMessage(why);
    return !failed;
}

void cg_program_end(cg_program *program) {
    if (program->module) LLVMDisposeModule(program->module);
    if (program->target) LLVMDisposeTargetMachine(program->target);
    if (program->context) LLVMContextDispose(program->context);
    *program = (cg_program){0};
}
