"""FCMAE in plain PyTorch: the sparse encoder written as masked-dense convolutions, its two
baselines without sparse convolutions, and the data files of both.

    python fcmae.py [NAME...]

Masked-dense: every spatial op sees zeros at removed sites and statistics are over kept sites, which
equals submanifold convolutions at kept sites (the others hold junk that nothing reads). Statistics
of GRN are per sample, or with scope "batch" over the batch as in the official sparse code; the
decoder is dense and per sample in both. Baselines: `leak` sets removed pixels to 0 once and
convolves densely; `input_token` puts a learned pixel (1,C,1,1) there.

Names are the encoder's as they are, proj.*, mask_token, decoder.K.*, pred.*. Weight decay follows
the fine-tuning rule (steps.decays), so mask_token decays and GRN does not; the official
pre-training decays GRN, too, because its weights happen to have two dimensions there.
"""
import os
import sys
from dataclasses import replace

import numpy as np
import torch

import generator
import models
import steps

PATCH = 32
RATIO = 0.6
BETAS = (0.9, 0.95)
# Like models.FACTORS; moves some cases away from weights whose first gradient is only rounding, for
# AdamW would make a whole step of its sign.
FACTORS = {"components_x_gx": [("proj.bias", 2.0)], "grn_no_residual": [("pred.bias", 4.0)],
           "lrn": [("pred.bias", 4.0)]}


def shapes_of(c, dim, depth, token):
    shapes = models.encoder_shapes(c)
    shapes |= models.weight_shapes("proj", dim, c.dims[-1], 1, 1) | {"mask_token": (1, dim, 1, 1)}
    decoder = models.Config(dims=(dim,), depths=(depth,))
    for k in range(depth):
        shapes |= models.block_shapes(decoder, f"decoder.{k}", dim, conv=False)
    shapes |= models.weight_shapes("pred", PATCH * PATCH * c.in_channels, dim, 1, 1)
    return shapes | ({"input_token": (1, c.in_channels, 1, 1)} if token else {})


def upsample(mask, factor):
    """(N,h,w,1) to (N, h factor, w factor, 1)"""
    return mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def patchify(image):
    """(N,C,H,W) to (N,L,32*32*C), channels fastest."""
    n, c, h, w = image.shape
    x = image.reshape(n, c, h // PATCH, PATCH, w // PATCH, PATCH)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, PATCH * PATCH * c)


def encode(c, kind, image, kept, p, state):
    """kept (N,g,g,1): features (N,g,g,C) that hold at kept cells."""
    if kind == "sparse":
        active = [upsample(kept, PATCH // 4 // 2**s) for s in range(len(c.dims))]
        return models.encoder(c, image, p, state, True, active) * kept
    pixels = upsample(kept, PATCH).permute(0, 3, 1, 2)
    image = image * pixels
    if kind == "input_token":
        image = image + p["input_token"] * (1 - pixels)
    return models.encoder(c, image, p, state, True)


def forward(c, kind, depth, image, mask, p, state=None):
    """mask (N,L), 1 = removed. Returns the loss and pred (N,L,3072), 0 at kept patches."""
    grid = image.shape[2] // PATCH
    hidden = mask.reshape(-1, grid, grid, 1)
    x = encode(c, kind, image, 1 - hidden, p, state)
    x = models.conv(x, p, "proj")
    x = x * (1 - hidden) + p["mask_token"].permute(0, 2, 3, 1) * hidden
    decoder = models.Config(dims=(x.shape[-1],), depths=(depth,), gelu=c.gelu)
    for k in range(depth):
        x = models.block(decoder, x, p, f"decoder.{k}", None, True, None)
    pred = models.conv(x, p, "pred").flatten(1, 2)
    target = patchify(image)
    mean, var = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
    target = (target - mean) / torch.sqrt(var + 1e-6)
    error = ((pred - target) ** 2).mean(dim=-1)
    return (error * mask).sum() / mask.sum(), pred * mask[..., None]


def run(c, kind, dim, depth, batch, dtype, lr, factors=()):
    """Everything that is compared, in one precision."""
    image = generator.tensor("image", (batch, c.in_channels, c.image_size, c.image_size))
    patches = (c.image_size // PATCH) ** 2
    mask = generator.masks(batch, patches, int(patches * (1 - RATIO)))
    image, mask = torch.from_numpy(image).to(dtype), torch.from_numpy(mask).to(dtype)
    shapes = shapes_of(c, dim, depth, kind == "input_token")
    p = models.parameters(shapes, dtype, factors)
    state = models.running_statistics(c, dtype)
    first = {n: generator.tensor(n, s, factors) for n, s in shapes.items()}
    first |= {n: v.numpy().copy() for n, v in state.items()}
    start = {n: v.clone() for n, v in state.items()}
    loss, pred = forward(c, kind, depth, image, mask, p, start)
    loss.backward()
    out = {"loss": loss.detach().double().numpy(), "pred": pred.detach().double().numpy()}
    out |= steps.to_numpy({n: v.grad for n, v in p.items()}, "grad.")
    loss_of = lambda q: forward(c, kind, depth, image, mask, q, state)[0]
    out["losses"] = np.array(steps.train(p, loss_of, BETAS, lr))
    return out | steps.to_numpy(p, "final.") | steps.to_numpy(state, "final."), first


def cases():
    """name: config, kind, decoder width, decoder depth, batch, learning rate"""
    small = models.Config(**models.SMALL | dict(image_size=128))
    out = {"fcmae": (small, "sparse", 16, 1, 3, steps.LR)}
    out["fcmae_depth2"] = (small, "sparse", 24, 2, 3, steps.LR)
    out["fcmae_leak"] = (small, "leak", 16, 1, 3, steps.LR)
    out["fcmae_input_token"] = (small, "input_token", 16, 1, 3, steps.LR)
    for name in models.ABLATIONS:
        if name != "hf_eps":  # there is no head
            c = replace(small, **models.ABLATIONS[name])
            out["fcmae_" + name] = (c, "sparse", 16, 1, 3, steps.LR)
    atto = models.Config(**models.SIZES["atto"])
    out["fcmae_atto"] = (atto, "sparse", 512, 1, 4, 1e-4)
    return out


def check(c):
    """Removed pixels are never read; with all patches kept the encoder is the dense one."""
    shapes = shapes_of(c, 16, 1, False)
    p = models.parameters(shapes, torch.float64)
    shape = (3, c.in_channels, c.image_size, c.image_size)
    image = torch.from_numpy(generator.tensor("image", shape)).double()
    grid = c.image_size // PATCH
    mask = torch.from_numpy(generator.masks(3, grid**2, 6)).double()
    kept = (1 - mask).reshape(-1, grid, grid, 1)
    other = torch.where(upsample(kept, PATCH).permute(0, 3, 1, 2) > 0, image, image.flip(0))
    leaks = {}
    for kind in ("sparse", "leak"):
        a, b = (encode(c, kind, i, kept, p, {}) * kept for i in (image, other))
        assert torch.equal(a, b), kind
        leaks[kind] = a
    assert not torch.allclose(leaks["sparse"], leaks["leak"], rtol=1e-2)
    a = encode(c, "sparse", image, torch.ones_like(kept), p, {})
    assert torch.equal(a, models.encoder(c, image, p))


def main():
    steps.quiet()
    chosen = cases()
    check(chosen["fcmae"][0])
    for name in sys.argv[1:] or chosen:
        *how, lr = chosen[name]
        ablation = name[len("fcmae_") :]
        factors = models.FACTORS.get(ablation, []) + FACTORS.get(ablation, [])
        single, first = run(*how, torch.float32, lr, factors)
        double, _ = run(*how, torch.float64, lr, factors)
        worst = steps.noise(single, double, first)
        steps.report(name, worst)
        out = steps.sketched(steps.updates(single, first), "update.")
        out = steps.sketched(out, "pred")
        if name != "fcmae":
            out = steps.sketched(out, "grad.")
        metadata = {"noise": worst, "config": how[0], "decoder": how[2:4], "lr": lr}
        steps.write(os.path.join(steps.HERE, "data", name + ".safetensors"), out, metadata)


if __name__ == "__main__":
    main()
