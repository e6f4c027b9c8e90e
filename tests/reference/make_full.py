"""Writes data/logits.safetensors: logits of timm's models at full size with the generator's
weights, and data/atto.safetensors: ConvNeXt V2 Atto's loss, gradients and ten AdamW steps, the
gradients and updates as sketches.

    python make_full.py [logits] [atto]
"""
import gc
import os
import sys

import numpy as np
import timm
import torch
import torch.nn.functional as F

import generator
import models
import steps

# (timm's name, image size); batch 2. The key of the logits is "NAME.SIZE".
LOGITS = [(f"convnextv2_{s}", 224) for s in models.SIZES]
LOGITS += [("convnextv2_atto", 160), ("convnextv2_atto", 288), ("convnextv2_tiny", 384)]
V1 = ["atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge"]
LOGITS += [(f"convnext_{s}", 224) for s in V1]
LOGITS_BATCH = 2
ATTO_BATCH = 4
ATTO_LR = 1e-4  # at 1e-3 rounding alone moves the weights by 7e-4 of their update in ten steps


def timm_model(name):
    net = timm.create_model(name, num_classes=1000).eval()
    for n, value in net.state_dict().items():
        value.copy_(torch.from_numpy(generator.tensor(n, value.shape)))
    return net


def make_logits():
    out, sizes = {}, {}
    for name, size in LOGITS:
        net = timm_model(name)
        image = torch.from_numpy(generator.tensor("image", (LOGITS_BATCH, 3, size, size)))
        with torch.inference_mode():
            logits = net(image).numpy()
        assert np.isfinite(logits).all()
        between = np.max(np.abs(logits[0] - logits[1])) / np.max(np.abs(logits))
        sizes[name] = sum(v.numel() for v in net.parameters())
        print(f"{name} {size}: largest logit {np.max(np.abs(logits)):.2f},"
              f" samples differ by {between:.2f}, {sizes[name]} parameters", flush=True)
        out[f"{name}.{size}"] = logits
        del net
        gc.collect()
    path = os.path.join(steps.HERE, "data", "logits.safetensors")
    steps.write(path, out, {"parameters": sizes})


def atto(dtype):
    """Everything that is compared, in one precision."""
    c = models.Config(**models.SIZES["atto"])
    image = torch.from_numpy(generator.tensor("image", (ATTO_BATCH, 3, 224, 224))).to(dtype)
    label = torch.from_numpy(generator.labels(ATTO_BATCH, c.classes))
    if dtype == torch.float32:  # timm itself
        net = timm_model("convnextv2_atto")
        p = dict(net.named_parameters())
        logits_of = lambda q: net(image)
    else:
        p = models.parameters(models.classifier_shapes(c), dtype)
        logits_of = lambda q: models.classifier(c, image, q)
    first = {n: v.detach().numpy().copy() for n, v in p.items()}
    logits = logits_of(p)
    loss = F.cross_entropy(logits, label)
    loss.backward()
    out = {"logits": logits.detach().double().numpy(), "loss": loss.detach().double().numpy()}
    out |= steps.to_numpy({n: v.grad for n, v in p.items()}, "grad.")
    losses = steps.train(p, lambda q: F.cross_entropy(logits_of(q), label), lr=ATTO_LR)
    out["losses"] = np.array(losses)
    return out | steps.to_numpy(p, "final."), first


def make_atto():
    single, first = atto(torch.float32)
    double, _ = atto(torch.float64)
    worst = steps.noise(single, double, first)
    steps.report("atto", worst)
    print(single["losses"])
    out = steps.sketched(steps.updates(single, first), "update.")
    out = steps.sketched(out, "grad.")
    steps.write(os.path.join(steps.HERE, "data", "atto.safetensors"), out, {"noise": worst})


if __name__ == "__main__":
    steps.quiet()
    for what in sys.argv[1:] or ["logits", "atto"]:
        {"logits": make_logits, "atto": make_atto}[what]()
