/* Files as a whole: reading texts, writing atomically, and where the models stand. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_LIMIT = 256 << 20 }; /* bytes; a graph of the largest model has a few million */

bool cli_exists(const char *path) {
    return access(path, F_OK) == 0;
}

char *cli_read_text(ir_arena *arena, const char *path, const char **why) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        *why = ir_arena_printf(arena, "cannot read '%s': %s", path, strerror(errno));
        return NULL;
    }
    ir_text text = {0};
    char block[65536];
    size_t got;
    while ((got = fread(block, 1, sizeof block, file)) > 0 && text.length <= TEXT_LIMIT)
        ir_text_append(&text, block, got);
    *why = NULL;
    if (ferror(file))
        *why = ir_arena_printf(arena, "cannot read '%s': %s", path, strerror(errno));
    else if (text.length > TEXT_LIMIT)
        *why = ir_arena_printf(arena, "'%s' is larger than %d MB", path, TEXT_LIMIT >> 20);
    else if (text.length && memchr(text.data, 0, text.length))
        *why = ir_arena_printf(arena, "'%s' is no text: it holds NUL bytes", path);
    fclose(file);
    char *copy = *why ? NULL : ir_arena_strndup(arena, text.data ? text.data : "", text.length);
    ir_text_free(&text);
    return copy;
}

static bool write_all(int file, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(file, data, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        data += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool write_in_place(const char *path, const void *data, size_t bytes) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return false;
    bool good = write_all(file, data, bytes);
    int reason = errno;
    if (close(file) != 0 && good) return false;
    errno = reason;
    return good;
}

bool cli_write_file(const char *path, const void *data, size_t bytes) {
    struct stat found;
    if (stat(path, &found) == 0 && !S_ISREG(found.st_mode)) {
        if (S_ISDIR(found.st_mode)) {
            errno = EISDIR;
            return false;
        }
        return write_in_place(path, data, bytes);
    }
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (length >= (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return false;
    }
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return false;
    bool good = write_all(file, data, bytes) && fsync(file) == 0;
    int reason = errno;
    if (close(file) != 0 && good) reason = errno, good = false;
    if (good && rename(temporary, path) == 0) return true;
    if (good) reason = errno;
    unlink(temporary);
    errno = reason;
    return false;
}

int cli_write_text(cli *c, const char *path, const ir_text *text) {
    const char *data = text->data ? text->data : "";
    if (!path) {
        if (fwrite(data, 1, text->length, stdout) == text->length && fflush(stdout) == 0)
            return CLI_DONE;
        return cli_fail(c, CLI_RUN_FAILED, "cannot write to stdout: %s", strerror(errno));
    }
    if (cli_write_file(path, data, text->length)) return CLI_DONE;
    return cli_fail(c, CLI_RUN_FAILED, "cannot write '%s': %s", path, strerror(errno));
}

bool cli_make_directory(const char *path) {
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        char kept = part[i];
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return false;
        part[i] = kept;
    }
    struct stat found;
    if (stat(path, &found) != 0) return false;
    errno = ENOTDIR;
    return S_ISDIR(found.st_mode);
}

/* build/cnxc of a source tree, an installed bin/cnxc, or models beside the program. */
const char *const *cli_model_directories(ir_arena *arena) {
    static const char *const places[] = {"../models", "../share/cnx/models", "models"};
    enum { PLACES = sizeof places / sizeof *places };
    const char **found = ir_arena_alloc(arena, (PLACES + 1) * sizeof *found);
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return found;
    program[length] = 0;
    char *slash = strrchr(program, '/');
    if (!slash) return found;
    size_t count = 0;
    for (size_t i = 0; i < PLACES; i++) {
        const char *path =
            ir_arena_printf(arena, "%.*s/%s", (int)(slash - program), program, places[i]);
        if (cli_exists(path)) found[count++] = path;
    }
    return found;
}

const char *cli_find_model(ir_arena *arena, const char *name) {
    if (cli_exists(name) || strchr(name, '/')) return name;
    const char *const *directories = cli_model_directories(arena);
    for (; *directories; directories++) {
        const char *path = ir_arena_printf(arena, "%s/%s", *directories, name);
        if (cli_exists(path)) return path;
    }
    return name;
}
