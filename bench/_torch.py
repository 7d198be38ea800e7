"""PyTorch's side: the twin of a network with the same first weights, its training step in every mode, single convolutions.

The optimizer is the fused one: the fastest that PyTorch has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench._networks import MOMENTUM, RATE, Network
from vecgrad.exchange import to_pytorch
from vecgrad.layers import (
    GELU,
    AvgPool2D,
    BatchNorm,
    Composite,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Rescale,
    Residual,
    Sequential,
)
from vecgrad.spec.geometry import Conv

EAGER = ("eager NCHW", "eager channels_last")
COMPILED = ("compile NCHW", "compile channels_last")
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


class _Residual(torch.nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: torch.nn.Module, shortcut: torch.nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Any) -> Any:
        return self.body(x) + self.shortcut(x)


class _Scale(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Any) -> Any:
        return x * self.factor


def twin(network: Network) -> torch.nn.Module:
    """The network as torch modules, with the same first weights."""
    here = network.parameters()
    # The same order on both sides.
    there = dict(zip(here, to_pytorch(network.model, network.shape, here).values(), strict=True))
    return _module(network.model, tuple(network.shape), "", there)


def _module(layer: Layer, shape: tuple[int, ...], path: str, weights: dict[str, Any]) -> torch.nn.Module:
    if isinstance(layer, Composite):
        inner = {
            step.key: _module(step.layer, step.before[0], f"{path}{step.key}.", weights)
            for step in layer.steps(shape)
            if step.key != "add" or not isinstance(layer, Residual)
        }
        if isinstance(layer, Residual):
            return _Residual(inner["body"], inner.get("shortcut", torch.nn.Identity()))
        if not isinstance(layer, Sequential):
            raise NotImplementedError(f"no torch module for {layer}")
        return torch.nn.Sequential(*inner.values())
    made = _leaf(layer, shape)
    own = {name: torch.from_numpy(weights[path + name]) for name in layer.parameters(shape)}
    if own:
        left = made.load_state_dict(own, strict=False)
        assert not left.unexpected_keys, left
        assert {key.rpartition("_")[2] for key in left.missing_keys} <= {"tracked"}, left
    return made


def _leaf(layer: Layer, shape: tuple[int, ...]) -> torch.nn.Module:
    match layer:
        case Conv2D(filters=k, kernel_size=size, stride=stride, padding=padding):
            pad: Any = 0 if padding == "valid" else padding
            made = torch.nn.Conv2d(shape[2], k, size, stride, pad, groups=layer.groups, bias=layer.bias)  # type: ignore[arg-type]
            made.weight.requires_grad_(not layer.frozen)
            return made
        case BatchNorm():
            norm = torch.nn.BatchNorm2d(shape[-1], layer.epsilon, layer.momentum)
            for name, kept in (("weight", layer.scale), ("bias", layer.shift)):
                if not kept:
                    norm.register_parameter(name, None)
            return norm
        case ReLU():
            return torch.nn.ReLU()
        case GELU():
            return torch.nn.GELU(layer.approximate)
        case MaxPool2D():
            stride = layer.pool_size if layer.stride is None else layer.stride
            pad = 0 if layer.padding == "valid" else layer.padding
            return torch.nn.MaxPool2d(layer.pool_size, stride, pad)  # type: ignore[arg-type]
        case AvgPool2D(pool_size=size):
            return torch.nn.AvgPool2d(size)  # type: ignore[arg-type]
        case Flatten():
            return torch.nn.Flatten()
        case Dense(units=units):
            return torch.nn.Linear(int(np.prod(shape)), units, bias=layer.bias)
        case Rescale():
            return _Scale(layer.scale)
    raise NotImplementedError(f"no torch module for {layer}")


def step(network: Network, mode: str, batch: int | None = None) -> Callable[[], float]:
    """A training step in the mode ("eager NCHW" …): call it for one step, it returns the loss before it."""
    kind, _, layout = mode.partition(" ")
    model: Any = twin(network).to(memory_format=FORMATS[layout])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    if kind == "compile":
        model = torch.compile(model)
    x, y = network.data(batch)
    images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    images = images.contiguous(memory_format=FORMATS[layout])
    labels = torch.from_numpy(y)

    def one() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return one


def steps(network: Network, threads: int, isa: str | None, compiled: bool = True) -> Any:
    """({mode: (step, its first loss)}, {mode: why it cannot run})."""
    torch.set_num_threads(threads)
    if isa == "avx2":
        from torch._inductor import config

        config.cpp.simdlen = 256
    found: dict[str, tuple[Callable[[], float], float]] = {}
    failed: dict[str, str] = {}
    for mode in (*EAGER, *(COMPILED if compiled else ())):
        if mode not in EAGER:
            torch._dynamo.reset()
        try:
            side = step(network, mode)
            found[mode] = (side, side())
        except Exception as error:  # whatever a compiler that is missing or broken raises
            failed[mode] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    return found, failed


def directions(conv: Conv, x: Any, w: Any, dy: Any, threads: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """{direction: {mode: call}} of one convolution in PyTorch's eager modes, on arrays in vecgrad's layout.

    A call returns a tensor; the arrays are brought into the mode's layout here, before any clock.
    """
    torch.set_num_threads(threads)
    rows, cols = conv.window.rows, conv.window.cols
    if (rows.before, cols.before) != (rows.after, cols.after):
        raise ValueError("torch's convolution pads both sides alike")
    stride, padding = list(conv.window.stride), [rows.before, cols.before]
    dilation = list(conv.window.dilation)
    found: dict[str, dict[str, Callable[[], Any]]] = {"forward": {}, "dx": {}, "dw": {}}
    for mode in EAGER:
        layout = FORMATS[mode.partition(" ")[2]]
        xt, dyt = (
            torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2))).contiguous(memory_format=layout)
            for a in (x, dy)
        )
        wt = torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1))).contiguous(memory_format=layout)
        trained = wt.clone(memory_format=torch.preserve_format).requires_grad_()

        def forward(xt: Any = xt, trained: Any = trained) -> Any:
            return torch.nn.functional.conv2d(xt, trained, None, stride, padding, dilation, conv.groups)

        def backward(mask: list[bool], xt: Any = xt, wt: Any = wt, dyt: Any = dyt) -> Any:
            got = torch.ops.aten.convolution_backward(
                dyt, xt, wt, None, stride, padding, dilation, False, [0, 0], conv.groups, mask
            )
            return got[mask.index(True)]

        found["forward"][mode] = forward
        found["dx"][mode] = lambda backward=backward: backward([True, False, False])
        found["dw"][mode] = lambda backward=backward: backward([False, True, False])
    return found
