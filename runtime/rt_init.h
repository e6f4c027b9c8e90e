/* First values of parameters, by name of the rule and by counter: a tensor's values depend on the
 * seed, its number and the element only. */
#ifndef RT_INIT_H
#define RT_INIT_H

#include "rt_error.h"

/* rule "zeros", "ones", "constant" (value `std`), "trunc_normal" (mean 0, deviation std, redrawn
 * outside of [-2, 2]) or "normal". out: (count). False for another rule, or a
 * deviation that is negative or no number. */
bool rt_init_fill(const char *rule, double std, uint64_t seed, uint32_t number, float *out,
                  int64_t count);

#endif
