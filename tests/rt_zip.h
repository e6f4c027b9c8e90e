/* A zip archive of stored files in memory, as little as a reader needs: for tests that break it. */
#ifndef RT_ZIP_H
#define RT_ZIP_H

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>

enum { ZIP_ROOM = 1 << 18, ZIP_FILES = 16 };

typedef struct zip {
    uint8_t bytes[ZIP_ROOM];
    size_t size;
    struct {
        const char *name;
        uint32_t at, size, crc;
    } files[ZIP_FILES];
    int count;
} zip;

static inline void zip_put(zip *z, const void *bytes, size_t size) {
    assert(size <= sizeof z->bytes - z->size);
    if (size > 0) memcpy(z->bytes + z->size, bytes, size);
    z->size += size;
}

/* Little-endian, `bytes` of them. */
static inline void zip_number(zip *z, int bytes, uint64_t number) {
    for (int i = 0; i < bytes; i++)
        zip_put(z, &(uint8_t){(uint8_t)(number >> 8 * i)}, 1);
}

/* What a local header and a directory entry share: version, flags, method, time, date, CRC, sizes,
 * length of the name and of nothing else. */
static inline void zip_facts(zip *z, uint32_t crc, uint32_t size, const char *name) {
    zip_number(z, 2, 20);
    zip_number(z, 2, 0);
    zip_number(z, 2, 0);
    zip_number(z, 4, 0x00210000);
    zip_number(z, 4, crc);
    zip_number(z, 4, size);
    zip_number(z, 4, size);
    zip_number(z, 2, strlen(name));
    zip_number(z, 2, 0);
}

static inline void zip_add(zip *z, const char *name, const void *data, size_t size) {
    assert(z->count < ZIP_FILES);
    uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), data, (uInt)size);
    z->files[z->count].name = name;
    z->files[z->count].at = (uint32_t)z->size;
    z->files[z->count].size = (uint32_t)size;
    z->files[z->count++].crc = crc;
    zip_put(z, "PK\3\4", 4);
    zip_facts(z, crc, (uint32_t)size, name);
    zip_put(z, name, strlen(name));
    zip_put(z, data, size);
}

/* The directory behind the files. */
static inline void zip_end(zip *z) {
    size_t start = z->size;
    for (int i = 0; i < z->count; i++) {
        zip_put(z, "PK\1\2", 4);
        zip_number(z, 2, 20);
        zip_facts(z, z->files[i].crc, z->files[i].size, z->files[i].name);
        zip_number(z, 2, 0);
        zip_number(z, 2, 0);
        zip_number(z, 2, 0);
        zip_number(z, 4, 0);
        zip_number(z, 4, z->files[i].at);
        zip_put(z, z->files[i].name, strlen(z->files[i].name));
    }
    size_t length = z->size - start;
    zip_put(z, "PK\5\6", 4);
    zip_number(z, 4, 0);
    zip_number(z, 2, (uint64_t)z->count);
    zip_number(z, 2, (uint64_t)z->count);
    zip_number(z, 4, length);
    zip_number(z, 4, start);
    zip_number(z, 2, 0);
}

#endif
