"""Layers beside PyTorch's of the same name: outputs and all gradients in float64, compiled and through the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.program import host

import vecgrad as vg
from vecgrad.layers import (
    ELU,
    GELU,
    Conv2D,
    ConvTranspose2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    SiLU,
    UpSample2D,
    ZeroPad2D,
)

torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
f = torch.nn.functional
Twin = Callable[[Any, Any, Any], Any]


def channels_last(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: change(x.movedim(-1, 1)).movedim(1, -1)


def transposed(layer: ConvTranspose2D) -> Twin:
    """w (R, S, K / groups, C) is PyTorch's (C, K / groups, R, S)."""
    options = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    padding = 0 if layer.padding == "valid" else layer.padding
    return lambda x, w, b: f.conv_transpose2d(
        x.movedim(-1, 1), w.permute(3, 2, 0, 1), b, options[0], padding, *options[2:]
    ).movedim(1, -1)


UP = [
    ConvTranspose2D(5, 3),
    ConvTranspose2D(6, (3, 2), (2, 3), (1, 0), (1, 2), groups=2),
    ConvTranspose2D(4, 2, 2, bias=False),
    ConvTranspose2D(4, 3, 1, 2, dilation=2, groups=4),
    ConvTranspose2D(17, 4, 2, 1),
]
CASES: list[tuple[Layer, Twin]] = [
    (LeakyReLU(0.2), lambda x, w, b: f.leaky_relu(x, 0.2)),
    (ELU(0.7), lambda x, w, b: f.elu(x, 0.7)),
    (SiLU(), lambda x, w, b: f.silu(x)),
    (GELU(), lambda x, w, b: f.gelu(x)),
    (GELU("tanh"), lambda x, w, b: f.gelu(x, approximate="tanh")),
    (GlobalAvgPool2D(), lambda x, w, b: x.mean((1, 2))),
    (GlobalMaxPool2D(), lambda x, w, b: x.amax((1, 2))),
    (UpSample2D((2, 3)), lambda x, w, b: channels_last(lambda x: f.interpolate(x, scale_factor=(2, 3)))(x)),
    (ZeroPad2D(((1, 0), (2, 3))), lambda x, w, b: f.pad(x, (0, 0, 2, 3, 1, 0))),
    (LayerNorm(), lambda x, w, b: f.layer_norm(x, x.shape[-1:], w, b)),
    (LayerNorm(1e-3, scale=False, shift=False), lambda x, w, b: f.layer_norm(x, x.shape[-1:], eps=1e-3)),
    (GroupNorm(2), lambda x, w, b: channels_last(lambda x: f.group_norm(x, 2, w, b))(x)),
    (GroupNorm(4, shift=False), lambda x, w, b: channels_last(lambda x: f.group_norm(x, 4, w))(x)),
    (
        Conv2D(8, 3, padding=1, groups=4),
        lambda x, w, b: channels_last(lambda x: f.conv2d(x, w.permute(3, 2, 0, 1), b, padding=1, groups=4))(
            x
        ),
    ),
    (
        Conv2D(6, 2, dilation=2),
        lambda x, w, b: channels_last(lambda x: f.conv2d(x, w.permute(3, 2, 0, 1), b, dilation=2))(x),
    ),
    *((layer, transposed(layer)) for layer in UP),
]


@pytest.mark.parametrize(("layer", "twin"), CASES, ids=[str(layer) for layer, _ in CASES])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_outputs_and_gradients(layer: Layer, twin: Twin, backend: str) -> None:
    shape, n = (4, 5, 4), 3
    program = vg.compile([layer], shape, "mse", batch_size=n, dtype="float64", backend=backend)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, *shape)) * 2
    t = rng.normal(size=(n, *program.output_shape))
    program.load_parameters({name: rng.normal(size=a.shape) for name, a in program.parameters.items()})
    peers = {name: torch.tensor(a, requires_grad=True) for name, a in program.parameters.items()}
    peer_x = torch.tensor(x, requires_grad=True)
    y = twin(peer_x, peers.get("0.weight"), peers.get("0.bias"))
    np.testing.assert_allclose(program.forward(x), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    f.mse_loss(y, torch.tensor(t)).backward()
    gradients = program.gradients(x, t, inputs=True)
    np.testing.assert_allclose(gradients.pop("x"), peer_x.grad.numpy(), rtol=1e-10, atol=1e-14)
    assert set(gradients) == set(peers)
    for name, found in gradients.items():
        np.testing.assert_allclose(found, peers[name].grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("layer", [GELU(), GELU("tanh"), ELU(), SiLU(), LayerNorm(), GroupNorm(3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_width_or_threads(layer: Layer, dtype: str) -> None:
    model = [Conv2D(18, 3), layer, Conv2D(5, 3)]
    x = np.random.default_rng(0).normal(size=(4, 9, 8, 2)).astype(dtype)
    found = []
    for machine in host.FUSED:
        program = vg.compile(model, (9, 8, 2), "mse", batch_size=4, dtype=dtype, machine=machine)
        t = np.zeros((4, *program.output_shape), dtype)
        for count in (1, 2, 3):
            with host.threads(count):
                found.append({"y": program.forward(x)} | program.gradients(x, t))
    for other in found[1:]:
        host.same_bits(other, found[0])


def test_gelu_in_float32_is_as_near_as_pytorchs() -> None:
    program = vg.compile([GELU()], (1000,), batch_size=1)
    x = np.linspace(-8, 8, 1000, dtype=np.float32)[None]
    exact = f.gelu(torch.tensor(x, dtype=torch.float64)).numpy()
    peer = np.abs(f.gelu(torch.tensor(x)).numpy() - exact).max()
    assert np.abs(program.forward(x) - exact).max() <= 1.5 * peer
