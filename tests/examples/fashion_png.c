/* The first images of the Fashion-MNIST test set as files, each by its index and class, and as one
 * batch for `cnxc run`:
 *
 *     fashion_png DATA_DIR OUT_DIR COUNT
 *
 * writes OUT_DIR/00_ankle_boot.png ... and OUT_DIR/batch.safetensors with `image` (COUNT,1,28,28)
 * f32, normalised, and `label` (COUNT) int64. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, MAX_COUNT = 100 };

static const char *const class_names[10] = {"t-shirt", "trouser",   "pullover", "dress",
                                            "coat",    "sandal",    "shirt",    "sneaker",
                                            "bag",     "ankle_boot"};
static const float mean = 0.2860f, std = 0.3530f; /* of the training images */

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "fashion_png: %s: %s\n", what, why);
    exit(1);
}

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The first `bytes` of the data of an IDX file with `rank` dimensions, at least `count` items. */
static void read_idx(const char *dir, const char *name, uint32_t rank, uint32_t count,
                     uint8_t *data, unsigned bytes) {
    char path[1024];
    uint8_t header[4 + 4 * 3];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    gzFile file = gzopen(path, "rb");
    if (!file) fail(path, strerror(errno));
    if (gzread(file, header, 4 + 4 * rank) != (int)(4 + 4 * rank) ||
        big_endian(header) != (0x0800 | rank) || big_endian(header + 4) < count)
        fail(path, "is no IDX file of bytes with enough items");
    if (rank == 3 && (big_endian(header + 8) != SIDE || big_endian(header + 12) != SIDE))
        fail(path, "has images of another size than 28x28");
    if (gzread(file, data, bytes) != (int)bytes) fail(path, "is cut off");
    gzclose(file);
}

static FILE *create(const char *path) {
    FILE *file = fopen(path, "wb");
    if (!file) fail(path, strerror(errno));
    return file;
}

static void finish(FILE *file, const char *path) {
    int bad = ferror(file);
    if (fclose(file) != 0 || bad) fail(path, "could not be written");
}

static void put_u32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* A PNG chunk: length, type, data, CRC over type and data. */
static void write_chunk(FILE *file, const char *type, const uint8_t *data, uint32_t size) {
    uint8_t word[4];
    put_u32(word, size);
    fwrite(word, 1, 4, file);
    fwrite(type, 1, 4, file);
    fwrite(data, 1, size, file);
    uLong crc = crc32(crc32(0, (const Bytef *)type, 4), data, size);
    put_u32(word, (uint32_t)crc);
    fwrite(word, 1, 4, file);
}

/* pixels: (28,28), one grey byte each */
static void write_png(const char *path, const uint8_t *pixels) {
    uint8_t rows[SIDE * (SIDE + 1)], packed[2 * sizeof rows], size[13] = {0};
    for (int y = 0; y < SIDE; y++) { /* every row begins with its filter: none */
        rows[y * (SIDE + 1)] = 0;
        memcpy(rows + y * (SIDE + 1) + 1, pixels + y * SIDE, SIDE);
    }
    uLongf bytes = sizeof packed;
    if (compress2(packed, &bytes, rows, sizeof rows, 9) != Z_OK) fail(path, "compression failed");
    put_u32(size, SIDE);
    put_u32(size + 4, SIDE);
    size[8] = 8; /* bits; colour type 0 is grey */
    FILE *file = create(path);
    fwrite("\x89PNG\r\n\x1a\n", 1, 8, file);
    write_chunk(file, "IHDR", size, sizeof size);
    write_chunk(file, "IDAT", packed, (uint32_t)bytes);
    write_chunk(file, "IEND", size, 0);
    finish(file, path);
}

/* pixels: (count,28,28), labels: (count) */
static void write_batch(const char *path, const uint8_t *pixels, const uint8_t *labels, int count) {
    char header[512];
    int image_bytes = count * PIXELS * (int)sizeof(float), label_bytes = 8 * count;
    int size = snprintf(header, sizeof header,
                        "{\"image\":{\"dtype\":\"F32\",\"shape\":[%d,1,28,28],"
                        "\"data_offsets\":[0,%d]},\"label\":{\"dtype\":\"I64\",\"shape\":[%d],"
                        "\"data_offsets\":[%d,%d]}}",
                        count, image_bytes, count, image_bytes, image_bytes + label_bytes);
    while (size % 8 != 0) /* data start aligned */
        header[size++] = ' ';
    uint64_t size64 = (uint64_t)size;
    FILE *file = create(path);
    fwrite(&size64, 8, 1, file);
    fwrite(header, 1, (size_t)size, file);
    for (int i = 0; i < count * PIXELS; i++) {
        float value = ((float)pixels[i] / 255.0f - mean) / std;
        fwrite(&value, sizeof value, 1, file);
    }
    for (int i = 0; i < count; i++) {
        int64_t label = labels[i];
        fwrite(&label, sizeof label, 1, file);
    }
    finish(file, path);
}

int main(int argc, char **argv) {
    static uint8_t pixels[MAX_COUNT * PIXELS], labels[MAX_COUNT];
    int count = argc == 4 ? atoi(argv[3]) : 0;
    if (count < 1 || count > MAX_COUNT) {
        fprintf(stderr, "usage: fashion_png DATA_DIR OUT_DIR COUNT (1 to %d)\n", MAX_COUNT);
        return 2;
    }
    read_idx(argv[1], "t10k-images-idx3-ubyte.gz", 3, (uint32_t)count, pixels,
             (unsigned)(count * PIXELS));
    read_idx(argv[1], "t10k-labels-idx1-ubyte.gz", 1, (uint32_t)count, labels, (unsigned)count);
    if (mkdir(argv[2], 0777) != 0 && errno != EEXIST) fail(argv[2], strerror(errno));
    char path[1200];
    for (int i = 0; i < count; i++) {
        if (labels[i] > 9) fail("t10k-labels-idx1-ubyte.gz", "has a label above 9");
        snprintf(path, sizeof path, "%.1000s/%02d_%s.png", argv[2], i, class_names[labels[i]]);
        write_png(path, pixels + i * PIXELS);
        printf("%s\n", path);
    }
    snprintf(path, sizeof path, "%.1000s/batch.safetensors", argv[2]);
    write_batch(path, pixels, labels, count);
    return 0;
}
