/* The only file that sees stb_image. Its memory goes through a bound, because a few bytes of a
 * compressed stream can ask for gigabytes, and comes zeroed, because it uses tables of a broken
 * JPEG that were never filled. It counts on signed arithmetic that wraps around;
 * runtime/CMakeLists.txt says so to the compiler. */
#include "rt_stb.h"

#include "rt_image.h"

#include <limits.h>
#include <stdlib.h>

/* The largest single block: 16-bit pixels of the largest image, and stb's doubling beyond. */
static const size_t largest_block = (size_t)2 * RT_MAX_IMAGE_BYTES + (1 << 20);

static void *bounded_malloc(size_t size) {
    return size <= largest_block ? calloc(size ? size : 1, 1) : NULL;
}

static void *bounded_realloc(void *block, size_t size) {
    return size <= largest_block ? realloc(block, size) : NULL;
}

#define STBI_MALLOC(size) bounded_malloc(size)
#define STBI_REALLOC(block, size) bounded_realloc(block, size)
#define STBI_FREE(block) free(block)
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#pragma GCC diagnostic ignored "-Wunused-function" /* it declares what it does not define */
#include <stb/stb_image.h>

bool rt_stb_size(const uint8_t *bytes, size_t size, rt_stb_info *info, const char **reason) {
    *reason = "more than 2 GB";
    if (size > INT_MAX) return false;
    bool good =
        stbi_info_from_memory(bytes, (int)size, &info->width, &info->height, &info->channels) != 0;
    if (!good) *reason = stbi_failure_reason();
    /* of a BMP whose first row stands first */
    if (good && info->height < 0 && info->height > INT_MIN) info->height = -info->height;
    info->bytes = good && stbi_is_16_bit_from_memory(bytes, (int)size) ? 2 : 1;
    return good;
}

uint8_t *rt_stb_decode(const uint8_t *bytes, size_t size, rt_stb_info *info, const char **reason) {
    *reason = "more than 2 GB";
    if (size > INT_MAX) return NULL;
    uint8_t *pixels =
        stbi_load_from_memory(bytes, (int)size, &info->width, &info->height, &info->channels, 0);
    if (!pixels) *reason = stbi_failure_reason();
    info->bytes = 1;
    return pixels;
}

void rt_stb_free(void *pixels) {
    free(pixels);
}
