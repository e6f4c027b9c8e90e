#!/usr/bin/env python3
"""Writes tests/fuzz/torch: small checkpoints as people save them; needs PyTorch.

tests/test_rt_torch.c knows what is in them; fuzz_torch mutates them and their pickles.
"""
import argparse
import collections
import pathlib
import zipfile

import torch

out = pathlib.Path(__file__).resolve().parent.parent / "fuzz" / "torch"
out.mkdir(parents=True, exist_ok=True)


def ramp(dtype, *shape):
    return torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)


model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
with torch.no_grad():
    for i, parameter in enumerate(model.parameters()):
        parameter.copy_(ramp(torch.float32, *parameter.shape) + 10 * i)
torch.save(model.state_dict(), out / "plain.pt")

kinds = {str(d).removeprefix("torch."): ramp(d, 2, 3) for d in (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8)}
kinds["bool"] = torch.tensor([True, False])
kinds["scalar"] = torch.tensor(2.5)
kinds["empty"] = torch.zeros(0, 3)
shared = ramp(torch.float32, 4, 6)
kinds["whole"], kinds["rows"], kinds["columns"] = shared, shared[1:3], shared[:, 2:5]
kinds["turned"] = shared.t()
kinds["channels_last"] = ramp(torch.float32, 2, 3, 2, 2).contiguous(
    memory_format=torch.channels_last)
kinds["parameter"] = torch.nn.Parameter(ramp(torch.float32, 2))
torch.save(collections.OrderedDict(state_dict=kinds), out / "kinds.pt")

optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
model(torch.ones(4, 3)).sum().backward()
optimizer.step()
torch.save({"model": {"w": ramp(torch.float32, 2, 2)}, "optimizer": optimizer.state_dict(),
            "epoch": 3, "scaler": {}, "args": argparse.Namespace(lr=1e-3, name="x")},
           out / "training.pth")
torch.save({"a": torch.ones(2)}, out / "protocol4.pt", pickle_protocol=4)
torch.save({"a": torch.ones(2), "f": eval}, out / "evil.pt")
torch.save({"a": torch.ones(1).expand(5)}, out / "repeated.pt")
torch.save({"a": torch.ones(2)}, out / "before_1_6.pt", _use_new_zipfile_serialization=False)
for name in ("plain.pt", "kinds.pt", "training.pth", "protocol4.pt"):
    with zipfile.ZipFile(out / name) as archive:
        pickle = [n for n in archive.namelist() if n.endswith("data.pkl")][0]
        (out / (name.split(".")[0] + ".pkl")).write_bytes(archive.read(pickle))
