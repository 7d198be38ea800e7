"""Dense layers as convolutions: one that covers its map is the 1 × 1 convolution on the flattened map; layers of many weights."""

from __future__ import annotations

from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.tensor import Layout, size

# A dense layer whose weights exceed this is cut into blocks of them, each for all images: streaming the weights
# anew for every chunk of images would cost more than the barrier (a quarter of a second-level cache of 1 MB).
_BY_BLOCKS = 256 * 1024


# The same of maps with pixels: what a second-level cache keeps while blocks of so many channels go by.
_HELD, _BLOCK = 1024 * 1024, 32


def many_weights(conv: Conv, forward: bool, item: int, batch: int, chunks: int) -> bool:
    """Whether a direct convolution is to be cut into blocks of its weights, each for all images, and not into ``chunks`` of these.

    item: bytes of an entry. The blocks must leave half of the traffic at most: chunks read all weights, blocks all images, unless
    a cache holds these.

    >>> many, few = (Conv(window((2, 2), 1), channels, channels) for channels in (1024, 256))
    >>> many_weights(many, True, 4, batch=64, chunks=16), many_weights(few, True, 4, batch=64, chunks=16)
    (True, False)
    """
    result, read = (conv.window.out_size, conv.in_shape) if forward else (conv.window.in_size, conv.out_shape)
    weights = size(conv.weight_shape) * item
    if result == (1, 1):
        return weights > _BY_BLOCKS
    images = batch * size(read) * item
    if images > _HELD:
        images *= -(-(conv.channels_out if forward else conv.channels_in) // _BLOCK)
    return conv.groups == 1 and weights > _HELD and 2 * images <= chunks * weights


def flattened(conv: Conv, layout: Layout) -> Conv | None:
    """A convolution that covers its map, as the 1 × 1 convolution on the flattened map, where that is the same memory.

    It sums in another order, so it must not depend on the machine whether it is used: 40 channels fill whole vectors of 8 lanes,
    and not of 16. Images of 1 or 3 channels are users' arrays where they lie without gaps.
    """
    if conv.window.out_size != (1, 1) or conv.window.kernel != conv.window.in_size or conv.groups != 1:
        return None
    if conv.window.in_size == (1, 1) or layout.pitch != layout.channels:
        return None
    if layout.channels % 16 and layout.channels not in (1, 3):
        return None
    return Conv(window((1, 1), (1, 1)), size(conv.in_shape), conv.channels_out)


def same_memory(layout: Layout, output: Layout) -> bool:
    """Whether an epilogue's input can be read entry by entry beside the flattened output."""
    if layout.batched:
        return layout.shape == output.shape and layout.pitch == layout.channels
    return size(layout.shape) == 1


def flat_layout(layout: Layout) -> Layout:
    """All entries of a map as the channels of one pixel."""
    features = size(layout.shape)
    return Layout(1, 1, features, features, layout.dtype, layout.batched)
