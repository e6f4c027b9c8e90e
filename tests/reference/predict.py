#!/usr/bin/env python3
"""Compares evaluation end to end with timm: every pixel that the model sees, and what
`cnxc predict` says of real photos. Prints Markdown, for docs/evaluation.md.

    predict.py build/cnxc [pixels] [jpeg] [predict]
    predict.py build/cnxc table > rows.txt        the table of tests/test_predict.c

Needs scikit-learn and scikit-image for their photos. Pixels are compared through the runtime's
own functions, compiled into a shared object; predictions through the program alone, on weights of
the generator that timm's models wrote as safetensors.
"""
import ctypes
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import skimage
import sklearn
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import save_file

import generator
import steps

ROOT = os.path.dirname(os.path.dirname(steps.HERE))
MOST = 5


def photos():
    """(name, image as Pillow reads it, path) of every photo at hand, in colour or grey."""
    found = []
    for package, sub in ((sklearn, "datasets/images"), (skimage, "data")):
        folder = os.path.join(os.path.dirname(package.__file__), sub)
        for name in sorted(os.listdir(folder)):
            if name.endswith((".png", ".jpg", ".jpeg", ".gif")):
                image = Image.open(os.path.join(folder, name))
                if min(image.size) >= 64 and image.mode in ("RGB", "RGBA", "L", "P"):
                    found.append((name, image, os.path.join(folder, name)))
    assert len(found) >= 5, "too few photos"
    return found


# --- the pipeline of timm ---


def pipeline(size, crop_pct, squash, channels=3):
    mean, std = timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    if channels == 1:
        mean, std = (0.5,), (0.5,)
    return timm.data.create_transform(
        (channels, size, size), is_training=False, interpolation="bicubic", crop_pct=crop_pct,
        crop_mode="squash" if squash else "center", mean=mean, std=std)


def before_tensor(image, transform):
    """uint8 (size,size[,3]): what the pipeline has before it normalises."""
    for step in transform.transforms:
        after = step(image)
        if not isinstance(after, Image.Image):
            return np.asarray(image)
        image = after
    raise AssertionError("no tensor")


# --- the runtime's functions ---


class RtImage(ctypes.Structure):
    _fields_ = [("width", ctypes.c_int), ("height", ctypes.c_int), ("channels", ctypes.c_int),
                ("pixels", ctypes.POINTER(ctypes.c_uint8))]


class RtTransform(ctypes.Structure):
    _fields_ = [("size", ctypes.c_int), ("crop_pct", ctypes.c_double), ("squash", ctypes.c_bool)]


class Runtime:
    def __init__(self, folder):
        path = os.path.join(folder, "image.so")
        sources = [os.path.join(ROOT, "runtime", f"rt_{s}.c")
                   for s in ("image", "image_check", "resize", "stb", "file", "error")]
        subprocess.run(["cc", "-std=c11", "-O2", "-shared", "-fPIC", "-I", ROOT + "/runtime",
                        "-I/usr/include/stb", *sources, "-o", path, "-lz", "-lm"], check=True)
        self.lib = ctypes.CDLL(path)
        for name in ("rt_image_decode", "rt_image_evaluate"):
            getattr(self.lib, name).restype = ctypes.c_bool
        self.error = ctypes.create_string_buffer(1 << 16)

    def array(self, image):
        shape = (image.height, image.width, image.channels)
        out = np.ctypeslib.as_array(image.pixels, (int(np.prod(shape)),)).reshape(shape).copy()
        self.lib.rt_image_free(ctypes.byref(image))
        return out

    def decode(self, data, channels):
        image = RtImage()
        good = self.lib.rt_image_decode(b"f", data, ctypes.c_size_t(len(data)), channels,
                                        ctypes.byref(image), self.error)
        assert good, self.error.value
        return self.array(image)

    def evaluate(self, pixels, size, crop_pct, squash):
        pixels = np.ascontiguousarray(pixels)
        source = RtImage(pixels.shape[1], pixels.shape[0], pixels.shape[2] if pixels.ndim > 2 else 1,
                         pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)))
        how, out = RtTransform(size, crop_pct, squash), RtImage()
        good = self.lib.rt_image_evaluate(ctypes.byref(source), ctypes.byref(how),
                                          ctypes.byref(out), self.error)
        assert good, self.error.value
        return self.array(out)


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


# --- every pixel ---

HOW = [(224, 0.875, False), (224, 0.9, False), (224, 1.0, False), (288, 0.95, False),
       (288, 1.0, False), (256, 0.965, False), (160, 0.95, False), (65, 0.875, False),
       (32, 1.0, False), (384, 1.0, True), (512, 1.0, True), (384, 0.9, True)]


def shapes(image, draw):
    """The photo, turned to the other side, and cut to odd sizes."""
    w, h = image.size
    yield image
    yield image.transpose(Image.Transpose.ROTATE_90)
    for _ in range(2):
        cut_w, cut_h = draw.randint(w // 3, w), draw.randint(h // 3, h)
        left, top = draw.randint(0, w - cut_w), draw.randint(0, h - cut_h)
        yield image.crop((left, top, left + cut_w, top + cut_h))


def compare_pixels(runtime):
    draw, worst, count, pictures = random.Random(5), 0, 0, 0
    decoded = 0
    for name, photo, _ in photos():
        for mode, channels in (("RGB", 3), ("L", 1)):
            data = png(photo) if photo.mode != "P" else png(photo.convert("RGB"))
            expected = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
            found = runtime.decode(data, channels).reshape(expected.shape)
            decoded = max(decoded, int(np.abs(found.astype(int) - expected).max()))
            for image in shapes(photo.convert(mode), draw):
                pictures += 1
                for size, crop_pct, squash in HOW:
                    expected = before_tensor(image, pipeline(size, crop_pct, squash, channels))
                    found = runtime.evaluate(np.asarray(image), size, crop_pct, squash)
                    error = np.abs(found.reshape(expected.shape).astype(int) - expected).max()
                    worst, count = max(worst, int(error)), count + 1
                    if error:
                        print(f"{name} {image.size} {mode} {size} {crop_pct} {squash}: {error}")
    print(f"| PNG decoded, colour and grey | {pictures // 4} | {decoded} |")
    print(f"| resized, cropped: {len(HOW)} settings | {count} | {worst} |")
    assert worst == 0 and decoded == 0


def print_table():
    """Checksums of what timm makes of the committed photos and parts of them."""
    parts = {"chelsea.png": [(451, 300), (200, 299), (77, 33)],
             "astronaut.png": [(191, 262), (190, 97), (40, 261)]}
    for name, sizes in parts.items():
        photo = Image.open(os.path.join(steps.HERE, "data", name))
        for i, (w, h) in enumerate(sizes):
            for mode, channels in (("RGB", 3), ("L", 1)):
                image = photo.convert("RGB").convert(mode).crop((0, 0, w, h))
                for size, crop_pct, squash in HOW[i + (channels == 1) :: 2]:
                    out = before_tensor(image, pipeline(size, crop_pct, squash, channels))
                    print(f'{{"{name}", {w}, {h}, {channels}, {{{size}, {crop_pct}, '
                          f'{str(squash).lower()}}}, 0x{zlib.crc32(out.tobytes()):08x}}},')


# --- JPEG ---


def compare_jpeg(runtime):
    settings = [("as they come", None)]
    settings += [(f"quality {q}, {name}", dict(quality=q, subsampling=s))
                 for q in (75, 95) for name, s in (("4:2:0", 2), ("4:2:2", 1), ("4:4:4", 0))]
    settings.append(("quality 75, 4:2:0, progressive",
                     dict(quality=75, subsampling=2, progressive=True)))
    print("\n| JPEG | mean | 99.9 % within | largest | largest at 224 |\n|---|---|---|---|---|")
    for title, options in settings:
        errors, seen = [], 0
        for _, photo, path in photos():
            if options is None and not path.endswith((".jpg", ".jpeg")):
                continue
            data = io.BytesIO()
            if options is None:
                data = io.BytesIO(open(path, "rb").read())
            else:
                photo.convert("RGB").save(data, "JPEG", **options)
            image = Image.open(data).convert("RGB")
            found, expected = runtime.decode(data.getvalue(), 3), np.asarray(image)
            errors.append(np.abs(found.astype(int) - expected).ravel())
            a = runtime.evaluate(found, 224, 0.875, False)
            b = before_tensor(image, pipeline(224, 0.875, False))
            seen = max(seen, int(np.abs(a.astype(int) - b).max()))
        every = np.concatenate(errors)
        print(f"| {title} | {every.mean():.2f} | {np.quantile(every, 0.999):.0f} | {every.max()} |"
              f" {seen} |", flush=True)


# --- predictions ---

# (timm's name, image size, crop_pct, squash, channels, classes)
MODELS = [
    ("convnextv2_atto", 224, 0.875, False, 3, 1000),
    ("convnextv2_atto", 224, 0.875, False, 1, 10),
    ("convnextv2_atto", 288, 0.95, False, 3, 1000),
    ("convnextv2_atto", 288, 1.0, False, 3, 1000),
    ("convnextv2_atto", 384, 1.0, True, 3, 1000),
    ("convnextv2_atto", 32, 0.875, False, 3, 100),
    ("convnextv2_pico", 224, 0.875, False, 3, 1000),
]


def timm_model(name, channels, classes):
    net = timm.create_model(name, in_chans=channels, num_classes=classes).eval()
    for n, value in net.state_dict().items():
        value.copy_(torch.from_numpy(generator.tensor(n, value.shape)))
    return net


def write_photos(folder, size, channels):
    """Paths of PNG and JPEG files, by kind."""
    files = {"PNG": [], "JPEG": []}
    for i, (name, photo, path) in enumerate(photos()):
        stem = os.path.join(folder, f"{size}-{channels}-{os.path.splitext(name)[0]}")
        image = photo.convert("RGB" if i % 3 else "L") if photo.mode != "RGB" else photo
        if i % 2:
            image = image.transpose(Image.Transpose.ROTATE_90)
        if size <= 32:  # small images come in the model's own size, and are not resized
            image = image.resize((size, size))
        image.save(stem + ".png", compress_level=1)
        files["PNG"].append(stem + ".png")
        if path.endswith((".jpg", ".jpeg")) and size > 32:
            files["JPEG"].append(path)
        elif len(files["JPEG"]) < MOST and size > 32:
            image.save(stem + ".jpg", quality=90)
            files["JPEG"].append(stem + ".jpg")
    return files


def expected_top(net, path, transform, channels):
    image = Image.open(path).convert("RGB" if channels == 3 else "L")
    with torch.inference_mode():
        return torch.softmax(net(transform(image)[None])[0].double(), 0).numpy()


def compare_top(entry, probability, limit):
    """The worst error of a probability. The order must be the same wherever a gap is larger."""
    order = np.argsort(-probability, kind="stable")[: len(entry["top"])]
    worst, same = 0.0, True
    for k, found in enumerate(entry["top"]):
        worst = max(worst, abs(found["probability"] - probability[found["class"]]),
                    abs(found["probability"] - probability[order[k]]))
        if found["class"] != order[k]:
            same = False
            gap = abs(probability[found["class"]] - probability[order[k]])
            assert gap <= limit, (entry["file"], k, gap)
    assert worst <= limit, (entry["file"], worst)
    return worst, same


def compare_predictions(cnxc, folder):
    print("\n| model | images | top five in order | largest difference of a probability |"
          "\n|---|---|---|---|")
    for name, size, crop_pct, squash, channels, classes in MODELS:
        net = timm_model(name, channels, classes)
        weights = os.path.join(folder, "weights.safetensors")
        save_file({n: v.contiguous() for n, v in net.state_dict().items()}, weights)
        transform = pipeline(size, crop_pct, squash, channels)
        if size <= 32:
            transform.transforms = transform.transforms[2:]  # neither resize nor crop
        for kind, files in write_photos(folder, size, channels).items():
            if not files:
                continue
            out = subprocess.run(
                [cnxc, "predict", name + ".cnx", "--weights", weights, "--json", *files,
                 "-D", f"image_size={size}", "-D", f"crop_pct={crop_pct}",
                 "-D", f"in_channels={channels}", "-D", f"classes={classes}"],
                check=True, stdout=subprocess.PIPE).stdout
            entries = json.loads(out)
            assert [e["file"] for e in entries] == files
            limit = 1e-3 if kind == "PNG" else 5e-3
            results = [compare_top(e, expected_top(net, f, transform, channels), limit)
                       for e, f in zip(entries, files)]
            print(f"| {name}, {size}, {'squash' if squash else crop_pct}, {channels} channels |"
                  f" {len(files)} {kind} | {sum(s for _, s in results)} |"
                  f" {max(w for w, _ in results):.1e} |", flush=True)


def main():
    steps.quiet()
    cnxc, *what = sys.argv[1:]
    what = what or ["pixels", "jpeg", "predict"]
    with tempfile.TemporaryDirectory() as folder:
        if "pixels" in what:
            print("| what | images | largest difference in levels |\n|---|---|---|")
            compare_pixels(Runtime(folder))
        if "jpeg" in what:
            compare_jpeg(Runtime(folder))
        if "table" in what:
            print_table()
        if "predict" in what:
            compare_predictions(cnxc, folder)


if __name__ == "__main__":
    main()
