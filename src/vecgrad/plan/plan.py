"""The plan as a record: phases, calls, memory. It can be printed, compared, written as JSON; running it needs no thought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vecgrad.spec.kernel import DepthwiseTile, KernelSpec, SlideTile, StrassenTile, WinogradTile
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout

# Whose memory an operand points into. Only frames differ per thread.
BASES = (
    "x",
    "target",
    "weight",
    "parameters",
    "gradients",
    "state",
    "arena",
    "frame",
    "packs",
    "table",
)


@dataclass(frozen=True)
class Place:
    """An operand's address: bytes from its base, per image of an images phase, per chunk."""

    base: str
    offset: int = 0
    per_image: int = 0
    per_chunk: int = 0


@dataclass(frozen=True)
class PlannedCall:
    """One kernel call. ``units``: images or entries that it covers in a full batch, for the totals.

    refused: the kernels and algorithms that could not serve it or promise less, with their reasons.
    """

    spec: KernelSpec
    operands: tuple[Place, ...]
    op: str
    scope: str
    stage: str
    formula: str
    kernel: str
    fused: str
    flops: int
    nbytes: int
    seconds: float
    scratch: int = 0
    always: bool = False
    refused: tuple[str, ...] = ()

    @property
    def tile(self) -> str:
        """The register tile, where the kernel has one."""
        tile = getattr(self.spec, "tile", None)
        return _tile(tile) if tile is not None else ""


@dataclass(frozen=True)
class PlannedPhase:
    """Calls made for each chunk in turn. part: "main", "update" or "pack".

    images_per_chunk 0: the chunks are tasks.
    """

    calls: tuple[PlannedCall, ...]
    chunks: int
    images_per_chunk: int
    part: str


@dataclass(frozen=True)
class Result:
    """Where a named result lies after the main part: ``layout``, at a place, batched or not; its public shape."""

    place: Place
    layout: Layout
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """All that a run needs to know. Sizes in bytes; ``frame`` is per thread; gradients and state in entries.

    segments: records of nine integers (see ``FlatMapSpec``), the content of the base "table".
    """

    machine: Machine
    dtype: str
    batch_size: int
    phases: tuple[PlannedPhase, ...]
    arena: int
    frame: int
    packs: int
    gradients: int
    segments: tuple[tuple[int, ...], ...]
    scalars: tuple[str, ...]
    results: dict[str, Result] = field(default_factory=dict)

    def calls(self) -> Iterator[PlannedCall]:
        return (call for phase in self.phases for call in phase.calls)

    @property
    def scratch(self) -> int:
        """Bytes of scratch for each thread."""
        return max((call.scratch for call in self.calls()), default=0)

    def range(self, part: str) -> tuple[int, int]:
        """[first, end) of the phases of a part; empty parts have first = end."""
        numbers = [i for i, phase in enumerate(self.phases) if phase.part == part]
        return (numbers[0], numbers[-1] + 1) if numbers else (len(self.phases), len(self.phases))

    def __str__(self) -> str:
        lines = [
            f"{self.machine.isa}, {self.dtype}, batch {self.batch_size}: arena {self.arena}, frame {self.frame} a thread, "
            f"packs {self.packs}, scratch {self.scratch} a thread"
        ]
        for number, phase in enumerate(self.phases):
            unit = f"chunks of {phase.images_per_chunk} images" if phase.images_per_chunk else "tasks"
            lines.append(f"phase {number} ({phase.part}): {phase.chunks} {unit}")
            for call in phase.calls:
                where = " ".join(f"{p.base}+{p.offset}" for p in call.operands)
                text = f"  {call.op:<14}{call.scope:<10}{call.kernel:<18}{call.tile:<12}{call.fused}"
                lines.append(f"{text.rstrip()}  [{where}]")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The plan without its code, for pages and files."""
        return {
            "machine": self.machine.isa,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "arena_bytes": self.arena,
            "frame_bytes": self.frame,
            "pack_bytes": self.packs,
            "scratch_bytes": self.scratch,
            "phases": [
                {
                    "part": phase.part,
                    "chunks": phase.chunks,
                    "images_per_chunk": phase.images_per_chunk,
                    "calls": [_call_json(call) for call in phase.calls],
                }
                for phase in self.phases
            ],
        }


def _call_json(call: PlannedCall) -> dict[str, object]:
    return {
        "name": call.spec.name,
        "op": call.op,
        "layer": call.scope,
        "stage": call.stage,
        "formula": call.formula,
        "kernel": call.kernel,
        "tile": call.tile,
        "fused": call.fused,
        "flops": call.flops,
        "bytes": call.nbytes,
        "predicted_seconds": call.seconds,
        "operands": [{"base": p.base, "offset": p.offset} for p in call.operands],
        "refused": list(call.refused),
    }


def _tile(tile: object) -> str:
    vectors = getattr(tile, "vectors", 0)
    if isinstance(tile, WinogradTile | StrassenTile):
        return f"{tile.scalars}×{vectors}v/{tile.block}"
    if isinstance(tile, SlideTile):
        return f"{tile.rows}px×{tile.channels}c window"
    if isinstance(tile, DepthwiseTile):
        return f"{tile.rows}×{tile.cols}px"
    if getattr(tile, "rowwise", False):
        return f"{getattr(tile, 'rows', 1)}×{getattr(tile, 'channels', 1)}c×{vectors}v row"
    if hasattr(tile, "channels"):
        taps = f"{getattr(tile, 'rows', 1)}×{getattr(tile, 'cols', 1)}×"
        return f"{'' if taps == '1×1×' else taps}{tile.channels}c×{vectors}v"
    pixels = [getattr(tile, name, 1) for name in ("images", "rows", "cols")]
    shape = "×".join(str(p) for p in pixels if p != 1) or "1"
    return f"{shape}px×{vectors}v"
