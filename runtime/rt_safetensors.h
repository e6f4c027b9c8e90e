/* Safetensors files: 8 bytes header length, a JSON header, then the data of all tensors.
 *
 * Reading maps the file and checks every field before anything is used: the header's length against
 * the file, JSON without duplicate keys, dtypes and shapes, sizes with overflow, offsets in range,
 * without overlaps and gaps. A file never crashes the reader.
 *
 *     rt_tensors *file = rt_tensors_open("w.safetensors", &error);
 *     const rt_tensor *t = rt_tensors_find(file, "head.fc.weight");
 *     rt_tensor_to_f32(t, weights, &error);
 *     rt_tensors_close(file);
 *
 * Writing lays tensors down in the order given, to a file beside the target that is synced and
 * renamed, so a reader or a crash sees the old file or the new one, whole.
 */
#ifndef RT_SAFETENSORS_H
#define RT_SAFETENSORS_H

#include "rt_error.h"

enum { RT_MAX_RANK = 8 };

typedef enum rt_dtype {
    RT_F32,
    RT_F16,
    RT_BF16,
    RT_F64,
    RT_I64,
    RT_I32,
    RT_I16,
    RT_I8,
    RT_U8,
    RT_BOOL,
    RT_U16,
    RT_U32,
    RT_U64
} rt_dtype;

const char *rt_dtype_name(rt_dtype dtype); /* "F32" */
int rt_dtype_bytes(rt_dtype dtype);
bool rt_dtype_find(const char *name, rt_dtype *dtype); /* false if there is none */

typedef struct rt_tensor {
    const char *name;
    rt_dtype dtype;
    int rank;
    int64_t dim[RT_MAX_RANK];
    const void *data; /* in row-major order; may be unaligned when read from a file */
} rt_tensor;

int64_t rt_tensor_elements(const rt_tensor *tensor);
/* "(40,1,7,7)" into `text`, which is returned. */
char *rt_tensor_shape(const rt_tensor *tensor, char *text, size_t size);

typedef struct rt_pair {
    const char *key, *value;
} rt_pair;

typedef struct rt_tensors rt_tensors;

rt_tensors *rt_tensors_open(const char *path, rt_error *error);
/* The same on bytes at hand, which must outlive the result; `name` stands in messages. */
rt_tensors *rt_tensors_parse(const char *name, const void *bytes, size_t size, rt_error *error);
void rt_tensors_close(rt_tensors *file);
size_t rt_tensors_count(const rt_tensors *file);
const rt_tensor *rt_tensors_at(const rt_tensors *file, size_t index); /* in order of their data */
const rt_tensor *rt_tensors_find(const rt_tensors *file, const char *name);
size_t rt_tensors_pair_count(const rt_tensors *file);
const rt_pair *rt_tensors_pair_at(const rt_tensors *file, size_t index);
/* The value of a key of __metadata__, or NULL. */
const char *rt_tensors_metadata(const rt_tensors *file, const char *key);

/* F32, F16, BF16 (and F64, rounded) to f32; whole numbers to i64. False for another dtype. */
bool rt_tensor_to_f32(const rt_tensor *tensor, float *out, rt_error *error);
bool rt_tensor_to_i64(const rt_tensor *tensor, int64_t *out, rt_error *error);

bool rt_tensors_write(const char *path, const rt_tensor *tensors, size_t count,
                      const rt_pair *metadata, size_t pairs, rt_error *error);

#endif
