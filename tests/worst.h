/* The larger of two errors; a NaN is larger than anything, and stays the worst once it was seen. */
#ifndef WORST_H
#define WORST_H

#include <math.h>

static inline double worst_of(double a, double b) {
    return isnan(a) || a >= b ? a : b;
}

#endif
