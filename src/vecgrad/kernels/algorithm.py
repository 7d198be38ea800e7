"""Which algorithm computes a convolution or its data gradient: gather, sliding window, Winograd, Strassen or depthwise, from shapes
and the batch alone.

An algorithm is part of the bits, so neither the machine nor a timing has a say: equal programs choose alike
everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from vecgrad.kernels import _pooled as _pooling
from vecgrad.kernels import _slide_tile as sliding
from vecgrad.kernels import _strassen_cost as strassen_cost
from vecgrad.kernels import _winograd_cost as cost
from vecgrad.kernels import _within, choose, dense, depthwise, registry, slide, strassen, winograd
from vecgrad.kernels._depthwise_tile import refusal as _not_depthwise
from vecgrad.kernels._gather_tile import gather_cycles
from vecgrad.kernels._winograd_tiles import Grid
from vecgrad.kernels.offer import Refusal
from vecgrad.kernels.reasons import Algorithm, asked_for, comparison, note
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import (
    ConvDwSpec,
    ConvDxSpec,
    ConvSpec,
    DenseSpec,
    DepthwiseSpec,
    Epilogue,
    KernelSpec,
    Prologue,
    SlideDxSpec,
    SlidePackSpec,
    SlideSpec,
    StrassenDxSpec,
    StrassenPackSpec,
    StrassenSpec,
    Unpooling,
    WeightsSpec,
    WinogradDwSpec,
    WinogradDxSpec,
    WinogradPackSpec,
    WinogradSpec,
)
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout, size

_Spec = TypeVar("_Spec", bound=KernelSpec)

# Weights in the domain that are larger than this should meet so many tiles at a time: where chunks of images have fewer,
# the layer becomes tasks of several chunks' images, and those are cut by channels until there are tasks enough. Strassen's
# weights should meet as many pairs of pixels, and where they are larger than this so many more that the way of seven planes
# from the third-level cache is short beside their products.
_LARGE = 1024 * 1024
_TILES = 32
_PAIRS = 64
_TASKS = 8
# Not to store weights four times as large is worth so much.
_NO_PACK = 1.1
# Channels that fill vectors of the fixed processor: a sliding window can only fill what they leave.
_VECTOR = 16
_PLAIN = Epilogue()


@dataclass(frozen=True)
class Gathered:
    """A forward convolution's or data gradient's kernel, the pack of its weights (None: it reads them as they are), the
    tasks it is cut into (0: chunks of images), and what was not chosen, with the reason. not_pooled: why the spec leaves the
    epilogue's pooling to a pass of its own."""

    spec: ConvSpec | ConvDxSpec | DenseSpec | DepthwiseSpec | SlideSpec | StrassenSpec | WinogradSpec
    pack: WeightsSpec | None
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
    for name, family in (("winograd", _winograd), ("strassen", _strassen), ("slide", _slide)):
        found = family(asked, algorithm)
        if isinstance(found, Gathered):
            return replace(found, refused=refused + found.refused)
        refused += note(f"{asked.name}.{name}", conv, found)
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

    def cut(self, each: int, least: int = _TILES) -> tuple[int, int, int]:
        """(images together, groups of them as tasks, parts of the channels), where weights should meet ``least`` of the ``each``
        tiles or pairs that an image has; no groups where a chunk has so many."""
        if self.images * each >= least or self.images >= self.batch:
            return self.images, 0, 1
        together = min(-(-least // each), self.batch)
        groups, parts = -(-self.batch // together), 1
        while groups * parts < _TASKS and parts * 64 < self.output.channels:
            parts *= 2
        return together, groups, parts

    def pooled(self, family: str) -> tuple[Epilogue, str]:
        """The epilogue, without its pooling where the family of kernels cannot pool; the reason."""
        if self.epilogue.pool is None:
            return self.epilogue, ""
        reason = "its tiles are not made of whole windows"
        if family in ("winograd", "direct"):
            reason = _pooling.refusal(self.epilogue.pool.window, family == "winograd")
        if not reason:
            return self.epilogue, ""
        return replace(self.epilogue, pool=None), f"{self.name}.{family}: {reason}"


def _winograd(asked: _Asked, algorithm: Algorithm) -> Gathered | str:
    """By Winograd's algorithm, in chunks of images or, where weights are many and tiles few, in tasks; or why not."""
    conv, output, batch = asked.conv, asked.output, asked.batch
    if reason := cost.refusal(conv, output.dtype) or asked_for(algorithm):
        return reason
    tiles = Grid(output.height, output.width).tiles
    together, groups, parts = asked.images, 0, 1
    if 36 * 4 * conv.channels_in * conv.channels_out > _LARGE:
        together, groups, parts = asked.cut(tiles)
    packed_cycles = cost.gather_cycles(conv, asked.direction, together, batch, parts)
    cut = cost.Wide.of(conv, asked.direction, batch)
    wide = groups > 0 and cut.cycles < _NO_PACK * packed_cycles
    cycles, direct_cycles = cut.cycles if wide else packed_cycles, cost.direct_cycles(conv, asked.direction)
    if not cost.worth(min(cycles, packed_cycles), conv, asked.direction):
        return comparison(cycles, direct_cycles)
    epilogue, not_pooled = asked.pooled("winograd")
    spec, pack = winograd_spec(
        conv, asked.direction, asked.input, output, asked.machine, epilogue=epilogue, scalars=asked.scalars,
        images=together, image_groups=groups, parts=parts,
    )  # fmt: skip
    refused: tuple[str, ...] = (f"{asked.name}.direct: {comparison(direct_cycles, cycles)}",)
    if wide:
        spec = wide_spec(spec, cut, asked.machine)
        refused += (f"packed weights: {comparison(packed_cycles, cycles)}",)
        return Gathered(spec, None, spec.tasks, refused, not_pooled)
    if batch == 1:
        spec, tasks = _within.winograd(spec, cycles, asked.machine)
        return Gathered(spec, winograd.pack(spec, asked.machine), tasks, refused, not_pooled)
    return Gathered(spec, pack, spec.tasks if groups else 0, refused, not_pooled)


def _strassen(asked: _Asked, algorithm: Algorithm) -> Gathered | str:
    """By Strassen's algorithm, in chunks of images or, where these have few pixels, in tasks as Winograd's; or why not."""
    conv, batch = asked.conv, asked.batch
    if reason := strassen_cost.refusal(conv, asked.output.dtype) or asked_for(algorithm):
        return reason
    if batch == 1:
        return "one image, which tasks share"
    if (inner := asked.input.channels) < strassen_cost.LEAST_INNER:
        return f"sums over {inner} channels, fewer than {strassen_cost.LEAST_INNER}"
    pairs = size(conv.window.in_size) // 2
    large = 7 * conv.channels_in * conv.channels_out > _LARGE
    together, groups, parts = asked.cut(pairs, _PAIRS if large else _TILES)
    cycles = strassen_cost.cycles(conv, asked.direction, batch, parts)
    direct_cycles = strassen_cost.direct_cycles(conv)
    if cycles > strassen_cost.WORTH * direct_cycles:
        return comparison(cycles, direct_cycles)
    epilogue, not_pooled = asked.pooled("strassen")
    spec, pack = strassen_spec(
        conv, asked.direction, asked.input, asked.output, asked.machine, epilogue=epilogue, scalars=asked.scalars,
        images=together, image_groups=groups, parts=parts,
    )  # fmt: skip
    refused = (f"{asked.name}.direct: {comparison(direct_cycles, cycles)}",)
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
        return comparison(cycles, direct_cycles)
    epilogue, not_pooled = asked.pooled("slide")
    spec, pack = slide_spec(
        conv, asked.direction, asked.input, output, asked.machine, epilogue=epilogue, scalars=asked.scalars
    )
    refused = (f"{asked.name}.direct: {comparison(direct_cycles, cycles)}",)
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


def strassen_spec(
    conv: Conv, direction: Literal["forward", "dx"], input: Layout, output: Layout, machine: Machine, *,
    epilogue: Epilogue = _PLAIN, scalars: tuple[str, ...] = (), images: int = 1, image_groups: int = 0, parts: int = 1,
) -> tuple[StrassenSpec, StrassenPackSpec]:  # fmt: skip
    """Strassen's kernel and its pack; arguments as of ``winograd_spec``."""
    kind = StrassenSpec if direction == "forward" else StrassenDxSpec
    inner, outer = input.channels, output.channels
    tile = strassen_cost.tile(inner, outer, images * size(conv.window.in_size) // 2, machine)
    spec = kind(conv, input, output, tile, epilogue=epilogue, scalars=scalars)
    if image_groups:
        spec = replace(spec, mode="blocks", image_groups=image_groups, images_per_group=images, parts=parts)
    return spec, strassen.pack(spec, machine)


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


def reading(spec: _Spec, prologue: Prologue, machine: Machine) -> _Spec | str:
    """The spec whose kernel, the same one, computes a prologue where it reads its map; or why it does not."""
    if not isinstance(spec, (ConvDwSpec, DepthwiseSpec, StrassenSpec, WinogradDwSpec, WinogradSpec)):
        return "the map is read in place"
    if any(vector.channels != spec.input.channels for vector in prologue.vectors):
        return "a dense layer reads the map as one pixel"
    found = replace(spec, prologue=prologue)
    same = registry.chosen(spec, machine).kernel
    [answer] = (each for each in registry.candidates(found, machine) if each.kernel == same)
    return answer.reason if isinstance(answer, Refusal) else found
