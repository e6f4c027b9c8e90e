"""ConvNeXt V1, V2 and every ablation in plain PyTorch, as functions of a dict of parameters.

Parameters have timm's names and shapes; make_small.py checks the standard members against timm
itself. Inside of a block tensors are (N,H,W,C). Everything takes `active` (N,H,W,1), 1 at sites
that exist and 0 elsewhere, or None for all: then statistics are over active sites and spatial ops
see zeros at the others, which is what a sparse convolution computes (see fcmae.py).
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import generator


@dataclass(frozen=True)
class GRN:
    aggregate: str = "l2"  # l2 l1 mean none
    normalize: str = "mean"  # mean sum standardize inverse_sum none
    residual: bool = True
    affine: bool = True
    scope: str = "sample"  # sample batch
    eps_inside: bool = False


@dataclass(frozen=True)
class Config:
    dims: tuple
    depths: tuple
    classes: int = 1000
    image_size: int = 224
    in_channels: int = 3
    conv: bool = False  # fc1 and fc2 are stored as (O,I,1,1)
    gelu: str = "erf"  # erf tanh
    mix: str = "grn"  # what stands after GELU: grn affine lrn batch_norm layer_norm se cbam none
    grn: GRN = GRN()
    layer_scale: bool = False
    head_eps: float = 1e-6


SIZES = {
    "atto": dict(dims=(40, 80, 160, 320), depths=(2, 2, 6, 2), conv=True),
    "femto": dict(dims=(48, 96, 192, 384), depths=(2, 2, 6, 2), conv=True),
    "pico": dict(dims=(64, 128, 256, 512), depths=(2, 2, 6, 2), conv=True),
    "nano": dict(dims=(80, 160, 320, 640), depths=(2, 2, 8, 2), conv=True),
    "tiny": dict(dims=(96, 192, 384, 768), depths=(3, 3, 9, 3)),
    "small": dict(dims=(96, 192, 384, 768), depths=(3, 3, 27, 3)),
    "base": dict(dims=(128, 256, 512, 1024), depths=(3, 3, 27, 3)),
    "large": dict(dims=(192, 384, 768, 1536), depths=(3, 3, 27, 3)),
    "huge": dict(dims=(352, 704, 1408, 2816), depths=(3, 3, 27, 3)),
}
SMALL = dict(dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), conv=True, classes=10, image_size=64)

# models/ablations/NAME.cnx: what differs from ConvNeXt V2.
ABLATIONS = {
    "grn_average": dict(grn=GRN(aggregate="mean")),
    "grn_l1": dict(grn=GRN(aggregate="l1")),
    "grn_sum": dict(grn=GRN(normalize="sum")),
    "grn_standardize": dict(grn=GRN(normalize="standardize")),
    "grn_inverse_sum": dict(grn=GRN(normalize="inverse_sum")),
    "grn_no_normalize": dict(grn=GRN(normalize="none")),
    "grn_no_residual": dict(grn=GRN(residual=False)),
    "grn_eps_inside": dict(grn=GRN(eps_inside=True)),
    "grn_batch": dict(grn=GRN(scope="batch")),
    "grn_no_affine": dict(grn=GRN(affine=False)),
    "grn_layer_scale": dict(layer_scale=True),
    "components_affine": dict(mix="affine"),
    "components_x_gx": dict(grn=GRN(normalize="none", residual=False)),
    "components_x_nx": dict(grn=GRN(aggregate="none", residual=False)),
    "lrn": dict(mix="lrn"),
    "batch_norm": dict(mix="batch_norm"),
    "layer_norm": dict(mix="layer_norm"),
    "se": dict(mix="se"),
    "cbam": dict(mix="cbam"),
    "gelu_tanh": dict(gelu="tanh"),
    "v1": dict(mix="none", layer_scale=True),
    "hf_eps": dict(head_eps=1e-12),
}

# Where the usual weights would hide what an ablation changes (an eps, LRN's alpha), some of them
# are multiplied: parameters whose name ends so, by this power of two.
FACTORS = {
    "grn_eps_inside": [(".mlp.fc1.weight", 2.0**-11), (".mlp.fc1.bias", 2.0**-11)],
    "hf_eps": [("stages.3.downsample.1.weight", 2.0**-9), ("stages.3.downsample.1.bias", 2.0**-9),
               ("stages.3.blocks.0.mlp.fc2.weight", 2.0**-9),
               ("stages.3.blocks.0.mlp.fc2.bias", 2.0**-9), ("head.fc.bias", 2.0)],
    "lrn": [(".mlp.fc1.weight", 2.0**2)],
}

# --- parameters ---


def norm_shapes(prefix, width):
    return {prefix + ".weight": (width,), prefix + ".bias": (width,)}


def weight_shapes(prefix, *shape):
    return {prefix + ".weight": shape, prefix + ".bias": shape[:1]}


def mix_shapes(c, prefix, width):
    reduced = max(1, width // 16)
    if c.mix == "none" or c.mix == "lrn" or c.mix == "grn" and not c.grn.affine:
        return {}
    if c.mix in ("se", "cbam"):
        shapes = weight_shapes(f"{prefix}.{c.mix}.fc1", reduced, width, 1, 1)
        shapes |= weight_shapes(f"{prefix}.{c.mix}.fc2", width, reduced, 1, 1)
        if c.mix == "cbam":
            shapes[f"{prefix}.cbam.conv.weight"] = (1, 2, 7, 7)
        return shapes
    return norm_shapes(prefix + ".grn", width)


def block_shapes(c, prefix, dim, conv):
    tail = (1, 1) if conv else ()
    shapes = weight_shapes(prefix + ".conv_dw", dim, 1, 7, 7)
    shapes |= norm_shapes(prefix + ".norm", dim)
    shapes |= weight_shapes(prefix + ".mlp.fc1", 4 * dim, dim, *tail)
    shapes |= mix_shapes(c, prefix + ".mlp", 4 * dim)
    shapes |= weight_shapes(prefix + ".mlp.fc2", dim, 4 * dim, *tail)
    if c.layer_scale:
        shapes[prefix + ".gamma"] = (dim,)
    return shapes


def encoder_shapes(c):
    shapes = weight_shapes("stem.0", c.dims[0], c.in_channels, 4, 4)
    shapes |= norm_shapes("stem.1", c.dims[0])
    for s, (dim, depth) in enumerate(zip(c.dims, c.depths)):
        if s > 0:
            shapes |= norm_shapes(f"stages.{s}.downsample.0", c.dims[s - 1])
            shapes |= weight_shapes(f"stages.{s}.downsample.1", dim, c.dims[s - 1], 2, 2)
        for b in range(depth):
            shapes |= block_shapes(c, f"stages.{s}.blocks.{b}", dim, c.conv)
    return shapes


def classifier_shapes(c):
    shapes = encoder_shapes(c) | norm_shapes("head.norm", c.dims[-1])
    return shapes | weight_shapes("head.fc", c.classes, c.dims[-1])


def parameters(shapes, dtype, factors=()):
    """Leaf tensors with the generator's values."""
    out = {}
    for name, shape in shapes.items():
        value = torch.from_numpy(generator.tensor(name, shape, factors))
        out[name] = value.to(dtype).requires_grad_()
    return out


def running_statistics(c, dtype):
    """Buffers of batch norm, {} without."""
    if c.mix != "batch_norm":
        return {}
    out = {}
    for s, (dim, depth) in enumerate(zip(c.dims, c.depths)):
        for b in range(depth):
            for kind in ("running_mean", "running_var"):
                name = f"stages.{s}.blocks.{b}.mlp.grn.{kind}"
                out[name] = torch.from_numpy(generator.tensor(name, (4 * dim,))).to(dtype)
    return out


# --- layers ---


def site_sum(x, active, scope="sample"):
    """(N or 1, 1, 1, C)"""
    x = x if active is None else x * active
    return x.sum(dim=(0, 1, 2) if scope == "batch" else (1, 2), keepdim=True)


def site_count(x, active, scope="sample"):
    ones = x.new_ones(x.shape[:3] + (1,)) if active is None else active
    return ones.sum(dim=(0, 1, 2) if scope == "batch" else (1, 2), keepdim=True)


def grn(g, x, p, name, active, eps=1e-6):
    """x (N,H,W,C)"""
    masked = x if active is None else x * active
    axes = (0, 1, 2) if g.scope == "batch" else (1, 2)
    if g.aggregate == "l2" and g.eps_inside:
        G = torch.sqrt(site_sum(x * x, active, g.scope) + eps)
    elif g.aggregate == "l2":
        G = torch.linalg.vector_norm(masked, dim=axes, keepdim=True)
    elif g.aggregate == "l1":
        G = masked.abs().sum(dim=axes, keepdim=True)
    elif g.aggregate == "mean":
        G = site_sum(x, active, g.scope) / site_count(x, active, g.scope)
    else:
        G = x
    if g.normalize == "mean":
        N = G / (G.mean(dim=-1, keepdim=True) + eps)
    elif g.normalize == "sum":
        N = G / (G.sum(dim=-1, keepdim=True) + eps)
    elif g.normalize == "standardize":
        var = G.var(dim=-1, keepdim=True, correction=0)
        N = (G - G.mean(dim=-1, keepdim=True)) / torch.sqrt(var + eps)
    elif g.normalize == "inverse_sum":
        N = 1 / (G.sum(dim=-1, keepdim=True) + eps)
    else:
        N = G
    y = x * N
    if g.affine:
        y = p[name + ".weight"] * y + p[name + ".bias"]
    return y + x if g.residual else y


def batch_norm(x, p, name, state, training, active, eps=1e-5, momentum=0.1):
    if not training:
        mean, var = state[name + ".running_mean"], state[name + ".running_var"]
    else:
        count = site_count(x, active, "batch")
        mean = site_sum(x, active, "batch") / count
        var = site_sum((x - mean) ** 2, active, "batch") / count
        with torch.no_grad():
            unbiased = var * count / (count - 1)
            for kind, new in (("running_mean", mean), ("running_var", unbiased)):
                old = state[f"{name}.{kind}"]
                old.copy_((1 - momentum) * old + momentum * new.reshape(-1))
    return (x - mean) / torch.sqrt(var + eps) * p[name + ".weight"] + p[name + ".bias"]


def gate(p, prefix, v):
    """fc2(relu(fc1(v))), v (N,1,1,C)"""
    w1, w2 = p[prefix + ".fc1.weight"].flatten(1), p[prefix + ".fc2.weight"].flatten(1)
    hidden = F.relu(F.linear(v, w1, p[prefix + ".fc1.bias"]))
    return F.linear(hidden, w2, p[prefix + ".fc2.bias"])


def cbam(x, p, name, active):
    mean = site_sum(x, active) / site_count(x, active)
    seen = x if active is None else x.masked_fill(active == 0, float("-inf"))
    most = seen.amax(dim=(1, 2), keepdim=True)
    if active is not None:  # a sample without any active site
        most = torch.where(torch.isfinite(most), most, torch.zeros_like(most))
    x = x * torch.sigmoid(gate(p, name, mean) + gate(p, name, most))
    maps = torch.cat([x.mean(dim=-1, keepdim=True), x.amax(dim=-1, keepdim=True)], dim=-1)
    maps = maps if active is None else maps * active
    s = F.conv2d(maps.permute(0, 3, 1, 2), p[name + ".conv.weight"], padding=3)
    return x * torch.sigmoid(s.permute(0, 2, 3, 1))


def mixer(c, x, p, prefix, state, training, active):
    """What stands between GELU and fc2."""
    name = prefix + ".grn"
    if c.mix == "grn":
        return grn(c.grn, x, p, name, active)
    if c.mix == "affine":
        return p[name + ".weight"] * x + p[name + ".bias"]
    if c.mix == "lrn":
        y = F.local_response_norm(x.permute(0, 3, 1, 2), size=5, alpha=1e-4, beta=0.75, k=1.0)
        return y.permute(0, 2, 3, 1)
    if c.mix == "batch_norm":
        return batch_norm(x, p, name, state, training, active)
    if c.mix == "layer_norm":
        return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], 1e-6)
    if c.mix == "se":
        mean = site_sum(x, active) / site_count(x, active)
        return x * torch.sigmoid(gate(p, prefix + ".se", mean))
    if c.mix == "cbam":
        return cbam(x, p, prefix + ".cbam", active)
    return x


def layer_norm(x, p, name, eps=1e-6):
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], eps)


def conv(x, p, name, **how):
    """x (N,H,W,C)"""
    y = F.conv2d(x.permute(0, 3, 1, 2), p[name + ".weight"], p[name + ".bias"], **how)
    return y.permute(0, 2, 3, 1)


def block(c, x, p, prefix, state, training, active):
    dim = x.shape[-1]
    y = x if active is None else x * active
    y = conv(y, p, prefix + ".conv_dw", padding=3, groups=dim)
    y = layer_norm(y, p, prefix + ".norm")
    y = F.linear(y, p[prefix + ".mlp.fc1.weight"].flatten(1), p[prefix + ".mlp.fc1.bias"])
    y = F.gelu(y, approximate="tanh" if c.gelu == "tanh" else "none")
    y = mixer(c, y, p, prefix + ".mlp", state, training, active)
    y = F.linear(y, p[prefix + ".mlp.fc2.weight"].flatten(1), p[prefix + ".mlp.fc2.bias"])
    return x + (y * p[prefix + ".gamma"] if c.layer_scale else y)


def encoder(c, image, p, state=None, training=False, active=None):
    """image (N,C,H,W); active: per stage, or None. Returns (N,h,w,C)."""
    x = conv(image.permute(0, 2, 3, 1), p, "stem.0", stride=4)
    x = layer_norm(x, p, "stem.1")
    for s, depth in enumerate(c.depths):
        if s > 0:
            x = layer_norm(x, p, f"stages.{s}.downsample.0")
            x = conv(x, p, f"stages.{s}.downsample.1", stride=2)
        for b in range(depth):
            here = None if active is None else active[s]
            x = block(c, x, p, f"stages.{s}.blocks.{b}", state, training, here)
    return x


def classifier(c, image, p, state=None, training=False):
    x = encoder(c, image, p, state, training).mean(dim=(1, 2))
    x = layer_norm(x, p, "head.norm", c.head_eps)
    return F.linear(x, p["head.fc.weight"], p["head.fc.bias"])
