"""A zoo network trained by vecgrad and by its twin in PyTorch: the same first weights, the same batches.

Compared are the gradients of a step and the losses of a short training, each with PyTorch's in float64. Gradients
are the velocities that a first step leaves, so they come from the training step's own plan.

A ReLU or a maximum that is decided by less than rounding makes the gradient jump, on either side and by chance, by a thousand
times what rounding does. So gradients are compared on batches without such a decision, and so are the curves of networks that have
few enough of them: ``margin`` measures how close the closest one is, and ``CASES`` holds the seeds of batches whose margin is wide
in PyTorch. PyTorch's kernels, and so its rounding, are the processor's: each of these batches was found on one of several, and
those are taken that are fit on the one at hand. Nothing of vecgrad's has a say in them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tests.exchange.twins import twin
from torch.overrides import TorchFunctionMode

import vecgrad as vg
from vecgrad.exchange import to_pytorch

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]
STEPS, MOMENTUM = 20, 0.9
NCHW, LAST = torch.contiguous_format, torch.channels_last


@dataclass(frozen=True)
class Case:
    """rate: of learning. images: of a batch. seeds: of the batches on which gradients are compared in float32; few: their images,
    where fewer are needed for the margin. curve: seeds of a curve's batches, of wide margin too, of which all that are fit are
    taken together, as PyTorch's largest distance differs threefold from one seed to another; none where a network decides so
    much that no batches come near, so that each curve is a draw. Of so many ``draws`` each side's
    closest one is compared, where the fewest decisions were rounding's.

    The rates are small because twenty steps of so few images are chaotic: at 0.01 PyTorch's own curves in float32 part
    by 0.1 and more within ten steps, and nothing could be seen beside that.
    """

    rate: float
    images: int
    seeds: tuple[int, ...]
    few: int = 0
    curve: tuple[int, ...] = ()
    draws: int = 6


CASES: dict[str, Case] = {
    "lenet5": Case(0.01, 8, (0, 1, 2, 3), curve=(0,)),
    "mnist_cnn": Case(0.001, 4, (0, 1, 2, 6), curve=(227,)),
    "vgg_small": Case(0.002, 4, (0, 1, 2, 3), curve=(48, 140, 200)),
    "vgg11": Case(0.001, 2, (2, 3)),
    "vgg16": Case(0.0001, 8, (23, 45), few=2, draws=2),
    "resnet20": Case(0.0003, 4, (1, 2, 3, 4)),
    "resnet32": Case(0.0003, 4, (2, 4, 6, 7)),
    "resnet56": Case(0.0001, 8, (3, 12, 15, 16), draws=1),
    "resnet18": Case(0.0001, 2, (3, 5)),
    "resnet34": Case(0.001, 2, (22, 37)),
    # It has so many ReLUs that no batch in sixty comes near the margin.
    "resnet50": Case(0.0001, 8, ()),
    "mobilenet": Case(0.0001, 4, (4, 5, 12), few=2, draws=1),
    "airbench94": Case(0.001, 2, (76, 80, 83), draws=2),
}
# No decision may be closer than this many times PyTorch's rms error: three times as far is where vecgrad's may lie, and
# twice its rms is where few of its errors reach.
MARGIN = 6.0


@functools.cache
def _pair(name: str) -> tuple[Any, tuple[int, int, int], Any, Arrays]:
    """vecgrad's network, the images' shape, PyTorch's module, and the weights of both, in float32."""
    model, shape, module = twin(name)
    here = vg.compile(model, shape, backend="reference").parameters
    here = {key: array.astype(np.float32) for key, array in here.items()}
    there = {key: torch.from_numpy(array) for key, array in to_pytorch(model, shape, here).items()}
    left = module.load_state_dict(there, strict=False)
    assert not left.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in left.missing_keys)
    for key, parameter in module.named_parameters():
        parameter.requires_grad_(key != "whiten.weight")
    return model, shape, module, here


def batch(name: str, seed: int) -> tuple[Array, Array]:
    """Images of mean 0 and variance 1, and classes."""
    rng = np.random.default_rng(seed)
    images, shape = CASES[name].few or CASES[name].images, _pair(name)[1]
    return rng.standard_normal((images, *shape), np.float32), rng.integers(0, 10, images)


def batches(name: str, seed: int) -> Iterator[tuple[Array, Array]]:
    """Of a curve: ten patterns under noise."""
    rng = np.random.default_rng(seed)
    images, shape = CASES[name].images, _pair(name)[1]
    patterns = rng.standard_normal((10, *shape))
    for _ in range(STEPS):
        y = rng.integers(0, 10, images)
        noise = rng.standard_normal((images, *shape))
        yield (0.8 * patterns[y] + 0.6 * noise).astype(np.float32), y


class Own:
    """vecgrad's side."""

    def __init__(self, name: str, dtype: str = "float32", algorithm: Any = "auto") -> None:
        self.name = name
        model, shape, _, self.weights = _pair(name)
        rule = vg.SGD(CASES[name].rate, momentum=MOMENTUM)
        self.program = vg.compile(
            model, shape, "cross_entropy", rule, CASES[name].images, dtype=dtype, algorithm=algorithm, threads=1,
            parameters=self.weights,
        )  # fmt: skip
        self.start = self.program.state

    def _step(self, x: Array, y: Array) -> float:
        return self.program.step(x.astype(self.program.dtype), y)

    def _again(self) -> None:
        self.program.load_parameters(self.weights)
        self.program.load_state(self.start, 0)

    def gradients(self, seed: int) -> Arrays:
        """By PyTorch's names, in its layouts."""
        self._again()
        self._step(*batch(self.name, seed))
        velocity = self.program.state["velocity"]
        model, shape, module, _ = _pair(self.name)
        found = to_pytorch(model, shape, self.weights | velocity)
        return {key: found[key] for key, p in module.named_parameters() if p.requires_grad}

    def curve(self, seed: int) -> Array:
        self._again()
        return np.array([self._step(x, y) for x, y in batches(self.name, seed)])

    def winograd(self) -> bool:
        """Whether any convolution is computed by Winograd's algorithm."""
        return any("winograd" in row.call.kernel for row in self.program.explain().rows)


class Peer:
    """PyTorch's side, on one thread. turned: each batch is given last image first, which changes nothing but orders of sums."""

    def __init__(
        self, name: str, dtype: Any = torch.float32, layout: Any = NCHW, turned: bool = False
    ) -> None:
        self.name, self.dtype, self.layout, self.turned = name, dtype, layout, turned
        self.first = _pair(name)[2].state_dict()
        self.module = twin(name)[2].to(dtype).to(memory_format=layout)
        for key, parameter in self.module.named_parameters():
            parameter.requires_grad_(key != "whiten.weight")

    def _loss(self, x: Array, y: Array) -> Any:
        images = torch.tensor(x.transpose(0, 3, 1, 2), dtype=self.dtype).contiguous(memory_format=self.layout)
        return torch.nn.functional.cross_entropy(self.module(images), torch.tensor(y))

    def gradients(self, seed: int) -> tuple[Arrays, list[tuple[Any, ...]]]:
        """And what was decided: see ``Decisions``."""
        self.module.load_state_dict(self.first)
        self.module.zero_grad()
        with Decisions() as decisions:
            loss = self._loss(*batch(self.name, seed))
        loss.backward()
        found = {key: p.grad for key, p in self.module.named_parameters() if p.grad is not None}
        return {key: gradient.double().numpy() for key, gradient in found.items()}, decisions.values

    def curve(self, seed: int) -> Array:
        return np.array([loss for loss, _ in self.steps(seed)])

    def steps(self, seed: int, noted: bool = False) -> Iterator[tuple[float, list[Array]]]:
        """The losses of a training; with what was decided where it is to be noted."""
        self.module.load_state_dict(self.first)
        weights = [p for p in self.module.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(weights, lr=CASES[self.name].rate, momentum=MOMENTUM)
        for x, y in batches(self.name, seed):
            optimizer.zero_grad()
            with Decisions() if noted else nullcontext() as decisions:
                loss = self._loss(*((x[::-1].copy(), y[::-1].copy()) if self.turned else (x, y)))
            loss.backward()
            optimizer.step()
            yield loss.item(), decisions.values if decisions else []


class Decisions(TorchFunctionMode):
    """Notes what ReLUs and max poolings decide by, in order: a map, or each window's largest entry less the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Array] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if name == "relu":
            self.values.append(args[0].detach().double().numpy())
        elif name == "max_pool2d":
            size, padding, stride = args[1], kwargs["padding"], kwargs["stride"]
            self.values.append(_gaps(args[0].detach().double(), size, padding, stride))
        return function(*args, **(kwargs or {}))


def _gaps(x: Any, size: int, padding: int, stride: int) -> Array:
    """A padding of zeros is as good as none behind a ReLU, and no other pooling of the zoo has any."""
    n, c, h, w = x.shape
    windows = torch.nn.functional.unfold(x.reshape(n * c, 1, h, w), size, 1, padding, stride)
    two = windows.topk(2, 1).values
    return (two[:, 0] - two[:, 1]).numpy()


def margin(true: list[Array], found: list[Array]) -> float:
    """The closest decision in float64, in units of the rms error there of ``found``, PyTorch's in float32."""
    closest = []
    for exact, other in zip(true, found, strict=True):
        error = np.sqrt(((exact - other) ** 2).mean())
        closest.append(np.abs(exact[exact != 0]).min(initial=np.inf) / error)
    return float(min(closest))


@functools.lru_cache(1)
def owns(name: str) -> dict[str, Own]:
    """vecgrad in float32: "direct", and "winograd" where any convolution is computed so."""
    found = {"direct": Own(name, algorithm="direct")}
    return found | {"winograd": auto} if (auto := Own(name)).winograd() else found


Errors = dict[str, float]


def gradient_errors(name: str) -> tuple[dict[str, Errors], Errors]:
    """({side: {parameter: distance from float64}}, {parameter: size}), root mean squares over the case's batches.

    Sides: PyTorch's layouts, "direct", and "winograd" where any convolution is computed so. Left out are batches with a decision
    that rounding may change on this processor; raises ValueError where that is each of them.
    """
    exact, nchw, last = Peer(name, torch.float64), Peer(name), Peer(name, layout=LAST)
    own = owns(name)
    squares: dict[str, list[Errors]] = {}
    sizes: list[Errors] = []
    for seed in CASES[name].seeds:
        true, decided = exact.gradients(seed)
        first, decisions = nchw.gradients(seed)
        if margin(decided, decisions) < MARGIN:
            continue
        sides = {"PyTorch NCHW": first, "PyTorch channels last": last.gradients(seed)[0]}
        for side, gradients in (sides | {key: each.gradients(seed) for key, each in own.items()}).items():
            squares.setdefault(side, []).append({key: _square(gradients[key] - true[key]) for key in true})
        sizes.append({key: _square(array) for key, array in true.items()})
    if not sizes:
        raise ValueError(
            f"{name}: no batch of seeds {CASES[name].seeds} has a margin of {MARGIN} on this processor"
        )
    return {side: _rms(found) for side, found in squares.items()}, _rms(sizes)


def _square(array: Array) -> float:
    return float(np.vdot(array, array))


def _rms(rows: list[Errors]) -> Errors:
    return {key: float(np.sqrt(np.mean([row[key] for row in rows]))) for key in rows[0]}


@functools.cache
def fit(name: str) -> tuple[int, ...]:
    """The seeds of curves of wide margin on this processor."""
    return tuple(seed for seed in CASES[name].curve if curve_margin(name, seed) >= MARGIN)


def curves(name: str) -> tuple[int, ...]:
    """The seeds of the curves that are compared: those that are fit, else all draws."""
    return fit(name) or tuple(range(CASES[name].draws))


@functools.cache
def exact_curves(name: str) -> tuple[Array, Array]:
    """PyTorch's losses in float64, and vecgrad's: of the first curve."""
    seed = curves(name)[0]
    return Peer(name, torch.float64).curve(seed), Own(name, "float64").curve(seed)


def curve_margin(name: str, seed: int) -> float:
    """The closest decision of a training, as ``margin`` measures it in each step."""
    exact, rounded = Peer(name, torch.float64).steps(seed, noted=True), Peer(name).steps(seed, noted=True)
    return min(margin(true, found) for (_, true), (_, found) in zip(exact, rounded, strict=True))


def distances(name: str) -> dict[str, float]:
    """Of each side's curves in float32 from PyTorch's in float64, rms over the steps: of fit curves over all of them, of draws the
    smallest.

    The order of a batch's images is another side of PyTorch's where curves are fit, or there is but one.
    """
    seeds = curves(name)
    together = _root_mean_square if fit(name) else min
    sides: dict[str, Own | Peer] = {
        f"PyTorch {text}{', turned' * turned}": Peer(name, layout=layout, turned=turned)
        for layout, text in ((NCHW, "NCHW"), (LAST, "channels last"))
        for turned in ((False, True) if fit(name) or len(seeds) == 1 else (False,))
    }
    sides |= owns(name)
    exact = Peer(name, torch.float64)
    true = {seed: exact.curve(seed) for seed in seeds}
    return {
        key: together([_distance(side.curve(seed), true[seed]) for seed in seeds])
        for key, side in sides.items()
    }


def _distance(curve: Array, true: Array) -> float:
    return _root_mean_square(curve - true)


def _root_mean_square(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def spread(of: Mapping[str, float]) -> float:
    """The largest of PyTorch's distances: its layouts and the order of images in a batch are no part of what is computed."""
    return max(distance for side, distance in of.items() if side.startswith("PyTorch"))
