/* What the header of an object says about a program besides its sizes: how images become its input,
 * what its classes are called, the range of labels, and whose update a training step makes. */
#ifndef OBJECT_FACTS_H
#define OBJECT_FACTS_H

#include "cg_object.h"
#include "facts.h"

/* Fills in what only the header says. `weights` are those that are embedded, or NULL: as for
 * predict, their metadata counts more than the model's `meta`. Returns an exit code. */
int cli_object_facts(cli *c, const cli_program *p, const cli_weights *weights,
                     cg_object_options *options);

#endif
