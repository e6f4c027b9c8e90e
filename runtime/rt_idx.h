/* IDX files, the format of MNIST: two zero bytes, a type (8: unsigned bytes), a rank, as many
 * dimensions of four bytes (big-endian), then the elements in row-major order. gzip on top if the
 * bytes begin with its signature.
 */
#ifndef RT_IDX_H
#define RT_IDX_H

#include "rt_error.h"

enum { RT_IDX_MAX_RANK = 3 };
static const int64_t rt_idx_max_bytes = (int64_t)8 << 30; /* of the unpacked data */

typedef struct rt_idx {
    int rank;
    int64_t dim[RT_IDX_MAX_RANK];
    uint8_t *data; /* (dim[0], ...) */
} rt_idx;

/* Unpacks and checks an IDX file of this rank in memory; `name` stands in messages. The result is a
 * copy, to be freed with rt_idx_free. */
bool rt_idx_parse(const char *name, const uint8_t *bytes, size_t size, int rank, rt_idx *idx,
                  rt_error *error);
bool rt_idx_open(const char *path, int rank, rt_idx *idx, rt_error *error);
void rt_idx_free(rt_idx *idx);

#endif
