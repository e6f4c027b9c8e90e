#!/usr/bin/env python3
"""Writes tests/names: one small network of each version under the names of every library, and what
timm computes with it; needs PyTorch and timm.

tests/test_convert.c reads and converts them. The names of Hugging Face's transformers are written
here by rule; with transformers installed they are compared with its own.
"""
import pathlib
import re

import timm.models.convnext
import torch
from safetensors.torch import save_file

out = pathlib.Path(__file__).resolve().parent.parent / "names"
out.mkdir(parents=True, exist_ok=True)
DIMS, DEPTHS, CLASSES = (3, 4, 5, 6), (1, 1, 2, 1), 5
DECODER, ROWS = 2, 12


def official(state):
    """A classifier's names and shapes in the official repositories."""
    result = {}
    for name, t in state.items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", name)
        name = re.sub(r"^stages\.(\d+)\.downsample", r"downsample_layers.\1", name)
        name = re.sub(r"^stages\.(\d+)\.blocks\.", r"stages.\1.", name)
        name = name.replace("conv_dw", "dwconv").replace("head.norm", "norm")
        name = name.replace("head.fc", "head").replace("mlp.fc", "pwconv")
        name = name.replace("mlp.grn.weight", "grn.gamma").replace("mlp.grn.bias", "grn.beta")
        if ".grn." in name:
            t = t.reshape(1, 1, 1, -1)
        result[name] = t.contiguous()
    return result


def hugging_face(state, prefix):
    result = {}
    for name, t in official(state).items():
        name = re.sub(r"^downsample_layers\.0\.0", "embeddings.patch_embeddings", name)
        name = re.sub(r"^downsample_layers\.0\.1", "embeddings.layernorm", name)
        name = re.sub(r"^downsample_layers\.(\d+)", r"encoder.stages.\1.downsampling_layer", name)
        name = re.sub(r"^stages\.(\d+)\.(\d+)", r"encoder.stages.\1.layers.\2", name)
        name = re.sub(r"\bnorm\.", "layernorm.", name)
        name = name.replace("grn.gamma", "grn.weight").replace("grn.beta", "grn.bias")
        name = name.replace(".gamma", ".layer_scale_parameter")
        name = re.sub(r"^head", "classifier", name)
        result[name if name.startswith("classifier") else prefix + name] = t
    return result


def sparse(state):
    """The encoder as MinkowskiEngine stores it: kernel[kh + ks kw, in, out], biases as rows."""
    result = {}
    for name, t in official(state).items():
        if name.startswith(("norm.", "head.")):
            continue
        if "dwconv.weight" in name:
            c, _, kh, kw = t.shape
            t = t[:, 0].permute(2, 1, 0).reshape(kw * kh, c)
        elif re.match(r"downsample_layers\.[123]\.1\.weight", name):
            o, i, kh, kw = t.shape
            t = t.permute(3, 2, 1, 0).reshape(kw * kh, i, o)
        elif re.search(r"dwconv\.bias|downsample_layers\.[123]\.1\.bias|grn", name):
            t = t.reshape(1, -1)
        if t.ndim > 1 and re.search(r"dwconv|downsample_layers\.[123]\.1", name):
            name = name.replace("weight", "kernel")
        name = re.sub(r"(pwconv[12])", r"\1.linear", name)
        name = re.sub(r"(stages\.\d+\.\d+\.norm|downsample_layers\.[123]\.0)", r"\1.ln", name)
        result["encoder." + name] = t.contiguous()
    return result


def decoder():
    d = DECODER
    shapes = {"mask_token": (1, d, 1, 1), "proj.weight": (d, DIMS[3], 1, 1), "proj.bias": (d,),
              "decoder.0.dwconv.weight": (d, 1, 7, 7), "decoder.0.dwconv.bias": (d,),
              "decoder.0.norm.weight": (d,), "decoder.0.norm.bias": (d,),
              "decoder.0.pwconv1.weight": (4 * d, d), "decoder.0.pwconv1.bias": (4 * d,),
              "decoder.0.pwconv2.weight": (d, 4 * d), "decoder.0.pwconv2.bias": (d,),
              "decoder.0.grn.gamma": (1, 1, 1, 4 * d), "decoder.0.grn.beta": (1, 1, 1, 4 * d),
              "pred.weight": (ROWS, d, 1, 1), "pred.bias": (ROWS,)}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def check_with_transformers(state, prefix):
    try:
        import transformers
    except ImportError:
        print("transformers is not installed: its names are not compared")
        return
    first = prefix == "convnext."
    config = transformers.ConvNextConfig if first else transformers.ConvNextV2Config
    model = (transformers.ConvNextForImageClassification if first
             else transformers.ConvNextV2ForImageClassification)
    own = model(config(hidden_sizes=DIMS, depths=DEPTHS, num_labels=CLASSES)).state_dict()
    ours = hugging_face(state, prefix)
    assert {n: t.shape for n, t in own.items()} == {n: t.shape for n, t in ours.items()}


io = {"image": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).half()}
for version, prefix in ("v2", "convnextv2."), ("v1", "convnext."):
    torch.manual_seed(2)
    model = timm.models.convnext.ConvNeXt(
        dims=DIMS, depths=DEPTHS, num_classes=CLASSES, use_grn=version == "v2",
        ls_init_value=None if version == "v2" else 0.5).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
        io[version] = model(io["image"].float())
    state = {name: t.contiguous() for name, t in model.state_dict().items()}
    check_with_transformers(state, prefix)
    save_file(state, out / f"{version}_timm.safetensors", {"format": "pt"})
    save_file(hugging_face(state, prefix), out / f"{version}_hf.safetensors", {"format": "pt"})
    torch.save({"model": official(state)}, out / f"{version}_official.pth")
    if version == "v2":
        released = {n: t.reshape(1, -1) if ".grn." in n else t
                    for n, t in official(state).items() if not n.startswith(("norm.", "head."))}
        torch.save({"model": released}, out / "v2_released.pt")
        torch.save({"model": {**decoder(), **sparse(state)}, "optimizer": {"state": {}},
                    "epoch": 1, "scaler": {}}, out / "v2_fcmae.pth")
save_file(io, out / "io.safetensors")
