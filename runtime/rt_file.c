/* Files written beside their target and renamed over it once they are on the disk. */
#define _GNU_SOURCE
#include "rt_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct rt_file {
    FILE *stream;
    char *path;  /* the target, symbolic links resolved */
    char *fresh; /* written first: PATH.tmp */
    bool failed;
    rt_error first; /* the first error, once `failed` */
};

static void free_file(rt_file *file) {
    if (file->stream) fclose(file->stream);
    free(file->path);
    free(file->fresh);
    free(file);
}

/* Where the links at `path` lead, which need not exist; NULL if out of memory. */
static char *follow_links(const char *path) {
    char *at = strdup(path), target[4096];
    for (;;) {
        ssize_t length = at ? readlink(at, target, sizeof target - 1) : -1;
        if (length < 0) return at;
        target[length] = 0;
        const char *slash = *target == '/' ? NULL : strrchr(at, '/');
        char *next;
        if (asprintf(&next, "%.*s%s", slash ? (int)(slash - at) + 1 : 0, at, target) < 0)
            next = NULL;
        free(at);
        at = next;
    }
}

/* A link is followed, so that its target is replaced and not the link. What exists and is no
 * regular file (a device, a folder, links in a circle) must not be replaced by a rename. */
static bool resolve(rt_file *file, const char *path, rt_error *error) {
    struct stat info;
    if (stat(path, &info) != 0) {
        if (errno == ELOOP) return rt_fail_errno(error, "cannot write '%s'", path);
    } else if (!S_ISREG(info.st_mode)) {
        return rt_fail(error, "cannot write '%s': found a %s, expected a regular file or none",
                       path, S_ISDIR(info.st_mode) ? "directory" : "device");
    }
    file->path = follow_links(path);
    if (!file->path || asprintf(&file->fresh, "%s.tmp", file->path) < 0) {
        file->fresh = NULL;
        return rt_fail(error, "cannot write '%s': out of memory", path);
    }
    return true;
}

/* Opens PATH.tmp and holds its lock, so that two processes cannot write it at once. One left behind
 * by a killed process is taken over. A file that was renamed away while we waited is not ours. */
static int open_locked(const char *fresh, rt_error *error) {
    for (;;) {
        int fd = open(fresh, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) {
            rt_fail_errno(error, "cannot create '%s'", fresh);
            return -1;
        }
        struct stat ours, there;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK)
                rt_fail(error, "cannot write '%s': another process is writing it", fresh);
            else
                rt_fail_errno(error, "cannot lock '%s'", fresh);
        } else if (fstat(fd, &ours) == 0 && stat(fresh, &there) == 0 &&
                   ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
            if (ftruncate(fd, 0) == 0) return fd;
            rt_fail_errno(error, "cannot write '%s'", fresh);
        } else {
            close(fd);
            continue;
        }
        close(fd);
        return -1;
    }
}

rt_file *rt_file_create(const char *path, rt_error *error) {
    rt_file *file = calloc(1, sizeof *file);
    if (!file) {
        rt_fail(error, "cannot write '%s': out of memory", path);
        return NULL;
    }
    int fd = resolve(file, path, error) ? open_locked(file->fresh, error) : -1;
    if (fd >= 0) {
        file->stream = fdopen(fd, "wb");
        if (file->stream) return file;
        rt_fail_errno(error, "cannot write '%s'", path);
        close(fd);
    }
    free_file(file);
    return NULL;
}

void rt_file_write(rt_file *file, const void *data, size_t bytes) {
    if (file->failed || bytes == 0) return;
    if (fwrite(data, 1, bytes, file->stream) != bytes) {
        file->failed = true;
        rt_fail_errno(&file->first, "cannot write '%s'", file->fresh);
    }
}

/* A rename lasts once the folder that holds the name is on the disk. */
static bool sync_folder_of(const char *path, rt_error *error) {
    char *folder = strdup(path);
    if (!folder) return rt_fail(error, "cannot sync the folder of '%s': out of memory", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems cannot sync a folder, and say EINVAL; there the rename itself must do. */
    bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    if (!good) rt_fail_errno(error, "cannot sync the folder of '%s'", path);
    if (fd >= 0) close(fd);
    free(folder);
    return good;
}

/* All that was written is on the disk, still beside the target. */
static bool sync_file(rt_file *file) {
    if (!file->failed && (fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0)) {
        file->failed = true;
        rt_fail_errno(&file->first, "cannot write '%s'", file->fresh);
    }
    return !file->failed;
}

static bool replace_target(rt_file *file) {
    if (rename(file->fresh, file->path) != 0) {
        file->failed = true;
        rt_fail_errno(&file->first, "cannot rename '%s' to '%s'", file->fresh, file->path);
    }
    return !file->failed;
}

bool rt_file_commit_all(rt_file *const *files, size_t count, rt_error *error) {
    size_t synced = 0, replaced = 0;
    while (synced < count && sync_file(files[synced]))
        synced++;
    while (synced == count && replaced < count && replace_target(files[replaced]))
        replaced++;
    bool good = replaced == count;
    if (!good) *error = files[synced < count ? synced : replaced]->first;
    for (size_t i = 0; i < count; i++) {
        if (i >= replaced) {
            rt_file_abandon(files[i]);
            continue;
        }
        good = good && sync_folder_of(files[i]->path, error);
        free_file(files[i]);
    }
    return good;
}

bool rt_file_commit(rt_file *file, rt_error *error) {
    return rt_file_commit_all(&file, 1, error);
}

void rt_file_abandon(rt_file *file) {
    if (!file) return;
    unlink(file->fresh);
    free_file(file);
}

int rt_file_open(const char *path, size_t *size, rt_error *error) {
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat info;
    if (fd < 0) {
        rt_fail_errno(error, "cannot open '%s'", path);
        return -1;
    }
    if (fstat(fd, &info) != 0) {
        rt_fail_errno(error, "cannot read '%s'", path);
    } else if (!S_ISREG(info.st_mode)) {
        rt_fail(error, "cannot read '%s': is no regular file", path);
    } else {
        *size = (size_t)info.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

/* How many bytes there were, up to `size`; -1 after an error. */
static ssize_t read_up_to(int fd, uint8_t *bytes, size_t size) {
    size_t at = 0;
    while (at < size) {
        ssize_t got = read(fd, bytes + at, size - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        at += (size_t)got;
    }
    return (ssize_t)at;
}

bool rt_file_read(const char *path, size_t most, uint8_t **bytes, size_t *size, rt_error *error) {
    *bytes = NULL;
    *size = 0;
    int fd = rt_file_open(path, size, error);
    if (fd < 0) return false;
    bool good = false;
    if (*size > most) {
        rt_fail(error, "cannot read '%s': %zu bytes; expected at most %zu", path, *size, most);
    } else if (!(*bytes = malloc(*size + 1))) {
        rt_fail(error, "cannot read '%s': out of memory", path);
    } else {
        ssize_t got = read_up_to(fd, *bytes, *size);
        good = got == (ssize_t)*size;
        if (got < 0)
            rt_fail_errno(error, "cannot read '%s'", path);
        else if (!good)
            rt_fail(error, "cannot read '%s': it ended at byte %zd", path, got);
        else
            (*bytes)[*size] = 0;
    }
    close(fd);
    if (good) return true;
    free(*bytes);
    *bytes = NULL;
    return false;
}

bool rt_file_append_line(const char *path, const char *line, rt_error *error) {
    size_t length = strlen(line);
    char *text = malloc(length + 1);
    if (!text) return rt_fail(error, "cannot append to '%s': out of memory", path);
    memcpy(text, line, length);
    text[length] = '\n';
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    ssize_t written = fd < 0 ? -1 : write(fd, text, length + 1);
    bool good = written == (ssize_t)length + 1;
    if (written < 0)
        rt_fail_errno(error, "cannot append to '%s'", path);
    else if (!good)
        rt_fail(error, "cannot append to '%s': wrote %zd of %zu bytes", path, written, length + 1);
    else if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: a device or a pipe */
        good = rt_fail_errno(error, "cannot append to '%s'", path);
    if (fd >= 0) close(fd);
    free(text);
    return good;
}

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool rt_make_directory(const char *path, rt_error *error) {
    char *part = strdup(path);
    if (!part) return rt_fail(error, "cannot create '%s': out of memory", path);
    bool good = *path != 0;
    if (!good) rt_fail(error, "cannot create a directory: its name is empty");
    for (char *end = part; good && *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = 0;
        int reason = mkdir(part, 0777) == 0 ? 0 : errno;
        if (reason != 0 && !is_directory(part)) {
            errno = reason;
            if (reason == EEXIST)
                rt_fail(error, "cannot create '%s': '%s' exists and is no directory", path, part);
            else
                rt_fail_errno(error, "cannot create '%s'", part);
            good = false;
        }
        *end = kept;
    }
    free(part);
    return good;
}

int rt_lock_directory(const char *path, rt_error *error) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        rt_fail_errno(error, "cannot open '%s'", path);
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno == EWOULDBLOCK)
        rt_fail(error, "another process works in '%s'", path);
    else
        rt_fail_errno(error, "cannot lock '%s'", path);
    close(fd);
    return -1;
}
