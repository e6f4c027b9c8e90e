/* IDX files: header and size are checked against each other before a byte of data is kept. */
#include "rt_idx.h"

#include "rt_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Where bytes come from: a buffer, through zlib if it is packed. */
typedef struct source {
    const char *name;
    const uint8_t *bytes;
    size_t size, at;
    bool packed;
    bool ended; /* the packed stream has been read to its checksum */
    z_stream zip;
} source;

static bool open_source(source *s, const char *name, const uint8_t *bytes, size_t size,
                        rt_error *error) {
    *s = (source){.name = name, .bytes = bytes, .size = size};
    s->packed = size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
    if (s->packed && inflateInit2(&s->zip, 15 + 16) != Z_OK) /* largest window, gzip format */
        return rt_fail(error, "%s: out of memory", name);
    return true;
}

static void close_source(source *s) {
    if (s->packed) inflateEnd(&s->zip);
}

/* Up to `room` bytes, fewer at the end only; false if the packed stream is broken. */
static bool unpack(source *s, uint8_t *to, size_t room, size_t *got, rt_error *error) {
    *got = 0;
    while (*got < room && !s->ended) {
        if (s->zip.avail_in == 0) {
            size_t rest = s->size - s->at, part = rest < (1u << 30) ? rest : 1u << 30;
            s->zip.next_in = (Bytef *)s->bytes + s->at;
            s->zip.avail_in = (uInt)part;
            s->at += part;
        }
        size_t want = room - *got < (1u << 30) ? room - *got : 1u << 30;
        s->zip.next_out = to + *got;
        s->zip.avail_out = (uInt)want;
        int code = inflate(&s->zip, Z_NO_FLUSH);
        *got += want - s->zip.avail_out;
        if (code == Z_STREAM_END)
            s->ended = true;
        else if (code == Z_BUF_ERROR && s->at == s->size)
            return rt_fail(error, "%s: the gzip data end in the middle, at byte %zu of the file",
                           s->name, s->size);
        else if (code != Z_OK)
            return rt_fail(error, "%s: broken gzip data (%s)", s->name,
                           s->zip.msg ? s->zip.msg : zError(code));
    }
    return true;
}

static bool read_some(source *s, uint8_t *to, size_t room, size_t *got, rt_error *error) {
    if (s->packed) return unpack(s, to, room, got, error);
    *got = room < s->size - s->at ? room : s->size - s->at;
    memcpy(to, s->bytes + s->at, *got);
    s->at += *got;
    return true;
}

static int64_t big_endian(const uint8_t *p) {
    return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
}

/* Magic and dimensions; *bytes: how many elements there must be. */
static bool read_header(source *s, int rank, rt_idx *idx, int64_t *bytes, rt_error *error) {
    uint8_t header[4 + 4 * RT_IDX_MAX_RANK];
    size_t length = 4 + 4 * (size_t)rank, got;
    if (!read_some(s, header, length, &got, error)) return false;
    if (got >= 4 && (header[0] || header[1] || header[2] != 8 || header[3] != rank))
        return rt_fail(
            error,
            "%s: begins with %02x %02x %02x %02x; expected 00 00 08 %02x, an IDX file of "
            "bytes with %d dimension%s",
            s->name, header[0], header[1], header[2], header[3], (unsigned)rank, rank,
            rank == 1 ? "" : "s");
    if (got < length)
        return rt_fail(error, "%s: ends after %zu bytes, inside of its header of %zu", s->name, got,
                       length);
    idx->rank = rank;
    *bytes = 1;
    for (int i = 0; i < rank; i++) {
        idx->dim[i] = big_endian(header + 4 + 4 * i);
        if (!rt_multiply(*bytes, idx->dim[i], bytes) || *bytes > rt_idx_max_bytes)
            return rt_fail(error,
                           "%s: dimension %d is %" PRId64 "; expected at most %" PRId64
                           " bytes of data",
                           s->name, i, idx->dim[i], rt_idx_max_bytes);
    }
    return true;
}

/* Reads `bytes` elements into a buffer that grows with what is there, not with what is claimed. */
static bool read_data(source *s, int64_t bytes, rt_idx *idx, rt_error *error) {
    int64_t have = 0, room = 0;
    while (have < bytes) {
        if (have == room) {
            room = room < (1 << 20) ? 1 << 20 : 2 * room;
            room = room < bytes ? room : bytes;
            uint8_t *more = realloc(idx->data, (size_t)room);
            if (!more) return rt_fail(error, "%s: out of memory", s->name);
            idx->data = more;
        }
        size_t got;
        if (!read_some(s, idx->data + have, (size_t)(room - have), &got, error)) return false;
        have += (int64_t)got;
        if (got == 0)
            return rt_fail(error,
                           "%s: %" PRId64 " bytes of data; its header expects %" PRId64 " (%" PRId64
                           " items)",
                           s->name, have, bytes, idx->dim[0]);
    }
    uint8_t extra;
    size_t got; /* this also reads the packed stream's checksum */
    if (!read_some(s, &extra, 1, &got, error)) return false;
    size_t behind = s->packed ? s->size - s->at + s->zip.avail_in : 0;
    if (got > 0 || behind > 0)
        return rt_fail(error, "%s: more data than the %" PRId64 " bytes its header announces",
                       s->name, bytes);
    return true;
}

bool rt_idx_parse(const char *name, const uint8_t *bytes, size_t size, int rank, rt_idx *idx,
                  rt_error *error) {
    *idx = (rt_idx){0};
    source s;
    if (!open_source(&s, name, bytes, size, error)) return false;
    int64_t expected;
    bool good = read_header(&s, rank, idx, &expected, error) && read_data(&s, expected, idx, error);
    close_source(&s);
    if (!good) rt_idx_free(idx);
    return good;
}

bool rt_idx_open(const char *path, int rank, rt_idx *idx, rt_error *error) {
    *idx = (rt_idx){0};
    uint8_t *bytes;
    size_t size;
    if (!rt_file_read(path, (size_t)rt_idx_max_bytes, &bytes, &size, error)) return false;
    bool good = rt_idx_parse(path, bytes, size, rank, idx, error);
    free(bytes);
    return good;
}

void rt_idx_free(rt_idx *idx) {
    free(idx->data);
    *idx = (rt_idx){0};
}
