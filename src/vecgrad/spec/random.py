"""Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011, section 5) in plain integer arithmetic.

A draw is a pure function of (seed, stream, epoch, index): no state, so any number of threads, ranks
or resumed runs see the same numbers. The functions use only ``*``, ``^``, ``&`` and ``>>``; they
take Python integers or arrays of uint64 alike.
"""

from __future__ import annotations

from typing import Any

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

# Streams: one number for each use of randomness, so that no two uses ever share a draw.
STREAM_INITIAL = 1
STREAM_SHUFFLE = 2
STREAM_AUGMENT = 3
STREAM_DROPOUT = 4
STREAM_CHECK = 5
STREAM_SPLIT = 6


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Four 32-bit words from a counter of four and a key of two.

    >>> [f"{w:08x}" for w in philox((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        left, right = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (right >> 32) ^ b ^ k0, right & MASK, (left >> 32) ^ d ^ k1, left & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return a, b, c, d


def draw(seed: int, stream: int, epoch: int, index: Any) -> tuple[Any, Any, Any, Any]:
    """Four 32-bit words for draw number ``index`` (an integer or an array of uint64) of a stream.

    ``stream`` < 2¹⁶ may carry a sub-stream (a parameter's or layer's number) in its upper bits.
    """
    return philox(
        (index & MASK, index >> 32, epoch & MASK, stream & MASK), (seed & MASK, (seed >> 32) & MASK)
    )


def substream(stream: int, number: int) -> int:
    """The stream of the ``number``-th object (parameter, layer) within a stream."""
    return (stream + (number << 8)) & MASK


# A mask's entries share draws: 16 channels side by side take 16 draws, and the draws' four words go to four such runs.
KEPT_LANES = 16


def threshold(rate: float) -> int:
    """The words below which an entry falls to a mask of ``rate``.

    >>> threshold(0.25) == 2**30
    True
    """
    return min(round(rate * 2.0**32), MASK)


def kept(seed: int, step: int, mask: int, image: Any, draw_number: Any) -> tuple[Any, Any, Any, Any]:
    """Four words of the ``mask``-th mask of a step, for image number ``image`` of the batch.

    Runs of 16 channels are numbered pixel by pixel; channel c of run v is word v % 4 of draw (v // 4) · 16 + c % 16. An entry is
    kept where its word is at least ``threshold(rate)``.
    """
    return draw(seed, substream(STREAM_DROPOUT, mask), step, (image << 32) | draw_number)
