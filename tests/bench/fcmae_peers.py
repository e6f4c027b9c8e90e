#!/usr/bin/env python3
"""One FCMAE training step: cnxc sparse and densified beside PyTorch's masked-dense step, eager and
compiled, in one run on the same threads.

    python tests/bench/fcmae_peers.py --cnxc build/cnxc [--batch 16] [--threads 2] [--no-compile]

PyTorch runs the model of tests/reference/fcmae.py (checked against cnxc by tests/test_reference_fcmae)
with AdamW. Needs torch and numpy (PyPI). Prints images/s, ratios and the memory of a step.
"""
import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reference"))


def run_torch(args):
    """Child process: times PyTorch and prints one JSON line."""
    import torch
    import fcmae
    import generator
    import models
    torch.set_num_threads(args.threads)
    c = models.Config(**models.SIZES["atto"])
    p = models.parameters(fcmae.shapes_of(c, 512, 1, False), torch.float32)
    image = torch.randn(args.batch, 3, 224, 224)
    mask = torch.from_numpy(generator.masks(args.batch, 49, 19)).float()
    optimizer = torch.optim.AdamW(p.values(), lr=1e-4)

    def loss_of(image, mask):
        return fcmae.forward(c, "sparse", 1, image, mask, p)[0]

    loss = torch.compile(loss_of) if args.child == "compiled" else loss_of

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss(image, mask).backward()
        optimizer.step()

    step()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < args.seconds or len(times) < 3:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    ms = sorted(times)[len(times) // 2] * 1e3
    print(json.dumps({"ms": ms, "images_per_s": args.batch / ms * 1e3,
                      "version": torch.__version__}))


def output_of(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True,
                                     text=True).stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cnxc", default="build/cnxc")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return run_torch(args)
    shared = ["--batch", str(args.batch), "--threads", str(args.threads)]
    bench = [args.cnxc, "bench", "models/fcmae_atto.cnx", "--train", "--json"] + shared
    sparse, dense = output_of(bench), output_of(bench + ["--densify"])
    peers = {}
    for mode in ["eager"] if args.no_compile else ["eager", "compiled"]:
        child = [sys.executable, __file__, "--child", mode, "--seconds", str(args.seconds)]
        peers[mode] = output_of(child + shared)
    print(f"fcmae_atto, 224 px, batch {args.batch}, {args.threads} threads, f32")
    print(f"  cnxc sparse     {sparse['images_per_s']:7.1f} img/s {sparse['ms']:8.1f} ms")
    print(f"  cnxc densified  {dense['images_per_s']:7.1f} img/s {dense['ms']:8.1f} ms")
    for mode, peer in peers.items():
        print(f"  PyTorch {peer['version']} masked-dense {mode:8s} {peer['images_per_s']:7.1f} img/s "
              f"{peer['ms']:8.1f} ms")
    best = max(peer["images_per_s"] for peer in peers.values())
    print(f"  sparse takes {sparse['ms'] / dense['ms']:.3f} of the densified time and "
          f"{sparse['peak_bytes'] / dense['peak_bytes']:.3f} of its memory")
    print(f"  cnxc is {sparse['images_per_s'] / best:.2f} x the best of PyTorch")


if __name__ == "__main__":
    main()
