"""Writes data/NAME.safetensors for the small-width member of the family and of every ablation:
logits and loss (batch statistics where there are any), every gradient, ten AdamW steps with the
loss before each and the final weights. Inputs and weights come from the generator and are not
stored.

    python make_small.py [--full DIR] [NAME...]

Committed files hold final minus first weights as update.NAME; for all but v2 and v1 as sketches
(generator.sketch). --full writes everything, inputs and first weights too, into DIR.
"""
import argparse
import os

import numpy as np
import timm
import torch
import torch.nn.functional as F

import generator
import models
import steps

BATCH = 3


def config_of(name):
    return models.Config(**models.SMALL, **({} if name == "v2" else models.ABLATIONS[name]))


def inputs(c, batch, dtype):
    shape = (batch, c.in_channels, c.image_size, c.image_size)
    image = torch.from_numpy(generator.tensor("image", shape)).to(dtype)
    return image, torch.from_numpy(generator.labels(batch, c.classes))


def run(c, batch, dtype, factors=(), gradients_only=False):
    """Everything that is compared, in one precision."""
    image, label = inputs(c, batch, dtype)
    p = models.parameters(models.classifier_shapes(c), dtype, factors)
    state = models.running_statistics(c, dtype)
    first = {n: v.clone() for n, v in state.items()}
    out = {}
    if state:
        out["eval.logits"] = models.classifier(c, image, p, state).detach().double().numpy()
    logits = models.classifier(c, image, p, state, training=True)
    loss = F.cross_entropy(logits, label)
    loss.backward()
    out |= {"logits": logits.detach().double().numpy(), "loss": loss.detach().double().numpy()}
    out |= steps.to_numpy({n: v.grad for n, v in p.items()}, "grad.")
    if gradients_only:
        return out
    state = first
    loss_of = lambda q: F.cross_entropy(models.classifier(c, image, q, state, True), label)
    out["losses"] = np.array(steps.train(p, loss_of))
    out |= steps.to_numpy(p, "final.") | steps.to_numpy(state, "final.")
    return out


def first_weights(c, factors):
    shapes = models.classifier_shapes(c)
    out = {n: generator.tensor(n, s, factors) for n, s in shapes.items()}
    return out | {n: v.numpy() for n, v in models.running_statistics(c, torch.float32).items()}


def contrast(name, result):
    """How far the gradients are from those of every other member on the same weights: a program of
    the wrong member must not pass for the right one."""
    least = (float("inf"), "")
    for other in ["v2", *models.ABLATIONS]:
        c = config_of(other)
        if other == name:
            continue
        wrong = run(c, BATCH, torch.float32, models.FACTORS.get(name, ()), gradients_only=True)
        if not {n for n in wrong if n.startswith("grad.")} <= set(result):
            continue
        most = max(steps.relative(v, result[n]) for n, v in wrong.items() if n.startswith("grad."))
        least = min(least, (most, other))
    return least


def check_against_timm(c, name, result):
    """The member with GRN or LayerScale alone is timm's own model."""
    options = dict(dims=c.dims, depths=c.depths, conv_mlp=c.conv, num_classes=c.classes)
    if name == "v2":
        options |= dict(use_grn=True, ls_init_value=None)
    net = timm.models.convnext.ConvNeXt(**options)
    weights = {n: torch.from_numpy(generator.tensor(n, s.shape))
               for n, s in net.state_dict().items()}
    net.load_state_dict(weights)
    image, label = inputs(c, BATCH, torch.float32)
    logits = net(image)
    F.cross_entropy(logits, label).backward()
    error = np.max(np.abs(logits.detach().numpy() - result["logits"]))
    assert error < 1e-5 * np.max(np.abs(result["logits"])), (name, error)
    gradients = {n: v.grad.numpy() for n, v in net.named_parameters()}
    assert set(gradients) == {n[5:] for n in result if n.startswith("grad.")}
    for n, g in gradients.items():
        assert steps.relative(g, result["grad." + n]) < 1e-4, (name, n)
    print(name, "equals timm")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    steps.quiet()
    for name in args.names or ["v2", *models.ABLATIONS]:
        c = config_of(name)
        factors = models.FACTORS.get(name, ())
        single = run(c, BATCH, torch.float32, factors)
        double = run(c, BATCH, torch.float64, factors)
        first = first_weights(c, factors)
        worst = steps.noise(single, double, first)
        worst["contrast"] = contrast(name, single)
        steps.report(name, worst)
        if name in ("v2", "v1"):
            check_against_timm(c, name, single)
        metadata = {"noise": worst, "config": c}
        if args.full:
            image, label = inputs(c, BATCH, torch.float32)
            everything = single | {"image": image.numpy(), "label": label.numpy()} | first
            steps.write(os.path.join(args.full, name + ".safetensors"), everything, metadata)
            continue
        single = steps.updates(single, first)
        if name not in ("v2", "v1"):
            single = steps.sketched(single, "update.")
        steps.write(os.path.join(steps.HERE, "data", name + ".safetensors"), single, metadata)


if __name__ == "__main__":
    main()
