/* Files as a whole: reading texts, writing atomically, and where the models stand. */
#include "cli.h"

#include "rt_file.h"

#include <errno.h>
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

/* A device or a pipe, which no file may take the place of. */
static bool is_stream(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
}

static int write_stream(cli *c, const char *path, const ir_text *text) {
    FILE *stream = fopen(path, "we");
    bool good = stream && fwrite(text->data, 1, text->length, stream) == text->length;
    if (good) good = fflush(stream) == 0;
    int reason = errno;
    if (stream) fclose(stream);
    if (good) return CLI_DONE;
    return cli_fail(c, CLI_RUN_FAILED, "cannot write '%s': %s", path, strerror(reason));
}

int cli_write_files(cli *c, const cli_file *files, size_t count) {
    rt_file **open = ir_arena_alloc(c->arena, (count + 1) * sizeof(rt_file *));
    rt_error error;
    for (size_t i = 0; i < count; i++) {
        open[i] = rt_file_create(files[i].path, &error);
        if (!open[i]) {
            while (i-- > 0)
                rt_file_abandon(open[i]);
            return cli_fail(c, CLI_RUN_FAILED, "%s", error.text);
        }
        rt_file_write(open[i], files[i].text->data, files[i].text->length);
    }
    if (rt_file_commit_all(open, count, &error)) return CLI_DONE;
    return cli_fail(c, CLI_RUN_FAILED, "%s", error.text);
}

int cli_write_text(cli *c, const char *path, const ir_text *text) {
    if (path && is_stream(path)) return write_stream(c, path, text);
    if (path) return cli_write_files(c, &(cli_file){path, text}, 1);
    if (fwrite(text->data, 1, text->length, stdout) == text->length && fflush(stdout) == 0)
        return CLI_DONE;
    if (errno == EPIPE) return CLI_RUN_FAILED; /* who reads has seen enough: `| head` */
    return cli_fail(c, CLI_RUN_FAILED, "cannot write to stdout: %s", strerror(errno));
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
        const char *longer = ir_arena_printf(arena, "%s.cnx", path);
        if (cli_exists(path)) return path;
        if (cli_exists(longer)) return longer;
    }
    return name;
}
