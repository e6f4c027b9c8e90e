/* A plan as something to write to a file: LLVM IR, assembly, or an object file, in memory.
 *
 *     cg_object_options options = {.prefix = "net", .machine = machine};
 *     ir_text object = {0};
 *     if (cg_object_emit(plan, &options, CG_FORM_OBJECT, &object, diag)) write(object);
 *     ir_text_free(&object);
 *
 * The object's functions are those of cg_program.h; it needs libc and libm, nothing else. The same
 * plan and options give the same bytes. The header beside it is cg_header.h's.
 */
#ifndef CG_OBJECT_H
#define CG_OBJECT_H

#include "cg_machine.h"
#include "diag.h"
#include "plan.h"

typedef struct cg_object_options {
    const char *prefix; /* of all names: a C identifier */
    const cg_machine *machine;
    const char *triple;   /* LLVM target triple; NULL: of this computer */
    const float *weights; /* plan->weights_elements to embed, or NULL */
    /* What only the header says. */
    const ir_meta *metas; /* in place of the plan's; NULL: those */
    size_t meta_count;
    int64_t classes;    /* labels are below it; 0: not known */
    const char *update; /* which one a training step makes, in words, or NULL */
} cg_object_options;

typedef enum cg_form { CG_FORM_LLVM, CG_FORM_ASSEMBLY, CG_FORM_OBJECT } cg_form;

/* Appends to `out`; false with an error in `diag`: an unknown triple, too many weights to embed. */
bool cg_object_emit(const ir_plan *plan, const cg_object_options *options, cg_form form,
                    ir_text *out, ir_diag *diag);

/* Of the LLVM library that this program runs with, as in 19.1.7. */
void cg_llvm_version(unsigned *major, unsigned *minor, unsigned *patch);

#endif
