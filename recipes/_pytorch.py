"""The CIFAR-10 recipes in PyTorch, for `--peer`: the same networks, first weights, batches, rates and update rules.

Written as PyTorch is meant to be fast on a CPU: channels-last memory, a fused optimizer, batches made in a thread beside the
training. Networks carry the names that vecgrad.exchange gives parameters in PyTorch.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import vecgrad as vg
from vecgrad.data.augment import Pipeline, views


def resnet20() -> Any:
    parts: dict[str, Any] = {"conv1": _conv(3, 16, 1), "bn1": nn.BatchNorm2d(16), "relu": nn.ReLU()}
    before = 16
    for number, filters in enumerate((16, 32, 64), 1):
        blocks = []
        for block in range(3):
            blocks.append(_Block(before, filters, 2 if number > 1 and not block else 1))
            before = filters
        parts[f"layer{number}"] = nn.Sequential(*blocks)
    parts |= {"avgpool": nn.AvgPool2d(8), "flat": nn.Flatten(), "fc": nn.Linear(64, 10)}
    return _named(**parts)


class _Block(nn.Module):  # type: ignore[misc]
    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(before, filters, stride), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = _conv(filters, filters, 1), nn.BatchNorm2d(filters)
        self.downsample: Any = None
        if stride != 1 or before != filters:
            conv = nn.Conv2d(before, filters, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(filters))

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


def airbench94() -> Any:
    parts: dict[str, Any] = {"whiten": nn.Conv2d(3, 24, 2), "activ": nn.GELU()}
    # Its bias learns, as that of a frozen convolution does in vecgrad.
    parts["whiten"].weight.requires_grad_(False)
    before = 24
    for number, filters in enumerate((64, 256, 256), 1):
        parts[f"group{number}"] = _named(
            conv1=_conv(before, filters, 1), pool=nn.MaxPool2d(2), norm1=_norm(filters), activ1=nn.GELU(),
            conv2=_conv(filters, filters, 1), norm2=_norm(filters), activ2=nn.GELU(),
        )  # fmt: skip
        before = filters
    parts |= {"pool": nn.MaxPool2d(3), "flat": nn.Flatten(), "head": nn.Linear(256, 10, bias=False)}
    return _named(**parts, scale=_Ninth())


class _Ninth(nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return x / 9


def _norm(filters: int) -> Any:
    """Batch normalization with a bias and no scale."""
    made = nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4)
    del made.weight
    made.register_parameter("weight", None)
    return made


def _conv(before: int, filters: int, stride: int) -> Any:
    return nn.Conv2d(before, filters, 3, stride, 1, bias=False)


def _named(**parts: Any) -> Any:
    return nn.Sequential(OrderedDict(parts))


def _follow(slow: list[Any], fast: list[Any], share: float) -> None:
    """s ← s + share (w − s), w ← s."""
    with torch.no_grad():
        for s, w in zip(slow, fast, strict=True):
            s.lerp_(w, share)
            w.copy_(s)


def train(
    model: Any,
    program: vg.Program,
    x: Any,
    y: Any,
    *,
    epochs: int,
    batch: int,
    seed: int,
    rule: vg.SGD,
    schedule: Any,
    augment: tuple[Any, ...],
    smoothing: float = 0.0,
) -> float:
    """Trains ``model`` from the parameters of ``program``, as ``vg.fit`` would train the program; seconds."""
    torch.set_num_threads(vg.get_num_threads())
    first = vg.exchange.to_pytorch(program.model, program.input_shape, program.parameters)
    # PyTorch counts batches too, and wants the scales that airbench94 does without.
    told = model.load_state_dict({name: torch.from_numpy(a) for name, a in first.items()}, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in told.missing_keys), told
    assert not told.unexpected_keys, told
    model.to(memory_format=torch.channels_last).train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = []
    for name, p in trained.items():
        rate, decay = rule.factors(name, tuple(p.shape))
        groups.append(
            {"params": [p], "weight_decay": decay * rule.weight_decay, "first": rate * rule.learning_rate}
        )
    optimizer = torch.optim.SGD(groups, rule.learning_rate, rule.momentum, nesterov=rule.nesterov, fused=True)
    slow = [p.detach().clone() for p in trained.values()] if rule.lookahead else []
    pipeline = Pipeline.of(augment, x, y, classes=10)
    steps, done = epochs * -(-len(x) // batch), 0
    begin = time.perf_counter()
    for epoch in range(epochs):
        total = 0.0

        def made(indices: Any, epoch: int = epoch) -> tuple[Any, Any]:
            images, labels = pipeline.batch(indices, seed=seed, epoch=epoch)[:2]
            return np.ascontiguousarray(images), np.asarray(labels)

        with vg.data.Ahead(made, vg.data.batches(len(x), batch, seed, epoch)) as ahead:
            for images, labels in ahead:
                for group in optimizer.param_groups:
                    group["lr"] = group["first"] * schedule.factor(done / steps)
                out = model(torch.from_numpy(images).permute(0, 3, 1, 2))
                loss = functional.cross_entropy(out, torch.from_numpy(labels), label_smoothing=smoothing)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                done += 1
                if slow and done % rule.lookahead == 0:
                    _follow(slow, list(trained.values()), rule.lookahead_rate)
                total += loss.item() * len(labels)
        print(
            f"epoch {epoch + 1}  loss {total / len(x):.4f}  {time.perf_counter() - begin:.0f} s", flush=True
        )
    return time.perf_counter() - begin


def accuracy(model: Any, x: Any, y: Any, tta: str | None = None) -> float:
    """Over the test images, as ``Program.evaluate`` counts it."""
    model.eval()
    right = 0
    with torch.no_grad():
        for at in range(0, len(x), 500):
            part = x[at : at + 500]
            seen = views(part, tta) if tta else [(part, 1.0)]
            out = sum(
                weight * model(torch.from_numpy(np.ascontiguousarray(v)).permute(0, 3, 1, 2))
                for v, weight in seen
            )
            right += int((out.argmax(1).numpy() == y[at : at + 500]).sum())  # type: ignore[union-attr]
    return right / len(x)
