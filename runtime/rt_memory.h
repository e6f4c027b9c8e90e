/* Memory of a run: large blocks, aligned to 64 bytes and zero, asked for once before the first
 * step. */
#ifndef RT_MEMORY_H
#define RT_MEMORY_H

#include <stdint.h>

/* Zeroed; pages come as they are first touched, large ones where the system offers them. NULL if
 * there is no room. */
void *rt_memory_alloc(int64_t bytes);
void rt_memory_release(void *memory, int64_t bytes); /* the bytes asked for; NULL is fine */
/* Addresses of which pages are taken one by one, as they are touched; NULL if there is no room. To
 * be released like others. */
void *rt_memory_reserve(int64_t bytes);
/* Gives back the whole pages inside [memory + offset, memory + offset + bytes). */
void rt_memory_drop(void *memory, int64_t offset, int64_t bytes);
/* Bytes this process may still take: the least of what the machine has available and what its
 * control groups allow. 0 if unknown. */
int64_t rt_memory_free(void);
/* The same of a system whose /proc and control groups stand below the folder `root`, for tests. */
int64_t rt_memory_free_in(const char *root);

#endif
