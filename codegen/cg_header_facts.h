/* Facts that travel with a model (`meta`), as macros of the header: what the numbers of an input
 * mean, and what those of an output are called. */
#ifndef CG_HEADER_FACTS_H
#define CG_HEADER_FACTS_H

#include "graph.h"

/* Appends a macro for each meta that is known and holds what it should: PREFIX_MEAN {0.286f} and so
 * on. `upper` is the prefix of macros. */
void cg_header_facts(const char *upper, const ir_meta *metas, size_t count, ir_text *out);

#endif
