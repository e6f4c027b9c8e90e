/* Zip archives through libarchive. For a file that is stored as it is, libarchive hands out
 * pointers into the bytes it was given, so gigabytes of weights are checked without being copied.
 */
#include "rt_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 1 << 20 };

static bool add_file(rt_archive *archive, const char *name, rt_error *error) {
    if (archive->count == MAX_FILES)
        return rt_fail(error, "the archive has more than %d files", MAX_FILES);
    if (archive->count == archive->room) {
        size_t room = archive->room ? 2 * archive->room : 64;
        rt_archive_file *more = realloc(archive->files, room * sizeof *more);
        if (!more) return rt_fail(error, "out of memory");
        archive->files = more;
        archive->room = room;
    }
    char *copy = strdup(name);
    if (!copy) return rt_fail(error, "out of memory");
    archive->files[archive->count++] = (rt_archive_file){.name = copy};
    return true;
}

/* Reads the blocks of the newest file; they must lie one behind the other in the archive's bytes.
 */
static bool read_blocks(struct archive *reader, const uint8_t *bytes, size_t size,
                        rt_archive_file *file, rt_error *error) {
    for (;;) {
        const void *block;
        size_t length;
        la_int64_t offset;
        int code = archive_read_data_block(reader, &block, &length, &offset);
        if (code == ARCHIVE_EOF) return true;
        if (code != ARCHIVE_OK)
            return rt_fail(error, "'%.200s' in the archive: %s", file->name,
                           archive_error_string(reader));
        if (length == 0) continue;
        uintptr_t at = (uintptr_t)block, start = (uintptr_t)bytes;
        bool inside = at >= start && at - start < size && length <= size - (at - start);
        if (!inside || (file->data && file->data + file->size != (const uint8_t *)block) ||
            (la_int64_t)file->size != offset)
            return rt_fail(error,
                           "'%.200s' in the archive is compressed; expected it stored as it "
                           "is, as torch.save does",
                           file->name);
        if (!file->data) file->data = block;
        file->size += length;
    }
}

static int by_name(const void *a, const void *b) {
    const rt_archive_file *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool read_files(struct archive *reader, const uint8_t *bytes, size_t size,
                       rt_archive *archive, rt_error *error) {
    for (;;) {
        struct archive_entry *entry;
        int code = archive_read_next_header(reader, &entry);
        if (code == ARCHIVE_EOF) break;
        /* A warning is about a name that the locale cannot say; its bytes are all that matters. */
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
            return rt_fail(error, "no zip archive that can be read: %s",
                           archive_error_string(reader));
        const char *name = archive_entry_pathname(entry);
        if (!name) name = archive_entry_pathname_utf8(entry);
        if (!name) return rt_fail(error, "a file in the archive has no name");
        if (!add_file(archive, name, error)) return false;
        if (!read_blocks(reader, bytes, size, &archive->files[archive->count - 1], error))
            return false;
    }
    if (archive->count > 1) qsort(archive->files, archive->count, sizeof *archive->files, by_name);
    for (size_t i = 1; i < archive->count; i++)
        if (strcmp(archive->files[i].name, archive->files[i - 1].name) == 0)
            return rt_fail(error, "the archive has two files '%.200s'", archive->files[i].name);
    return true;
}

bool rt_archive_read(const void *bytes, size_t size, rt_archive *archive, rt_error *error) {
    *archive = (rt_archive){0};
    struct archive *reader = archive_read_new();
    if (!reader) return rt_fail(error, "out of memory");
    bool good = archive_read_support_format_zip_seekable(reader) == ARCHIVE_OK &&
                archive_read_open_memory(reader, bytes, size) == ARCHIVE_OK;
    if (!good) rt_fail(error, "no zip archive that can be read: %s", archive_error_string(reader));
    good = good && read_files(reader, bytes, size, archive, error);
    archive_read_free(reader);
    if (!good) rt_archive_free(archive);
    return good;
}

void rt_archive_free(rt_archive *archive) {
    for (size_t i = 0; i < archive->count; i++)
        free(archive->files[i].name);
    free(archive->files);
    *archive = (rt_archive){0};
}

const rt_archive_file *rt_archive_find(const rt_archive *archive, const char *name) {
    rt_archive_file wanted = {.name = (char *)name};
    return archive->count
               ? bsearch(&wanted, archive->files, archive->count, sizeof *archive->files, by_name)
               : NULL;
}
