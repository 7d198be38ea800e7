"""The plan while it is being made: buffers without addresses, calls that refer to them, phases in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from vecgrad.plan.arena import Interval, allocate
from vecgrad.plan.fuse import Step
from vecgrad.plan.plan import Place
from vecgrad.spec.kernel import KernelSpec
from vecgrad.spec.tensor import Layout


@dataclass(eq=False)
class Buffer:
    """Memory for one value. ``base`` is None until it is known whether it lives in the arena or in frames.

    nbytes: per image if batched, else in all. own: each task of the one phase that touches it has its own. touches: the (phase,
    call) numbers that read or write it, once it is settled.
    """

    nbytes: int
    batched: bool
    base: str | None = None
    offset: int = 0
    kept: bool = False
    own: bool = False
    touches: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Stored:
    """A value: its memory and how it lies there."""

    buffer: Buffer
    layout: Layout


@dataclass(frozen=True)
class Argument:
    """A call's operand: a buffer, entered ``offset`` bytes behind its start, ``per_chunk`` bytes further for each chunk."""

    buffer: Buffer
    offset: int = 0
    per_chunk: int = 0


@dataclass
class DraftCall:
    """A call before addresses are known; ``step`` is what it computes (None for the plan's own work).

    units: images or entries in a full batch. keeps: buffers that it reads through a table rather than an argument.
    refused: algorithms that were not chosen, with their reasons.
    """

    spec: KernelSpec
    arguments: tuple[Argument, ...]
    step: Step | None
    op: str
    units: int
    always: bool = False
    keeps: tuple[Buffer, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(eq=False)
class DraftPhase:
    """Calls over one chunk grid; images_per_chunk 0: tasks."""

    part: str
    chunks: int
    images_per_chunk: int
    calls: list[DraftCall] = field(default_factory=list)


class Draft:
    """Collects phases in order. A call over images joins the open phase; a call over tasks has one of its own."""

    def __init__(self, batch_size: int, chunks: int, images_per_chunk: int) -> None:
        self.batch_size = batch_size
        self.chunks = chunks
        self.images_per_chunk = images_per_chunk
        self.phases: list[DraftPhase] = []
        self.buffers: list[Buffer] = []

    def buffer(self, layout: Layout, base: str | None = None, offset: int = 0) -> Buffer:
        made = Buffer(layout.nbytes, layout.batched, base, offset)
        self.buffers.append(made)
        return made

    def block(self, nbytes: int) -> Buffer:
        """Unbatched memory without a layout."""
        made = Buffer(nbytes, False)
        self.buffers.append(made)
        return made

    def over_images(self, call: DraftCall) -> None:
        last = self.phases[-1] if self.phases else None
        if last is None or not last.images_per_chunk or last.part != "main":
            last = DraftPhase("main", self.chunks, self.images_per_chunk)
            self.phases.append(last)
        last.calls.append(call)

    def over_tasks(self, calls: list[DraftCall], tasks: int, part: str = "main") -> None:
        """A phase of tasks; what is a single task goes on where the last phase was one, and saves a barrier."""
        last = self.phases[-1] if self.phases else None
        if (
            tasks == 1
            and last is not None
            and (last.chunks, last.images_per_chunk, last.part) == (1, 0, part)
        ):
            last.calls.extend(calls)
        else:
            self.phases.append(DraftPhase(part, tasks, 0, list(calls)))

    def insert(self, number: int, phase: DraftPhase) -> None:
        """Puts ``phase`` before the one that is ``number`` now."""
        self.phases.insert(number, phase)

    def into_arena(self, buffer: Buffer) -> None:
        """The buffer has no place of its own any more, and lives in the arena as long as it is touched."""
        buffer.base, buffer.kept = None, False
        if buffer not in self.buffers:
            self.buffers.append(buffer)

    def _touch(self) -> None:
        for phase_number, phase in enumerate(self.phases):
            for call_number, call in enumerate(phase.calls):
                for buffer in (*(argument.buffer for argument in call.arguments), *call.keeps):
                    buffer.touches.append((phase_number, call_number))

    def settle(self) -> tuple[int, int]:
        """Gives every buffer its place; (bytes of the arena, bytes of a thread's frame).

        A batched value that lives within one phase over images needs memory for one chunk only, in the
        frame of the thread that works on it, where it stays in cache; so does what each task has for itself. All others live in
        the arena for as long as any phase touches them.
        """
        self._touch()
        arena: list[Interval] = []
        frames: dict[int, list[Interval]] = {}
        for number, buffer in enumerate(self.buffers):
            if buffer.base is not None or not buffer.touches:
                continue
            phases = {phase for phase, _ in buffer.touches}
            only = next(iter(phases)) if len(phases) == 1 else None
            by_chunks = only is not None and buffer.batched and self.phases[only].images_per_chunk > 0
            if only is not None and not buffer.kept and (by_chunks or buffer.own):
                calls = [call for _, call in buffer.touches]
                nbytes = buffer.nbytes * (self.images_per_chunk if by_chunks else 1)
                frames.setdefault(only, []).append(Interval(number, nbytes, min(calls), max(calls)))
                buffer.base = "frame"
            else:
                nbytes = buffer.nbytes * (self.batch_size if buffer.batched else 1)
                last = len(self.phases) if buffer.kept else max(phases)
                arena.append(Interval(number, nbytes, min(phases), last))
                buffer.base = "arena"
        offsets, arena_bytes = allocate(arena)
        frame_bytes = 0
        for intervals in frames.values():
            within, nbytes = allocate(intervals)
            offsets |= within
            frame_bytes = max(frame_bytes, nbytes)
        for number, offset in offsets.items():
            self.buffers[number].offset = offset
        return arena_bytes, frame_bytes

    def place(self, argument: Argument, phase: DraftPhase) -> Place:
        """Where an argument of a call in ``phase`` lies; to be asked after ``settle``."""
        buffer = argument.buffer
        assert buffer.base is not None
        per_image = (
            buffer.nbytes if phase.images_per_chunk and buffer.batched and buffer.base != "frame" else 0
        )
        return Place(buffer.base, buffer.offset + argument.offset, per_image, argument.per_chunk)
