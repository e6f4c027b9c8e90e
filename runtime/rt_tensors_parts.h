/* A set of named tensors in a file, whatever its format; inside of the runtime only.
 *
 * A reader (rt_safetensors.c, rt_torch.c) fills `tensors` and `pairs`, hands over what they point
 * into, and calls rt_tensors_index, after which the accessors of rt_safetensors.h work.
 */
#ifndef RT_TENSORS_PARTS_H
#define RT_TENSORS_PARTS_H

#include "rt_safetensors.h"

struct rt_tensors {
    rt_tensor *tensors;
    size_t count;
    size_t *by_name; /* indices of tensors, sorted */
    rt_pair *pairs;  /* metadata */
    size_t pair_count;
    void *map; /* of the file; NULL when the bytes are the caller's */
    size_t map_size;
    void *owned; /* what else the tensors and pairs point into, freed by free_owned */
    void (*free_owned)(void *owned);
};

/* Empty, with room for so many tensors; NULL if out of memory. */
rt_tensors *rt_tensors_new(size_t room);
/* Makes names findable; false if two tensors have the same one. */
bool rt_tensors_index(rt_tensors *file, rt_error *error);

/* Maps a whole regular file; an empty one is NULL with size 0. */
bool rt_map_file(const char *path, void **map, size_t *size, rt_error *error);
/* Maps a file, parses it with `parse`, and gives the map to the result. */
typedef rt_tensors *rt_parse_tensors(const char *name, const void *bytes, size_t size,
                                     rt_error *error);
rt_tensors *rt_tensors_open_with(const char *path, rt_parse_tensors *parse, rt_error *error);

#endif
