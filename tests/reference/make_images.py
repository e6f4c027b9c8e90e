"""Writes data/images.safetensors: what timm's evaluation makes of real photos, to the pixel,
and what ConvNeXt V2 Atto with the generator's weights says of them; copies the photos, all in the
public domain or CC0, from scikit-image to data/.
"""
import os
import shutil

import numpy as np
import skimage
import timm.data
import torch
from PIL import Image

import generator
import steps
from make_full import timm_model

DATA = os.path.join(steps.HERE, "data")
SOURCE = os.path.join(os.path.dirname(skimage.__file__), "data")

# (photo, size, crop_pct, squash); the name in the file is "PHOTO SIZE crop_pct" or "... squash"
CASES = [
    ("chelsea.png", 224, 0.875, False),
    ("chelsea.png", 96, 0.95, False),
    ("chelsea.png", 64, 1.0, False),
    ("chelsea.png", 128, 1.0, True),
    ("astronaut.png", 96, 0.875, False),
    ("astronaut.png", 65, 0.9, False),
    ("astronaut.png", 112, 1.0, True),
    ("astronaut.png", 300, 1.0, True),
]
TOP = 5


def copy_photos():
    shutil.copyfile(os.path.join(SOURCE, "chelsea.png"), os.path.join(DATA, "chelsea.png"))
    shutil.copyfile(os.path.join(SOURCE, "rocket.jpg"), os.path.join(DATA, "rocket.jpg"))
    portrait = Image.open(os.path.join(SOURCE, "astronaut.png")).crop((130, 0, 321, 262))
    portrait.save(os.path.join(DATA, "astronaut.png"), optimize=True)
    for name in ("chelsea.png", "rocket.jpg", "astronaut.png"):
        os.chmod(os.path.join(DATA, name), 0o644)


def pipeline(size, crop_pct, squash):
    return timm.data.create_transform(
        (3, size, size), is_training=False, interpolation="bicubic", crop_pct=crop_pct,
        crop_mode="squash" if squash else "center")


def pixels(image, transform):
    """uint8 (size,size,3): what the pipeline has before it normalises."""
    for step in transform.transforms:
        if not isinstance(image, Image.Image):
            break
        last, image = image, step(image)
    return np.asarray(last)


def main():
    steps.quiet()
    copy_photos()
    out = {}
    for photo, size, crop_pct, squash in CASES:
        image = Image.open(os.path.join(DATA, photo)).convert("RGB")
        key = f"{photo} {size} {'squash' if squash else crop_pct}"
        if size == 300:  # all but every eighth row is left out, to keep the file small
            out[key + " rows"] = pixels(image, pipeline(size, crop_pct, squash))[::8]
        else:
            out[key] = pixels(image, pipeline(size, crop_pct, squash))
        print(key, image.size, out.get(key, np.zeros(0)).shape)
    small = Image.open(os.path.join(DATA, "chelsea.png")).convert("RGB")
    out["normalized"] = pipeline(32, 0.875, False)(small).numpy()
    net = timm_model("convnextv2_atto")
    for photo in ("chelsea.png", "astronaut.png", "rocket.jpg"):
        image = Image.open(os.path.join(DATA, photo)).convert("RGB")
        with torch.inference_mode():
            logits = net(pipeline(224, 0.875, False)(image)[None])[0]
        top = torch.topk(logits.softmax(0), TOP)
        out[photo + " classes"] = top.indices.numpy()
        out[photo + " probabilities"] = top.values.numpy()
        print(photo, top.indices.tolist(), top.values.tolist())
    steps.write(os.path.join(DATA, "images.safetensors"), out, {})


if __name__ == "__main__":
    main()
