/* What a PNG, JPEG or BMP file must be before the decoder sees it.
 *
 * stb_image trusts more than it should. It looks at no checksum of a PNG, so a flipped bit would
 * pass as pixels, and it writes behind the end of a table when a JPEG's Huffman code has more than
 * 256 symbols. Both formats are therefore walked from the first byte to their end marker: lengths
 * within the file, known kinds of parts, checksums, sizes of tables. Behind the end of a BMP it
 * reads zeros, and behind that of its palette whatever lies there: sizes and colours are checked.
 */
#ifndef RT_IMAGE_CHECK_H
#define RT_IMAGE_CHECK_H

#include "rt_error.h"

/* `name` stands in front of the message. */
bool rt_image_check(const char *name, const uint8_t *bytes, size_t size, rt_error *error);

#endif
