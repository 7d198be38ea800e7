"""Gather, sliding window, Winograd or depthwise: the algorithm of a convolution's directions, from shapes and the batch alone.

An algorithm is part of the bits, so neither the machine nor a timing has a say: equal programs choose alike
everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from vecgrad.kernels import _pooled as _pooling
from vecgrad.kernels import _slide_tile as sliding
from vecgrad.kernels import _winograd_cost as cost
from vecgrad.kernels import _within, choose, dense, depthwise, slide, winograd
from vecgrad.kernels._depthwise_tile import refusal as _not_depthwise
from vecgrad.kernels._dw_tile import dw_blocks
from vecgrad.kernels._gather_tile import gather_cycles
from vecgrad.kernels._winograd_tiles import Grid
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import (
    ConvDwSpec,
    ConvDxSpec,
    ConvSpec,
    DenseSpec,
    DepthwiseSpec,
    Epilogue,
    KernelSpec,
    PackSpec,
    SlideDxSpec,
    SlidePackSpec,
    SlideSpec,
    Unpooling,
    WinogradDwSpec,
    WinogradDxSpec,
    WinogradPackSpec,
    WinogradSpec,
    WinogradTile,
)
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout

Algorithm = Literal["auto", "direct"]
_Spec = TypeVar("_Spec", bound=KernelSpec)
_Dw = TypeVar("_Dw", ConvDwSpec, WinogradDwSpec)

# Weights in the domain that are larger than this should meet so many tiles at a time: where chunks of images have fewer,
# the layer becomes tasks of several chunks' images, and those are cut by channels until there are tasks enough.
_LARGE = 1024 * 1024
_TILES = 32
# Tiles that a group of images of a weight gradient should have: each pays for 36 sums of every pair of channels.
_GROUP_TILES = 128
# A task takes two blocks of output channels, so that x is transformed for both, while so many tasks are left. Where its tiles
# are one block it takes four, in turns: the sums of one and both sides in the domain fit the second-level cache.
_WINOGRAD_TASKS = 16
_TASKS = 8
# Not to store weights four times as large is worth so much.
_NO_PACK = 1.1
# Channels that fill vectors of the fixed processor: a sliding window can only fill what they leave.
_VECTOR = 16
# Pixels that a direct weight gradient's group should have: a sum's way to its slab and from there into the gradient costs as much
# as several dozen products.
_PIXELS = 1024
# And at most: a chain of additions gathers rounding errors with the square root of its length. Only weights so small get
# more groups for it that their slabs do not outgrow the activations.
_CHAIN = 1024
_SLAB_ENTRIES = 1024 * 1024
# Blocks of output channels that a task of a direct weight gradient takes, so that x is copied once for all of them, while so many
# tasks are left.
_TOGETHER = (4, 2, 1)
_DW_TASKS = 32
_PLAIN = Epilogue()


@dataclass(frozen=True)
class Gathered:
    """A forward convolution's or data gradient's kernel, the pack of its weights (None: it reads them as they are), the
    tasks it is cut into (0: chunks of images), and what was not chosen, with the reason. not_pooled: why the spec leaves the
    epilogue's pooling to a pass of its own."""

    spec: ConvSpec | ConvDxSpec | DenseSpec | DepthwiseSpec | SlideSpec | WinogradSpec
    pack: PackSpec | SlidePackSpec | WinogradPackSpec | None
    tasks: int = 0
    refused: tuple[str, ...] = ()
    not_pooled: str = ""


def gather(
    conv: Conv, direction: Literal["forward", "dx"], input: Layout, output: Layout, machine: Machine, *,
    epilogue: Epilogue, scalars: tuple[str, ...], images: int, batch: int, direct_by_blocks: bool, algorithm: Algorithm,
    weights_change: bool = False,
) -> Gathered:  # fmt: skip
    """The kernel for chunks of ``images`` images of a batch of ``batch``. ``input`` and ``output`` are what the direction reads
    and writes. direct_by_blocks: a direct kernel has tasks of blocks of weights. weights_change: between two runs, so that a
    pack serves only one.

    >>> from vecgrad.spec.geometry import window
    >>> from vecgrad.spec.machine import AVX512
    >>> layout = Layout(16, 16, 64, 64)
    >>> found = gather(
    ...     Conv(window((16, 16), 3, padding="same"), 64, 64), "forward", layout, layout, AVX512, epilogue=Epilogue(),
    ...     scalars=(), images=4, batch=64, direct_by_blocks=False, algorithm="auto")
    >>> type(found.spec).__name__, found.refused[0][:11]
    ('WinogradSpec', 'conv.direct')
    """
    asked = _Asked(
        conv, direction, input, output, machine, epilogue, scalars, images, batch, direct_by_blocks,
        weights_change,
    )  # fmt: skip
    if not _not_depthwise(conv):
        return _depthwise(asked)
    refused: tuple[str, ...] = ()
    for name, family in (("winograd", _winograd), ("slide", _slide)):
        found = family(asked, algorithm)
        if isinstance(found, Gathered):
            return replace(found, refused=refused + found.refused)
        refused += _note(f"{asked.name}.{name}", conv, found)
    return replace(_direct(asked), refused=refused)


@dataclass(frozen=True)
class _Asked:
    """The arguments of ``gather``."""

    conv: Conv
    direction: Literal["forward", "dx"]
    input: Layout
    output: Layout
    machine: Machine
    epilogue: Epilogue
    scalars: tuple[str, ...]
    images: int
    batch: int
    direct_by_blocks: bool
    weights_change: bool

    @property
    def name(self) -> str:
        return "conv" if self.direction == "forward" else "conv_dx"

    def pooled(self, family: str) -> tuple[Epilogue, str]:
        """The epilogue, without its pooling where the family of kernels cannot pool; the reason."""
        if self.epilogue.pool is None:
            return self.epilogue, ""
        reason = "its tiles are not made of whole windows"
        if family not in ("slide", "depthwise"):
            reason = _pooling.refusal(self.epilogue.pool.window, family == "winograd")
        if not reason:
            return self.epilogue, ""
        return replace(self.epilogue, pool=None), f"{self.name}.{family}: {reason}"


def _winograd(asked: _Asked, algorithm: Algorithm) -> Gathered | str:
    """By Winograd's algorithm, in chunks of images or, where weights are many and tiles few, in tasks; or why not."""
    conv, output, batch = asked.conv, asked.output, asked.batch
    if reason := _refusal(conv, output.dtype, algorithm):
        return reason
    tiles = Grid(output.height, output.width).tiles
    together, groups, parts = asked.images, 0, 1
    large = 36 * 4 * conv.channels_in * conv.channels_out > _LARGE
    if large and together * tiles < _TILES and together < batch:
        together = min(-(-_TILES // tiles), batch)
        groups = -(-batch // together)
        while groups * parts < _TASKS and parts * 64 < output.channels:
            parts *= 2
    packed_cycles = cost.gather_cycles(conv, asked.direction, together, batch, parts)
    cut = cost.Wide.of(conv, asked.direction, batch)
    wide = groups > 0 and cut.cycles < _NO_PACK * packed_cycles
    cycles, direct_cycles = cut.cycles if wide else packed_cycles, cost.direct_cycles(conv, asked.direction)
    if not cost.worth(min(cycles, packed_cycles), conv, asked.direction):
        return _comparison(cycles, direct_cycles)
    epilogue, not_pooled = asked.pooled("winograd")
    spec, pack = winograd_spec(
        conv, asked.direction, asked.input, output, asked.machine, epilogue=epilogue, scalars=asked.scalars,
        images=together, image_groups=groups, parts=parts,
    )  # fmt: skip
    refused: tuple[str, ...] = (f"{asked.name}.direct: {_comparison(direct_cycles, cycles)}",)
    if wide:
        spec = wide_spec(spec, cut, asked.machine)
        refused += (f"packed weights: {_comparison(packed_cycles, cycles)}",)
        return Gathered(spec, None, spec.tasks, refused, not_pooled)
    if batch == 1:
        spec, tasks = _within.winograd(spec, cycles, asked.machine)
        return Gathered(spec, winograd.pack(spec, asked.machine), tasks, refused, not_pooled)
    return Gathered(spec, pack, spec.tasks if groups else 0, refused, not_pooled)


def _depthwise(asked: _Asked) -> Gathered:
    """Channel by channel. The sums are the direct kernel's, to the bit."""
    epilogue, not_pooled = asked.pooled("depthwise")
    spec = depthwise.depthwise_spec(
        asked.conv, asked.direction == "dx", asked.input, asked.output, asked.machine,
        epilogue=epilogue, scalars=asked.scalars,
    )  # fmt: skip
    return Gathered(spec, None, 0, (), not_pooled)


def _slide(asked: _Asked, algorithm: Algorithm) -> Gathered | str:
    """By a sliding window of sums, where channels leave vectors unfilled; or why not, "" where nobody expects it."""
    conv, output = asked.conv, asked.output
    if sliding.refusal(conv, asked.direction) or asked.direct_by_blocks or output.channels % _VECTOR == 0:
        return ""
    cycles = sliding.slide_cycles(conv, asked.direction, output.dtype)
    direct_cycles = gather_cycles(conv, asked.direction, output.dtype, asked.images)
    if not sliding.worth(cycles, direct_cycles):
        return _comparison(cycles, direct_cycles)
    epilogue, not_pooled = asked.pooled("slide")
    spec, pack = slide_spec(
        conv, asked.direction, asked.input, output, asked.machine, epilogue=epilogue, scalars=asked.scalars
    )
    refused = (f"{asked.name}.direct: {_comparison(direct_cycles, cycles)}",)
    return Gathered(spec, pack, 0, refused, not_pooled)


def _direct(asked: _Asked) -> Gathered:
    """By the direct kernel, which serves everything."""
    conv, machine, by_blocks = asked.conv, asked.machine, asked.direct_by_blocks
    epilogue, not_pooled = asked.pooled("direct")
    pick = choose.forward_spec if asked.direction == "forward" else choose.dx_spec
    spec, pack = pick(
        conv, asked.input, asked.output, machine, epilogue=epilogue, scalars=asked.scalars,
        mode="blocks" if by_blocks else "images", images=asked.batch if by_blocks else asked.images,
    )  # fmt: skip
    if by_blocks and asked.weights_change and dense.serves(conv, asked.batch):
        whole = dense.cut(spec, asked.batch, machine)
        return Gathered(whole, None, dense.blocks(whole, machine))
    tasks = choose.blocks(spec, machine) if by_blocks else 0
    if asked.batch == 1 and not tasks:
        spec, tasks = _within.direct(spec, cost.direct_cycles(conv, asked.direction), machine)
    return Gathered(spec, pack, tasks, (), not_pooled)


def slide_spec(
    conv: Conv, direction: Literal["forward", "dx"], input: Layout, output: Layout, machine: Machine, *,
    epilogue: Epilogue = _PLAIN, scalars: tuple[str, ...] = (),
) -> tuple[SlideSpec, SlidePackSpec]:  # fmt: skip
    """The sliding window's kernel and its pack."""
    kind = SlideSpec if direction == "forward" else SlideDxSpec
    tile = sliding.slide_tile(conv, direction, output.dtype, machine)
    spec = kind(conv, input, output, tile, epilogue, scalars)
    return spec, slide.Shape(spec, machine).pack


def winograd_spec(
    conv: Conv, direction: Literal["forward", "dx"], input: Layout, output: Layout, machine: Machine, *,
    epilogue: Epilogue = _PLAIN, scalars: tuple[str, ...] = (), images: int = 1, image_groups: int = 0, parts: int = 1,
) -> tuple[WinogradSpec, WinogradPackSpec]:  # fmt: skip
    """Winograd's kernel and its pack. image_groups: tasks of groups of ``images`` images and ``parts`` of the channels; 0: chunks
    of about ``images`` images."""
    kind = WinogradSpec if direction == "forward" else WinogradDxSpec
    c, k = conv.channels_in, conv.channels_out
    inner, outer = (c, k) if direction == "forward" else (k, c)
    tile = cost.gather_tile(inner, outer, Grid(output.height, output.width).tiles * images, machine)
    spec = kind(conv, input, output, tile, epilogue=epilogue, scalars=scalars)
    if image_groups:
        spec = replace(spec, mode="blocks", image_groups=image_groups, images_per_group=images, parts=parts)
    return spec, winograd.pack(spec, machine)


def wide_spec(spec: WinogradSpec, cut: cost.Wide, machine: Machine) -> WinogradSpec:
    """``spec`` as tasks that take the weights into the domain themselves."""
    vectors = cut.part // machine.lanes(spec.output.dtype)
    tile, chunk, together = cost.wide_tile(
        vectors, cut.images * Grid(spec.output.height, spec.output.width).tiles, machine
    )
    return replace(
        spec, mode="blocks", tile=tile, chunk=chunk, together=together, parts=cut.parts, image_groups=cut.groups,
        images_per_group=cut.images,
    )  # fmt: skip


def unpooling(spec: _Spec, unpool: Unpooling) -> _Spec | None:
    """The kernel that reads the pooled gradient in place of the un-pooled one, if there is one: of Winograd's gradients, for
    windows that divide their tiles."""
    if not isinstance(spec, (WinogradDxSpec, WinogradDwSpec)) or _pooling.refusal(
        unpool.window, winograd=True
    ):
        return None
    return replace(spec, unpool=unpool)


@dataclass(frozen=True)
class Summed:
    """A weight gradient's kernel, and what was not chosen, with the reason."""

    spec: ConvDwSpec | WinogradDwSpec
    refused: tuple[str, ...] = ()


def weight_gradient(
    conv: Conv, input: Layout, dy: Layout, machine: Machine, *,
    images: int, batch: int, groups: Callable[[int, int, int], int] | None, algorithm: Algorithm,
) -> Summed:  # fmt: skip
    """The kernel for chunks of ``images`` images; or for tasks, whose slabs' stride the planner still has to fill in, where
    ``groups`` says how many groups of images to make: of so many blocks, with so many images at least and so many at most
    (0: any number).

    Groups are larger where 8 tasks are left: each of Winograd's pays for 36 sums of all its channels, and each direct one reads,
    writes and at last adds up as many sums as there are weights.
    """
    reason = _refusal(conv, dy.dtype, algorithm)
    if not reason:
        spec = winograd_dw_spec(conv, input, dy, machine, images=images, by_blocks=groups is not None)
        if groups is not None:
            least = -(-_GROUP_TILES // Grid(dy.height, dy.width).tiles)
            spec = at_groups(spec, groups(spec.k_blocks * spec.c_blocks, least, 0), batch)
            images = spec.images_per_group
            few = Grid(dy.height, dy.width).tiles * images <= _TILES
            for wide in (4, 2) if few else (2,):
                if spec.k_blocks % wide == 0 and spec.tasks >= wide * _WINOGRAD_TASKS:
                    spec = replace(spec, k_block=wide * spec.k_block, turns=wide if few else 1)
                    break
            spec = replace(spec, tile=_dw_tile(spec, images, machine))
        cycles, direct_cycles = cost.dw_cycles(conv, images), cost.direct_cycles(conv, "dw")
        if cost.worth(cycles, conv, "dw"):
            return Summed(spec, (f"conv_dw.direct: {_comparison(direct_cycles, cycles)}",))
        reason = _comparison(cycles, direct_cycles)
    if groups is None:
        direct = choose.dw_spec(conv, input, dy, machine)
    else:
        direct = _direct_tasks(conv, input, dy, machine, batch, groups)
    return Summed(direct, _note("conv_dw.winograd", conv, reason))


def _direct_tasks(
    conv: Conv,
    input: Layout,
    dy: Layout,
    machine: Machine,
    batch: int,
    groups: Callable[[int, int, int], int],
) -> ConvDwSpec:
    """Groups of images by blocks of channels; then tasks of as many of these blocks as leave tasks enough."""
    p, q = conv.window.out_size
    r, s, c, k = conv.weight_shape
    short = r * s * c * k <= _SLAB_ENTRIES
    most = max(_CHAIN // (p * q), 1) if short else 0
    found = groups(conv.groups * math.prod(dw_blocks(conv)), -(-_PIXELS // (p * q)), most)
    for wide in _TOGETHER:
        spec = choose.dw_spec(conv, input, dy, machine, mode="blocks", wide=wide)
        spec = at_groups(spec, found, batch)
        if spec.tasks >= _DW_TASKS:
            break
    return spec


def winograd_dw_spec(
    conv: Conv, input: Layout, dy: Layout, machine: Machine, *, images: int, by_blocks: bool
) -> WinogradDwSpec:
    """Winograd's weight gradient: all channels at once for chunks of images, or tasks of blocks of channels."""
    c, k = conv.channels_in, conv.channels_out
    c_block, k_block = (cost.dw_block(c), cost.dw_block(k)) if by_blocks else (c, -(-k // 16) * 16)
    mode: choose.Mode = "blocks" if by_blocks else "images"
    spec = WinogradDwSpec(conv, input, dy, WinogradTile(1, 1, 1), k_block, c_block, mode)
    return replace(spec, tile=_dw_tile(spec, images, machine))


def _dw_tile(spec: WinogradDwSpec, images: int, machine: Machine) -> WinogradTile:
    tiles = Grid(spec.dy.height, spec.dy.width).tiles * images
    return cost.dw_tile(spec.c_block, spec.filters, tiles, machine)


def at_groups(spec: _Dw, groups: int, batch: int, stride: int = 0) -> _Dw:
    """A spec of tasks with ``batch`` images cut into ``groups``, whose slabs lie ``stride`` entries apart."""
    return replace(spec, image_groups=groups, images_per_group=-(-batch // groups), slab_stride=stride)


def _refusal(conv: Conv, dtype: str, algorithm: Algorithm) -> str:
    return cost.refusal(conv, dtype) or (
        "" if algorithm == "auto" else "the program asks for direct convolutions"
    )


def _comparison(cycles: float, chosen: float) -> str:
    """Why not, in the cost model's words."""
    return f"{cycles / 1e3:.1f} against {chosen / 1e3:.1f} thousand cycles an image"


def _note(kernel: str, conv: Conv, reason: str) -> tuple[str, ...]:
    """Refusals that say something: nobody expects Winograd's algorithm of a product of matrices."""
    said = reason and conv.window.taps > 1 and conv.window.out_size != (1, 1)
    return (f"{kernel}: {reason}",) if said else ()
