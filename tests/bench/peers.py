#!/usr/bin/env python3
"""cnxc beside PyTorch (and OpenVINO where asked) in one run, on the same threads.

    python tests/bench/peers.py --cnxc build/cnxc [--model convnextv2_atto] [--batch 16]
                                [--threads 2] [--compile] [--openvino]

Needs torch and timm (PyPI) in the Python that runs it. First the outputs of both sides are compared
on the same weights and images; only then are they timed, in turns, so that a busy machine hurts both.
Prints images/s, the ratio, the share of the FMA peak measured in the same run, and peak memory.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time


def torch_model(name, compiled):
    import timm
    import torch
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False)
    generator = torch.Generator().manual_seed(1)
    for key, tensor in model.named_parameters():
        if ".grn." in key:
            tensor.data.normal_(0, 0.5, generator=generator)
    model = model.to(memory_format=torch.channels_last)
    return (model, torch.compile(model) if compiled else model)


def median_time(step, seconds):
    step()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 3:
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    return sorted(times)[len(times) // 2]


def run_torch(args):
    """Child process: times PyTorch and prints one JSON line (its own peak memory is then its own)."""
    import torch
    import torch.nn.functional as functional
    torch.set_num_threads(args.threads)
    base, model = torch_model(args.model, args.compile)
    image = torch.randn(args.batch, 3, args.size, args.size)
    image = image.to(memory_format=torch.channels_last)
    label = torch.randint(0, 1000, (args.batch,))
    if args.child == "infer":
        base.eval()

        def step():
            with torch.inference_mode():
                model(image)
    else:
        base.train()
        optimizer = torch.optim.AdamW(base.parameters(), lr=1e-4)

        def step():
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(image), label).backward()
            optimizer.step()
    seconds = median_time(step, args.seconds)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"images_per_s": args.batch / seconds, "ms": seconds * 1e3,
                      "rss_bytes": rss, "version": torch.__version__}))


def run_openvino(args):
    import openvino
    import torch
    base, _ = torch_model(args.model, False)
    base.eval()
    image = torch.randn(args.batch, 3, args.size, args.size)
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": args.threads,
                              "INFERENCE_PRECISION_HINT": "f32"})
    net = core.compile_model(openvino.convert_model(base, example_input=image), "CPU")
    data = image.numpy()
    seconds = median_time(lambda: net(data), args.seconds)
    print(json.dumps({"images_per_s": args.batch / seconds, "ms": seconds * 1e3,
                      "version": openvino.__version__}))


def child(args, kind):
    command = [sys.executable, __file__, "--child", kind, "--model", args.model, "--batch",
               str(args.batch), "--threads", str(args.threads), "--size", str(args.size),
               "--seconds", str(args.seconds)] + (["--compile"] if args.compile else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True,
                                     text=True).stdout.splitlines()[-1])


def run_cnxc(args, train):
    command = [args.cnxc, "bench", f"models/{args.model}.cnx", "--batch", str(args.batch),
               "--threads", str(args.threads), "-D", f"image_size={args.size}", "--json"]
    return json.loads(subprocess.run(command + (["--train"] if train else []), check=True,
                                     capture_output=True, text=True).stdout)


def compare_outputs(args):
    """Same weights, same images: maximum logit error relative to the largest logit."""
    import torch
    from safetensors.torch import load_file, save_file
    base, _ = torch_model(args.model, False)
    base.eval()
    image = torch.randn(2, 3, args.size, args.size)
    with tempfile.TemporaryDirectory() as folder:
        weights, inputs, outputs = (os.path.join(folder, n) for n in ("w.st", "i.st", "o.st"))
        save_file({k: v.contiguous() for k, v in base.state_dict().items()}, weights)
        save_file({"image": image}, inputs)
        subprocess.run([args.cnxc, "run", f"models/{args.model}.cnx", "-D",
                        f"image_size={args.size}", "--weights", weights, "--inputs", inputs,
                        "--outputs", outputs], check=True)
        mine = load_file(outputs)["logits"]
    with torch.inference_mode():
        theirs = base(image)
    return float((mine - theirs).abs().max() / theirs.abs().max())


def report(title, peers, mine):
    print(f"{title}:")
    for name, value in peers.items():
        print(f"  {name:28s} {value['images_per_s']:8.1f} img/s {value['ms']:9.1f} ms")
    print(f"  {'cnxc':28s} {mine['images_per_s']:8.1f} img/s {mine['ms']:9.1f} ms "
          f"{mine['gflops']:7.1f} GFLOP/s")
    for name, value in peers.items():
        ratio = mine["images_per_s"] / value["images_per_s"]
        memory = ""
        if "rss_bytes" in value:
            memory = f", memory {mine['rss_bytes'] / value['rss_bytes']:.2f} of its"
        print(f"  cnxc is {ratio:.2f} x {name}{memory}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cnxc", default="build/cnxc")
    parser.add_argument("--model", default="convnextv2_atto")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile instead of eager")
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child == "openvino":
        return run_openvino(args)
    if args.child:
        return run_torch(args)
    error = compare_outputs(args)
    print(f"{args.model}, {args.size} px, batch {args.batch}, {args.threads} threads, f32; "
          f"logits differ by {error:.1e} of the largest")
    if error > 1e-4:
        sys.exit("results differ: not timed")
    mode = "compiled" if args.compile else "eager"
    for kind in ("infer", "train"):
        theirs = child(args, kind)
        peers = {f"PyTorch {theirs['version']} {mode}": theirs}
        if args.openvino and kind == "infer":
            other = child(args, "openvino")
            peers[f"OpenVINO {other['version'].split('-')[0]}"] = other
        report(kind, peers, run_cnxc(args, kind == "train"))


if __name__ == "__main__":
    main()
