/* What the tests of the runtime share: a folder of their own, files in it, and exact messages. */
#ifndef RT_SCRATCH_H
#define RT_SCRATCH_H

#include "rt_error.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRATCH_PATH = 512 };

/* FOLDER/NAME, good until scratch_remove. */
static struct {
    char *path[1000];
    int count;
} scratch_paths;

static inline const char *scratch_path(const char *folder, const char *name) {
    char *path = NULL;
    if (scratch_paths.count == 1000 || asprintf(&path, "%s/%s", folder, name) < 0)
        fail_msg("too many paths");
    scratch_paths.path[scratch_paths.count++] = path;
    return path;
}

/* group setup: *state becomes the path of a fresh folder. */
static inline int scratch_make(void **state) {
    const char *parent = getenv("TMPDIR");
    char *path = malloc(SCRATCH_PATH);
    if (!path) return -1;
    snprintf(path, SCRATCH_PATH, "%s/cnx-test.XXXXXX", parent ? parent : "/tmp");
    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *info, int type,
                                     struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline int scratch_remove(void **state) {
    int code = nftw(*state, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    while (scratch_paths.count > 0)
        free(scratch_paths.path[--scratch_paths.count]);
    free(*state);
    return code;
}

/* Writes FOLDER/NAME and creates the folders in NAME. */
static inline void scratch_write(const char *folder, const char *name, const void *bytes,
                                 size_t size) {
    char path[2 * SCRATCH_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    mkdir(folder, 0777);
    for (char *slash = path + strlen(folder); (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        fail_msg("%s: cannot be written", path);
}

static inline void scratch_text(const char *folder, const char *name, const char *text) {
    scratch_write(folder, name, text, strlen(text));
}

/* The contents of FOLDER/NAME, NUL-terminated; the caller frees. */
static inline char *scratch_read(const char *folder, const char *name, size_t *size) {
    FILE *file = fopen(scratch_path(folder, name), "rb");
    if (!file) fail_msg("%s/%s is missing", folder, name);
    enum { ROOM = 1 << 22 };
    char *bytes = calloc(1, ROOM);
    assert_non_null(bytes);
    size_t got = fread(bytes, 1, ROOM - 1, file);
    fclose(file);
    if (size) *size = got;
    return bytes;
}

/* Files in a folder, hidden ones too. */
static inline int scratch_count(const char *folder) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int count = -2; /* . and .. */
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* The message without the scratch folder, which has another name in every run. */
static inline const char *scratch_message(const rt_error *error, const char *folder) {
    static char text[sizeof error->text];
    size_t length = strlen(folder);
    const char *from = error->text;
    char *to = text;
    while (*from)
        if (strncmp(from, folder, length) == 0) {
            *to++ = '@';
            from += length;
        } else {
            *to++ = *from++;
        }
    *to = 0;
    return text;
}

#endif
