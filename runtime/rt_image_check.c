/* The walk over a PNG's chunks and over a JPEG's markers; the sizes of a BMP. */
#include "rt_image_check.h"

#include <string.h>
#include <zlib.h>

/* --- PNG --- */

enum { PNG_SIGNATURE = 8, PNG_CHUNK = 12 /* length, type, CRC */ };

static uint32_t read_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A chunk that a reader may not skip, and that is none of the four of the format. */
static bool is_unknown(const uint8_t *type) {
    static const char known[][5] = {"IHDR", "PLTE", "IDAT", "IEND"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (memcmp(type, known[i], 4) == 0) return false;
    return (type[0] & 0x20) == 0;
}

static bool check_png(const char *name, const uint8_t *bytes, size_t size, rt_error *error) {
    for (size_t at = PNG_SIGNATURE;;) {
        if (size - at < PNG_CHUNK)
            return rt_fail(error, "%s: PNG ends at byte %zu without an IEND chunk", name, size);
        uint32_t length = read_be32(bytes + at);
        const uint8_t *type = bytes + at + 4;
        if (length > size - at - PNG_CHUNK)
            return rt_fail(error,
                           "%s: PNG chunk at byte %zu has %u bytes, but the file ends at %zu", name,
                           at, length, size);
        uint32_t found = read_be32(type + 4 + length);
        uint32_t expected = (uint32_t)crc32(crc32(0, NULL, 0), type, length + 4);
        if (found != expected)
            return rt_fail(error,
                           "%s: PNG chunk at byte %zu has checksum %08x; its bytes give %08x", name,
                           at, found, expected);
        if (is_unknown(type))
            return rt_fail(error,
                           "%s: PNG chunk at byte %zu has type %02x %02x %02x %02x; expected IHDR, "
                           "PLTE, IDAT, IEND or one that may be skipped",
                           name, at, type[0], type[1], type[2], type[3]);
        if (memcmp(type, "IEND", 4) == 0) return true;
        at += PNG_CHUNK + length;
    }
}

/* --- JPEG --- */

enum {
    JPEG_SOI = 0xd8,
    JPEG_EOI = 0xd9,
    JPEG_SOS = 0xda,
    JPEG_DHT = 0xc4,
    /* A decoder needs at most 16 symbols of DC and 176 of AC; number 255 is a mark of stb's own. */
    JPEG_MOST_SYMBOLS = 255
};

static bool is_restart(uint8_t marker) {
    return marker >= 0xd0 && marker <= 0xd7;
}

/* The tables of a DHT segment whose content is bytes[at, end): class and number, how many codes of
 * each length from 1 to 16, the symbols. */
static bool check_huffman(const char *name, const uint8_t *bytes, size_t at, size_t end,
                          rt_error *error) {
    while (at < end) {
        size_t symbols = 0;
        for (size_t i = 1; i <= 16 && at + i < end; i++)
            symbols += bytes[at + i];
        if (symbols > JPEG_MOST_SYMBOLS)
            return rt_fail(error,
                           "%s: JPEG Huffman table at byte %zu has %zu symbols; expected at most "
                           "%d",
                           name, at, symbols, JPEG_MOST_SYMBOLS);
        if (17 + symbols > end - at)
            return rt_fail(error,
                           "%s: JPEG Huffman table at byte %zu takes %zu bytes; its segment has "
                           "%zu left",
                           name, at, 17 + symbols, end - at);
        at += 17 + symbols;
    }
    return true;
}

/* Behind a scan's header: the next marker that is neither stuffing (FF 00) nor a restart. */
static size_t skip_scan(const uint8_t *bytes, size_t at, size_t size) {
    for (; at + 1 < size; at++)
        if (bytes[at] == 0xff && bytes[at + 1] != 0 && bytes[at + 1] != 0xff &&
            !is_restart(bytes[at + 1]))
            return at;
    return size;
}

static bool check_jpeg(const char *name, const uint8_t *bytes, size_t size, rt_error *error) {
    size_t at = 1;
    while (at < size && bytes[at] == 0xff) /* the decoder takes any number of them */
        at++;
    if (at >= size || bytes[at++] != JPEG_SOI)
        return rt_fail(error, "%s: no image (it begins with ff, but is no JPEG)", name);
    for (;;) {
        while (at < size && bytes[at] != 0xff) /* some cameras pad between segments */
            at++;
        while (at < size && bytes[at] == 0xff)
            at++;
        if (at >= size)
            return rt_fail(error, "%s: JPEG ends at byte %zu without an end marker", name, size);
        uint8_t marker = bytes[at++];
        if (marker == JPEG_EOI) return true;
        size_t length = size - at >= 2 ? (size_t)bytes[at] << 8 | bytes[at + 1] : 0;
        if (marker == 0 || marker == JPEG_SOI || is_restart(marker))
            return rt_fail(error, "%s: JPEG marker ff %02x at byte %zu; expected that of a segment",
                           name, marker, at - 2);
        if (length < 2 || length > size - at)
            return rt_fail(error,
                           "%s: JPEG segment ff %02x at byte %zu has %zu bytes; expected 2 to %zu",
                           name, marker, at - 2, length, size - at);
        if (marker == JPEG_DHT && !check_huffman(name, bytes, at + 2, at + length, error))
            return false;
        at += length;
        if (marker == JPEG_SOS) at = skip_scan(bytes, at, size);
    }
}

/* --- BMP --- */

enum { BMP_HEADER = 14 /* where the second header begins, whose length stands first */ };

typedef struct bmp {
    uint32_t length;               /* of the second header */
    int64_t width, height, pixels; /* the pixels begin at this byte; rows are whole words */
    uint32_t bits, packing;        /* of a pixel; 0: as they are, 3: in fields that masks give */
} bmp;

static uint32_t read_le16(const uint8_t *p) {
    return (uint32_t)p[1] << 8 | p[0];
}

static uint32_t read_le32(const uint8_t *p) {
    return read_le16(p + 2) << 16 | read_le16(p);
}

static bool read_bmp(const char *name, const uint8_t *bytes, size_t size, bmp *b, rt_error *error) {
    *b = (bmp){.length = size >= BMP_HEADER + 4 ? read_le32(bytes + BMP_HEADER) : 0};
    if (b->length > 0 && b->length != 12 && b->length != 40 && b->length != 56 &&
        b->length != 108 && b->length != 124)
        return rt_fail(error,
                       "%s: BMP with a second header of %u bytes; expected 12, 40, 56, 108 or 124",
                       name, b->length);
    if (b->length == 0 || b->length > size - BMP_HEADER)
        return rt_fail(error, "%s: BMP ends at byte %zu, inside of its headers", name, size);
    const uint8_t *at = bytes + BMP_HEADER + 4;
    bool old = b->length == 12;
    b->pixels = read_le32(bytes + 10);
    b->width = old ? (int64_t)read_le16(at) : (int32_t)read_le32(at);
    b->height = old ? (int64_t)read_le16(at + 2) : (int32_t)read_le32(at + 4);
    if (b->height < 0) b->height = -b->height; /* the first row stands first */
    b->bits = read_le16(old ? at + 6 : at + 10);
    b->packing = old ? 0 : read_le32(at + 12);
    return true;
}

/* What the decoder reads right. The palette of the old header is not. */
static bool is_known(const bmp *b) {
    if (b->packing == 3) return b->bits == 16 || b->bits == 32;
    if (b->packing != 0) return false;
    if (b->length == 12) return b->bits == 24;
    return b->bits == 1 || b->bits == 4 || b->bits == 8 || b->bits == 16 || b->bits == 24 ||
           b->bits == 32;
}

/* The colours of the palette, four bytes each between headers and pixels, must be as many as the
 * pixels name: the decoder does not look. */
static bool check_palette(const char *name, const uint8_t *bytes, const bmp *b, int64_t row,
                          rt_error *error) {
    int64_t colours = (b->pixels - BMP_HEADER - b->length) / 4;
    for (int64_t y = 0; y < b->height && colours < 1 << b->bits; y++)
        for (int64_t x = 0; x < b->width; x++) {
            int64_t bit = x * b->bits;
            int byte = bytes[b->pixels + y * row + bit / 8];
            int colour = byte >> (8 - b->bits - bit % 8) & ((1 << b->bits) - 1);
            if (colour >= colours)
                return rt_fail(error, "%s: BMP with colour %d in a palette of %lld", name, colour,
                               (long long)(colours > 0 ? colours : 0));
        }
    return true;
}

static bool check_bmp(const char *name, const uint8_t *bytes, size_t size, rt_error *error) {
    bmp b;
    int64_t end;
    if (!read_bmp(name, bytes, size, &b, error)) return false;
    if (!is_known(&b))
        return rt_fail(error,
                       "%s: BMP with a header of %u bytes, %u bits a pixel and packing %u is not "
                       "read; try to save it as PNG",
                       name, b.length, b.bits, b.packing);
    int64_t row = (b.width * b.bits + 31) / 32 * 4;
    if (!rt_multiply(row, b.height, &end) || !rt_add(end, b.pixels, &end) || end > (int64_t)size)
        return rt_fail(error,
                       "%s: BMP of %lld x %lld pixels with %u bits from byte %lld on; the file "
                       "ends at byte %zu",
                       name, (long long)b.width, (long long)b.height, b.bits, (long long)b.pixels,
                       size);
    return b.bits > 8 || check_palette(name, bytes, &b, row, error);
}

bool rt_image_check(const char *name, const uint8_t *bytes, size_t size, rt_error *error) {
    if (size >= PNG_SIGNATURE && memcmp(bytes, "\x89PNG\r\n\x1a\n", PNG_SIGNATURE) == 0)
        return check_png(name, bytes, size, error);
    if (size >= 1 && bytes[0] == 0xff) return check_jpeg(name, bytes, size, error);
    if (size >= 2 && memcmp(bytes, "BM", 2) == 0) return check_bmp(name, bytes, size, error);
    return true;
}
