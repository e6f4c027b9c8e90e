/* Files that are whole or absent: written beside the target, synced, renamed, directory synced. */
#ifndef RT_FILE_H
#define RT_FILE_H

#include "rt_error.h"

typedef struct rt_file rt_file;

/* Where PATH is a link, the file is what it leads to, there or not. */
rt_file *rt_file_create(const char *path, rt_error *error);
/* After a failure, further writes do nothing and rt_file_commit reports the first error. */
void rt_file_write(rt_file *file, const void *data, size_t bytes);
bool rt_file_commit(rt_file *file, rt_error *error); /* frees `file` in any case */
/* Files that belong together: none takes its place before all are on the disk. Frees them. */
bool rt_file_commit_all(rt_file *const *files, size_t count, rt_error *error);
void rt_file_abandon(rt_file *file);
/* Opens a regular file for reading; -1 if it is none, without waiting for the writer of a pipe. */
int rt_file_open(const char *path, size_t *size, rt_error *error);
/* The whole file in memory, with a NUL behind it that does not count; free() it. A file of more
 * than `most` bytes is an error. */
bool rt_file_read(const char *path, size_t most, uint8_t **bytes, size_t *size, rt_error *error);
/* Appends one line and its newline in a single write; it is on the disk then. */
bool rt_file_append_line(const char *path, const char *line, rt_error *error);
/* Creates a directory and those above it. */
bool rt_make_directory(const char *path, rt_error *error);
/* A lock on a directory, which only one process has: a descriptor whose close() gives it up, or
 * -1. */
int rt_lock_directory(const char *path, rt_error *error);

#endif
