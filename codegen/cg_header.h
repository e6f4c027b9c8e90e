/* The C header beside an object file: the only paper a user of the object needs.
 *
 * It names what the object is (model, kind, batch, CPU), gives sizes and alignment of the caller's
 * memory and the meaning of inputs and outputs (cg_header_facts.h) as macros, a table of the
 * parameters with shapes and offsets, the functions of cg_program.h with what they take, and, when
 * compiled with OpenMP, a parallel-for to hand to them. Every name carries the prefix, so that
 * several headers fit into one program.
 */
#ifndef CG_HEADER_H
#define CG_HEADER_H

#include "cg_object.h"

/* Appends the header of the object that cg_object_emit makes of the same plan and options. */
void cg_header_print(const ir_plan *plan, const cg_object_options *options, ir_text *out);

#endif
