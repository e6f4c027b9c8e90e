#!/usr/bin/env python3
"""Prints the table of tests/test_rt_resize.c: checksums of what Pillow makes of known images.

usage: resize.py > rows.txt        needs Pillow; the tests need only the printed rows
"""
import zlib

from PIL import Image

# (width, height, channels, box or None, new width, new height)
CASES = [
    (5, 4, 1, None, 3, 2),
    (5, 4, 1, None, 9, 11),
    (5, 4, 3, None, 5, 4),
    (64, 48, 3, None, 32, 24),
    (64, 48, 3, None, 64, 20),
    (64, 48, 3, None, 20, 48),
    (64, 48, 1, None, 100, 75),
    (640, 480, 3, None, 298, 224),
    (500, 375, 3, None, 341, 256),
    (333, 500, 3, None, 256, 384),
    (28, 28, 1, None, 32, 32),
    (37, 53, 3, None, 24, 24),  # loses 29 rows and 13 columns: the vertical pass comes first
    (37, 50, 3, None, 24, 24),  # 26 and 13: the horizontal one
    (24, 60, 1, None, 40, 59),
    (24, 60, 1, None, 40, 60),
    (1, 1, 3, None, 7, 5),
    (1, 200, 1, None, 3, 1),
    (1000, 3, 3, None, 7, 224),
    (37, 53, 3, (3, 5, 30, 50), 24, 24),
    (37, 53, 3, (0, 5, 37, 50), 37, 24),
    (37, 53, 1, (2.25, 0.5, 36.75, 51.125), 16, 90),
    (37, 53, 3, (10, 10, 12, 12), 24, 24),
    (37, 53, 3, (36, 52, 37, 53), 5, 5),
]


def picture(width, height, channels):
    """The same numbers as in the test: the upper bytes of a linear congruential generator."""
    state, pixels = 12345, bytearray()
    for _ in range(width * height * channels):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        pixels.append(state >> 24)
    return Image.frombytes("L" if channels == 1 else "RGB", (width, height), bytes(pixels))


for width, height, channels, box, new_width, new_height in CASES:
    source = picture(width, height, channels)
    result = source.resize((new_width, new_height), Image.Resampling.BICUBIC, box=box)
    left, top, right, bottom = box or (0, 0, width, height)
    print(f"{{{width}, {height}, {channels}, {{{left}, {top}, {right}, {bottom}}}, "
          f"{new_width}, {new_height}, 0x{zlib.crc32(result.tobytes()):08x}}},")
small = picture(5, 4, 1).resize((3, 2), Image.Resampling.BICUBIC)
print("5x4 grey to 3x2:", list(small.tobytes()))
gradient = Image.frombytes("L", (8, 1), bytes([0, 0, 0, 0, 255, 255, 255, 255]))
print("a step of 8 to 4:", list(gradient.resize((4, 1), Image.Resampling.BICUBIC).tobytes()))
print("a step of 8 to 16:", list(gradient.resize((16, 1), Image.Resampling.BICUBIC).tobytes()))
