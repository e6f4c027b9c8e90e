#!/usr/bin/env python3
"""Writes tests/fuzz/images: one small picture in every form that cnx reads; needs Pillow.

The picture is 20 x 12 pixels with red = 255 x / 19, green = 255 y / 11 (both rounded down) and
blue = 128, so tests/test_rt_image.c knows every pixel without a decoder.
"""
import pathlib
import struct
import zlib

from PIL import Image

W, H = 20, 12
out = pathlib.Path(__file__).resolve().parent.parent / "fuzz" / "images"
out.mkdir(parents=True, exist_ok=True)
rgb = Image.new("RGB", (W, H))
rgb.putdata([(255 * x // (W - 1), 255 * y // (H - 1), 128) for y in range(H) for x in range(W)])
grey = rgb.convert("L")
alpha = Image.new("L", (W, H))
alpha.putdata([10 * ((x + y) % 20) for y in range(H) for x in range(W)])
rgba = Image.merge("RGBA", (*rgb.split(), alpha))
deep = Image.new("I;16", (W, H))
deep.putdata([257 * v for v in grey.tobytes()])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced(image):
    """A PNG in the seven passes of Adam7, which Pillow reads but does not write."""
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                           (1, 0, 2, 2), (0, 1, 1, 2)):
        for y in range(y0, image.height, dy):
            row = b"".join(bytes(image.getpixel((x, y))) for x in range(x0, image.width, dx))
            raw += b"\0" + row if row else b""
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 1)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) +
            chunk(b"IEND", b""))


(out / "interlaced.png").write_bytes(interlaced(rgb))
grey.save(out / "grey.png")
deep.save(out / "grey16.png")
Image.merge("LA", (grey, alpha)).save(out / "grey_alpha.png")
rgb.save(out / "rgb.png")
rgba.save(out / "rgb_alpha.png")
rgb.quantize(240).save(out / "palette.png")
grey.convert("1").save(out / "bits.png")
grey.save(out / "grey.jpg", quality=95)
rgb.save(out / "rgb444.jpg", quality=95, subsampling=0)
rgb.save(out / "rgb420.jpg", quality=95)
rgb.save(out / "progressive.jpg", quality=95, subsampling=0, progressive=True)
rgb.convert("CMYK").save(out / "cmyk.jpg", quality=95)
rgb.save(out / "rgb.bmp")
grey.save(out / "grey.bmp")
rgba.save(out / "rgb_alpha.bmp")
