"""Loss, gradients and ten AdamW steps of a function of parameters, and files of results."""
import json
import os

import numpy as np
import torch
from safetensors.numpy import save

import generator

STEPS = 10
LR = 1e-3
WEIGHT_DECAY = 0.05
HERE = os.path.dirname(os.path.abspath(__file__))


def quiet():
    torch.set_num_threads(1)
    torch.manual_seed(0)  # nothing here draws, and if it did it would be the same


def decays(name, value):
    """Official fine-tuning: vectors, biases, gamma and beta are not decayed."""
    return value.ndim > 1 and not name.endswith((".bias", ".gamma", ".beta"))


def train(p, loss_of, betas=(0.9, 0.999), lr=LR):
    """Updates p in place; the loss before each step, as numbers."""
    groups = [
        {"params": [v for n, v in p.items() if decays(n, v)], "weight_decay": WEIGHT_DECAY},
        {"params": [v for n, v in p.items() if not decays(n, v)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, foreach=False)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(p)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def to_numpy(tensors, prefix=""):
    return {prefix + n: v.detach().double().numpy() for n, v in tensors.items()}


def relative(a, b):
    """||a - b|| / ||b||, 0 if both are 0."""
    difference, norm = np.linalg.norm(np.ravel(a - b)), np.linalg.norm(np.ravel(b))
    return difference / norm if norm else float(difference > 0)


def noise(single, double, first):
    """How far f32 and f64 differ, in the measures of the C tests: the least that can be asked."""
    worst = {}
    for name, value in single.items():
        kind = name.split(".")[0] if name.startswith(("grad.", "final.")) else name
        exact = double[name]
        if kind == "grad":
            error = relative(value, exact)
        elif kind == "final":
            start = first[name[len("final.") :]]
            error = relative(value - start, exact - start)
        elif kind == "losses":
            error = np.max(np.abs(value - exact) / np.abs(exact))
        else:
            error = np.max(np.abs(value - exact)) / max(np.max(np.abs(exact)), 1e-30)
        if error >= worst.get(kind, (-1, ""))[0]:
            worst[kind] = (float(error), name)
    return worst


def updates(result, first):
    """final.NAME becomes update.NAME, its difference from the first weight."""
    out = {n: v for n, v in result.items() if not n.startswith("final.")}
    return out | {"update." + n: result["final." + n] - v for n, v in first.items()}


def sketched(tensors, prefix):
    """The tensors whose name begins with prefix, each as sketch.NAME; the others as they are."""
    out = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            out["sketch." + name] = generator.sketch(name, value)
        else:
            out[name] = value
    return out


def versions():
    import timm

    return {"torch": torch.__version__, "timm": timm.__version__, "numpy": np.__version__}


def in_order(data):
    """The same safetensors file with sorted metadata: save() writes it in a random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def write(path, tensors, metadata):
    """f32, but for sketches and whole numbers."""
    out = {}
    for name, value in tensors.items():
        value = np.asarray(value)
        keep = name.startswith("sketch.") or value.dtype.kind in "iu"
        out[name] = np.ascontiguousarray(value if keep else value.astype(np.float32))
    text = {k: str(v) for k, v in (versions() | metadata).items()}
    text["seed"] = str(generator.SEED)
    with open(path, "wb") as file:
        file.write(in_order(save(out, metadata=text)))


def report(name, worst):
    print(name, " ".join(f"{k} {v[0]:.1e}" for k, v in sorted(worst.items())), flush=True)
