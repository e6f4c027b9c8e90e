/* The files of an uncompressed zip archive in memory, where they lie; inside of the runtime only.
 */
#ifndef RT_ARCHIVE_H
#define RT_ARCHIVE_H

#include "rt_error.h"

typedef struct rt_archive_file {
    char *name;
    const uint8_t *data; /* in the archive's bytes; NULL if empty */
    size_t size;
} rt_archive_file;

typedef struct rt_archive {
    rt_archive_file *files; /* sorted by name */
    size_t count, room;
} rt_archive;

/* Reads the whole archive, checksums too. False after an error; compressed files and two of one
 * name are errors. The bytes must outlive the result. */
bool rt_archive_read(const void *bytes, size_t size, rt_archive *archive, rt_error *error);
void rt_archive_free(rt_archive *archive);
const rt_archive_file *rt_archive_find(const rt_archive *archive, const char *name);

#endif
