/* The decoders of stb_image that are compiled in: PNG, JPEG and BMP, bounded in memory. */
#ifndef RT_STB_H
#define RT_STB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rt_stb_info {
    int width, height;
    int channels; /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha */
    int bytes;    /* of a channel in the file: 1 or 2 */
} rt_stb_info;

/* Both: false, with stb's word for the reason, if the bytes are no image. */
bool rt_stb_size(const uint8_t *bytes, size_t size, rt_stb_info *info, const char **reason);
/* The image in its own channels, 8 bits each, info's width and height; free with rt_stb_free. */
uint8_t *rt_stb_decode(const uint8_t *bytes, size_t size, rt_stb_info *info, const char **reason);
void rt_stb_free(void *pixels);

#endif
