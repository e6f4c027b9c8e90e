#include "cg_object.h"

#include "cg_program.h"

#include <llvm-c/Core.h>

#include <string.h>

static void print_module(const cg_program *program, ir_text *out) {
    char *text = LLVMPrintModuleToString(program->module);
    ir_text_append(out, text, strlen(text));
    LLVMDisposeMessage(text);
}

static bool emit_code(const cg_program *program, LLVMCodeGenFileType kind, ir_text *out,
                      ir_diag *diag) {
    LLVMMemoryBufferRef buffer = NULL;
    if (!cg_program_emit(program, kind, &buffer, diag)) return false;
    ir_text_append(out, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
    LLVMDisposeMemoryBuffer(buffer);
    return true;
}

bool cg_object_emit(const ir_plan *plan, const cg_object_options *options, cg_form form,
                    ir_text *out, ir_diag *diag) {
    cg_program program;
    cg_program_options what = {.prefix = options->prefix,
                               .machine = options->machine,
                               .triple = options->triple,
                               .weights = options->weights};
    if (!cg_program_begin(&program, plan, &what, diag)) return false;
    bool good = true;
    switch (form) {
    case CG_FORM_LLVM: print_module(&program, out); break;
    case CG_FORM_ASSEMBLY: good = emit_code(&program, LLVMAssemblyFile, out, diag); break;
    case CG_FORM_OBJECT: good = emit_code(&program, LLVMObjectFile, out, diag); break;
    }
    cg_program_end(&program);
    return good;
}

void cg_llvm_version(unsigned *major, unsigned *minor, unsigned *patch) {
    LLVMGetVersion(major, minor, patch);
}
