/* Memory of a run: large blocks, aligned to 64 bytes and zero, asked for once before the first
 * step. */
#ifndef RT_MEMORY_H
#define RT_MEMORY_H

#include <stdint.h>

/* Zeroed; pages come as they are first touched, large ones where the system offers them. NULL if
 * there is no room. */
void *rt_memory_alloc(int64_t bytes);
void rt_memory_release(void *memory, int64_t bytes); /* the bytes asked for; NULL is fine */
/* Bytes this process may still take: the least of what the machine has available and what its
 * control groups allow. 0 if unknown. */
int64_t rt_memory_free(void);
/* The same of a system whose /proc and control groups stand below the folder `root`, for tests. */
int64_t rt_memory_free_in(const char *root);

#endif
