/* The order in which a tensor's axes are stored, in words: how one library keeps a weight that
 * another keeps otherwise.
 *
 *     o,i,y,x    four dimensions; letters name the axes
 *     xy,i,o     the same in three: x and y merged, y varying fastest
 *     1,1,1,c    dimensions of 1 hold nothing
 *     o,i,?,?    dimensions of 1 that some files have and others do not
 *
 * Applying a pair of them moves elements, bit for bit, and only where the order differs: dropping
 * and adding dimensions of 1 leaves the data where they are.
 */
#ifndef RT_AXES_H
#define RT_AXES_H

#include "rt_safetensors.h"

enum { RT_MERGED_AXES = 3 };

typedef struct rt_axes {
    int rank;
    struct {
        char letters[RT_MERGED_AXES + 1]; /* of the axes merged here, the slowest first; "" for 1 */
        bool optional;                    /* written '?': not in every file */
    } dim[RT_MAX_RANK];
} rt_axes;

/* Reads "o,i,y,x"; a letter stands once. */
bool rt_axes_parse(const char *text, rt_axes *axes, rt_error *error);
/* Whether both hold the same letters. */
bool rt_axes_same_letters(const rt_axes *a, const rt_axes *b);

typedef struct rt_axes_change {
    const rt_axes *from, *to;
    bool optional; /* optional dimensions are in `to` */
} rt_axes_change;

/* Gives `out`, a copy of `tensor`, the shape and data of `change->to`. A tensor that is stored as
 * change->from may have more or fewer dimensions of 1 than that says; merged axes are of equal
 * size. *copy is the data in another order, to be freed, or NULL if they stay where they are. */
bool rt_axes_apply(const rt_axes_change *change, const rt_tensor *tensor, rt_tensor *out,
                   void **copy, rt_error *error);

#endif
