"""What the convolutions' inner loops look like in assembly: no spills, few loads, short bodies.

This stands in for timing, which no shared machine allows a test: a tile that spills, or broadcasts once
for each product, is found here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from vecgrad.kernels import registry
from vecgrad.kernels.choose import dw_spec, dx_spec, forward_spec
from vecgrad.kernels.depthwise import depthwise_spec
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import Epilogue
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.scalar import Operand
from vecgrad.spec.tensor import Layout

# Layers of the networks that people train on this: (size, C, K, kernel, stride).
LAYERS = {
    "grey first": (28, 1, 32, 3, 1),
    "colour first": (32, 3, 32, 3, 1),
    "thin": (32, 16, 16, 3, 1),
    "narrow": (16, 32, 32, 3, 1),
    "usual": (32, 64, 64, 3, 1),
    "small maps": (4, 256, 256, 3, 1),
    "smaller by 2": (32, 64, 128, 3, 2),
    "5 x 5": (14, 6, 16, 5, 1),
    "wide rim": (16, 32, 64, 5, 1),
    "kernel like the map": (6, 32, 48, 5, 1),
    "pixels alone": (28, 256, 64, 1, 1),
    "dense": (1, 1024, 128, 1, 1),
}
_MULTIPLY_ADD = {"neon": r"\tfmla\b", "baseline": r"\taddp[sd]\b"}
_JUMP = r"\t(?:j\w+|b|b\.\w+|cbn?z|tbn?z)\t"
_STACK = r"\(%rsp|\[sp\b"
_VECTOR_ON_STACK = r"%[xyz]mm\d+, -?\d*\(%rsp|\(%rsp[^\n]*%[xyz]mm|\t(?:str|ldr|stp|ldp)\tq[^\n]*\[sp\b"
# At most: an EVEX prefix, opcode, ModRM, SIB, a 32-bit displacement, an immediate. AArch64 has 4 always.
_INSTRUCTION_BYTES = {"neon": 4}
_LONGEST = 12
# Half of the smallest first-level instruction cache that any of these machines has.
HOT_BYTES = 16 * 1024
# Everything that reads memory: an operand in brackets on x86, a load on AArch64.
_LOAD = {"neon": r"\tld[rp1]"}


@dataclass(frozen=True)
class Body:
    """A loop."""

    text: str
    machine: Machine

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.text))

    @property
    def products(self) -> int:
        return self.count(_MULTIPLY_ADD.get(self.machine.isa, r"\tvfmadd"))

    @property
    def loads(self) -> int:
        """What is fetched ahead does not count."""
        return self.count(_LOAD.get(self.machine.isa, r"\((?=%)(?!%rsp)")) - self.count(r"\tprefetch\w*\t")

    @property
    def on_stack(self) -> int:
        """References to the stack: what did not fit the registers."""
        return self.count(_STACK)

    @property
    def vectors_on_stack(self) -> int:
        return self.count(_VECTOR_ON_STACK)

    @property
    def nbytes(self) -> int:
        """Of machine code, at most."""
        return len(re.findall(r"^\t(?!\.)", self.text, re.M)) * _INSTRUCTION_BYTES.get(
            self.machine.isa, _LONGEST
        )


def bodies(assembly: str, machine: Machine) -> Iterator[Body]:
    """The loops of one basic block, up to the jump back."""
    for label, rest in re.findall(r"^(\.LBB\w+):(.*?)(?=^\.LBB|\Z)", assembly, re.M | re.S):
        jump = re.search(rf"\t(?:j\w+|b\.\w+|cbn?z)\b[^\n]*{re.escape(label)}$", rest, re.M)
        if jump:
            yield Body(rest[: jump.end()], machine)


def loops(assembly: str, machine: Machine) -> dict[frozenset[int], Body]:
    """All loops with what is inside them, whatever the order in which their blocks were laid out, by the blocks' numbers."""
    blocks, after = _blocks(assembly)
    above = _dominators(after)
    found: dict[int, set[int]] = {}
    for last, following in enumerate(after):
        for first in following & above[last]:
            inside, waiting = found.setdefault(first, {first}), [last]
            while waiting:
                block = waiting.pop()
                if block not in inside:
                    inside.add(block)
                    waiting += [n for n, follows in enumerate(after) if block in follows]
    return {
        frozenset(inside): Body("\n".join(blocks[n] for n in sorted(inside)), machine)
        for inside in found.values()
    }


def _blocks(assembly: str) -> tuple[list[str], list[set[int]]]:
    """Pieces of code that are entered at their beginning and left at their end, and which may follow each."""
    text = re.sub(rf"^({_JUMP}[^\n]*)$", r"\1\n;", assembly, flags=re.M)
    pieces = re.split(r"^;\n|^(?=\.LBB)", text, flags=re.M)
    # Between a jump and a label there may be directives alone.
    pieces = [piece for piece in pieces if re.search(r"^(?:\t(?!\.)|\.LBB)", piece, re.M)]
    labels = {label[1]: n for n, piece in enumerate(pieces) if (label := re.match(r"(\.LBB\w+):", piece))}
    after: list[set[int]] = []
    for n, piece in enumerate(pieces):
        target = re.search(rf"^{_JUMP}[^\n]*?(\.LBB\w+)$", piece, re.M)
        ends = re.search(r"^\t(?:jmp|b|retq?|ret)\b(?!\.)", piece, re.M)
        follows = {labels[target[1]]} if target else set()
        after.append(follows if ends or n + 1 == len(pieces) else follows | {n + 1})
    return pieces, after


def _dominators(after: list[set[int]]) -> list[set[int]]:
    """For each block those that every way from the first block to it goes through."""
    everything = set(range(len(after)))
    above = [{0}] + [everything] * (len(after) - 1)
    changed = True
    while changed:
        changed = False
        for n in range(1, len(after)):
            before = [above[m] for m, follows in enumerate(after) if n in follows]
            now = set.intersection(*before) | {n} if before else {n}
            changed |= now != above[n]
            above[n] = now
    return above


def specs(layer: tuple[int, int, int, int, int], machine: Machine) -> Iterator[Any]:
    """What a training step runs: no gradient for the images themselves."""
    size, c, k, kernel, stride = layer
    conv = Conv(window((size, size), kernel, stride, "same"), c, k)
    p, q = conv.window.out_size
    x = Layout(size, size, c, machine.pitch(c, "float32"))
    y = Layout(p, q, k, machine.pitch(k, "float32"))
    yield forward_spec(conv, x, y, machine, images=16)[0]
    if c > 3:
        yield dx_spec(conv, y, x, machine, images=16)[0]
    yield dw_spec(conv, x, y, machine)


@pytest.mark.parametrize("name", LAYERS)
def test_inner_loops(lab: Any, any_machine: Machine, name: str) -> None:
    loads, spills = (0.8, 0.0) if any_machine.fma else (1.5, 0.3)
    for spec in specs(LAYERS[name], any_machine):
        found = [body for body in bodies(lab.assembly(spec, any_machine), any_machine) if body.products >= 12]
        assert found, spec
        for body in found:
            about = f"{spec.kind} {spec.tile}: {body.products} products\n{body.text}"
            assert body.on_stack <= spills * body.products, about
            assert body.products <= 300, about
            assert body.nbytes <= HOT_BYTES, about
        # Of equal ones the one that copies what it reads runs once for many turns of the other.
        largest = max(found, key=lambda body: (body.products, -body.loads))
        assert largest.loads <= loads * largest.products, f"{spec.kind} {spec.tile}\n{largest.text}"


def test_steps_are_bundled_only_where_they_share_inputs() -> None:
    """Three taps of every third pixel never meet an input twice: held together they only take registers."""
    conv = Conv(window((30, 30), 3, 3), 66, 61)
    x, y = Layout(30, 30, 66, 80), Layout(10, 10, 61, 64)
    assert dw_spec(conv, x, y, AVX512).tile.share == 1
    thin = Conv(window((30, 30), 3, 1, 1), 16, 16)
    assert dw_spec(thin, Layout(30, 30, 16, 16), Layout(30, 30, 16, 16), AVX512).tile.share > 1


@pytest.mark.parametrize(
    ("size", "c", "k", "kernel", "stride", "fetched"),
    [
        (56, 88, 8, 6, 3, True), (32, 64, 128, 3, 2, True), (56, 256, 64, 1, 1, True), (14, 88, 8, 6, 3, False),
        (32, 64, 64, 5, 1, False),
    ],
)  # fmt: skip
def test_rows_of_large_images_are_fetched_where_products_leave_time(
    size: int, c: int, k: int, kernel: int, stride: int, fetched: bool
) -> None:
    conv = Conv(window((size, size), kernel, stride), c, k)
    x, y = (Layout(*shape, AVX512.pitch(shape[2], "float32")) for shape in (conv.in_shape, conv.out_shape))
    spec, _ = forward_spec(conv, x, y, AVX512)
    assert bool(_fetches(registry.generate(spec, AVX512), write=False)) == fetched


@pytest.mark.parametrize("maps", [0, 1])
@pytest.mark.parametrize("images", [1, 4])
def test_what_a_tile_reads_and_writes_is_fetched_beside_its_products(images: int, maps: int) -> None:
    """And the epilogue's vector for the channels is not."""
    conv = Conv(window((8, 8), 1), 64, 64)
    layout = Layout(8, 8, 64, 64)
    inputs = (replace(layout, height=1, width=1, batched=False), layout)[: 1 + maps]
    expr = Operand(0) + Operand(1) if not maps else Operand(0) + Operand(1) * Operand(2)
    spec, _ = forward_spec(conv, layout, layout, AVX512, epilogue=Epilogue(expr, inputs), images=images)
    text = registry.generate(spec, AVX512)
    products = [block for block in re.split(r"\n(?=[\w.]+:)", text) if block.count("@llvm.fma") >= 12]
    assert all(bool(_fetches(block, write=False)) == bool(maps) for block in products)
    assert all(_fetches(block, write=True) for block in products)


def test_where_products_are_over_at_once_the_places_below_are_fetched_as_if_read() -> None:
    """Four steps of products are shorter than memory's answer; and only large maps lie there."""
    for size, c, below in ((64, 4, True), (64, 32, False), (16, 4, False)):
        conv = Conv(window((size, size), 1), c, 64)
        x, y = Layout(size, size, c, 16), Layout(size, size, 64, 64)
        text = registry.generate(forward_spec(conv, x, y, AVX512)[0], AVX512)
        assert bool(_fetches(text, write=True)) != below, (size, c)
        assert not below or len(_fetches(text, write=False)) >= 4


def test_a_depthwise_tile_fetches_the_places_of_the_next_row() -> None:
    """One for each output vector of a tile, beside one for each input vector that is new."""
    layout, small = Layout(32, 32, 64, 64), Layout(8, 8, 64, 64)
    for each, fetched in ((layout, True), (small, False)):
        conv = Conv(window((each.height, each.width), 3, padding=1), 64, 64, 64)
        text = registry.generate(depthwise_spec(conv, False, each, each, AVX512), AVX512)
        stored = len(re.findall(r"\n  store <16 x float>", text))
        assert (len(_fetches(text, write=False)) >= 2 * stored) == fetched
        assert not _fetches(text, write=True)


def _fetches(text: str, write: bool) -> list[str]:
    return re.findall(rf"@llvm\.prefetch\S*\(ptr [^,]+, i32 {int(write)}", text)
