"""A prologue where Winograd's tiles read their pixels: each is computed as often as tiles meet it, 2.25 times.

For whole vectors that is less than a pass over memory takes, as long as the tiles are not transformed for many parts of the output
channels. Call by call on Emerald Rapids ResNet-20's step gains 3 %; with AVX2, whose vectors need twice as many instructions, it
loses 2 %, so such machines are refused. Zen 4's vectors of 512 bits take two turns each; there it is counted to gain nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels._winograd_steps import Read, once
from vecgrad.kernels._winograd_tiles import Inside, Lines, Patches
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula
from vecgrad.spec.kernel import Prologue
from vecgrad.spec.machine import Machine
from vecgrad.spec.winograd import OUTPUTS

# Parts of the output channels, each of which transforms all inputs.
_MOST_PARTS = 2
_REGISTERS, _TWO_TURNS = 32, "znver4"


def refusal(prologue: Prologue | None, parts: int, machine: Machine) -> str:
    """Why Winograd's kernels leave a prologue, for so many ``parts`` of the output channels, to a pass of its own; "" if not."""
    if prologue is None:
        return ""
    if parts > _MOST_PARTS:
        return f"a prologue would be computed by {parts} parts of the channels"
    if machine.vector_bits < 512 or machine.registers < _REGISTERS or machine.cpu == _TWO_TURNS:
        return "a prologue takes too many instructions of this processor"
    return ""


@dataclass(frozen=True)
class ProloguePatches(Patches):
    """``source`` is the map's layout and that of what the prologue makes of it; behind the map its operands are the prologue's
    vectors."""

    prologue: Prologue | None = None

    def whole(self, b: Builder) -> bool:
        """The prologue's vectors end with the last channel."""
        return super().whole(b) and (self.prologue is None or self.source.channels % b.lanes == 0)

    def rows(
        self, b: Builder, zeros: Value, source: tuple[Value, ...], image: Value, row: Value, col: Value
    ) -> list[Value]:
        """The rows of pixels, behind them whether each lies inside the map, and the prologue's vectors."""
        found = super().rows(b, zeros, source, image, row, col)
        if self.prologue is None:
            return found
        inside = []
        for r in range(self.size):
            places = [tile * OUTPUTS + self.top + r for tile in range(self.grid.rows)]
            always = all(0 <= place < self.source.height for place in places)
            number = b.add(row, self.top + r)
            inside.append(Value("true", "i1") if always else b.icmp("ult", number, self.source.height))
        return [*found, *inside, *source[1:]]

    def lines(
        self, b: Builder, scratch: Value, rows: list[Value], columns: list[Inside], vector: Value, lanes: int
    ) -> Lines:
        if self.prologue is None:
            return super().lines(b, scratch, rows, columns, vector, lanes)
        moved = b.mul(vector, b.lanes * self.item)
        places = [b.opaque(b.around(row, moved)) for row in rows[: self.size]]
        inside, vectors = rows[self.size : 2 * self.size], rows[2 * self.size :]
        known = [b.load_lanes(b.at(pointer, moved), lanes) for pointer in vectors]
        formula, pitch = Formula(b, [self.prologue.expr], ()), self.source.pitch * self.item

        def read(column: int) -> Read:
            def pixel(r: int) -> Value:
                value = b.load_lanes(b.around(places[r], column * pitch), lanes)
                [found] = formula.write([value, *known])
                return b.select(inside[r], found, b.zero())

            return once(pixel)

        return self.down(b, read, columns)
