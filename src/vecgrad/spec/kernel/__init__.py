"""Kernel specifications: each says exactly what one compiled function computes.

A spec and a ``Machine`` determine the code and nothing else does; the spec is the function's name, its
cache key and its test's id. Operands are listed in the order in which the function takes them.
"""

from vecgrad.spec.kernel._base import (
    Epilogue,
    KernelSpec,
    Pooling,
    Prologue,
    Unpooling,
    WeightBlocks,
    WeightGradientSpec,
    WeightsSpec,
)
from vecgrad.spec.kernel._conv import SECTION, ConvDwSpec, ConvDxSpec, ConvSpec, DwTile, PackSpec, Tile
from vecgrad.spec.kernel._dense import DenseDxSpec, DenseSpec, DenseTile
from vecgrad.spec.kernel._depthwise import DepthwiseDxSpec, DepthwiseSpec, DepthwiseTile
from vecgrad.spec.kernel._elementwise import (
    RECORD_BYTES,
    RECORD_FIELDS,
    CopyChannelsSpec,
    CopySpec,
    FlatMapSpec,
    FlatMeasureSpec,
    FlatSumSpec,
    KeepSpec,
    MapSpec,
    MergeMomentsSpec,
    MomentsSpec,
    PeakSpec,
    ReduceChannelsSpec,
    ReducePixelsSpec,
    SlabSumSpec,
)
from vecgrad.spec.kernel._pool import AvgPoolDxSpec, AvgPoolSpec, MaxPoolDxSpec, MaxPoolSpec
from vecgrad.spec.kernel._slide import SlideDxSpec, SlidePackSpec, SlideSpec, SlideTile
from vecgrad.spec.kernel._strassen import (
    StrassenDxSpec,
    StrassenPackSpec,
    StrassenSpec,
    StrassenTile,
)
from vecgrad.spec.kernel._winograd import (
    WinogradDwSpec,
    WinogradDxSpec,
    WinogradPackSpec,
    WinogradSpec,
    WinogradTile,
)

__all__ = [
    "RECORD_BYTES",
    "RECORD_FIELDS",
    "SECTION",
    "AvgPoolDxSpec",
    "AvgPoolSpec",
    "ConvDwSpec",
    "ConvDxSpec",
    "ConvSpec",
    "CopyChannelsSpec",
    "CopySpec",
    "DenseDxSpec",
    "DenseSpec",
    "DenseTile",
    "DepthwiseDxSpec",
    "DepthwiseSpec",
    "DepthwiseTile",
    "DwTile",
    "Epilogue",
    "FlatMapSpec",
    "FlatMeasureSpec",
    "FlatSumSpec",
    "KeepSpec",
    "KernelSpec",
    "MapSpec",
    "MaxPoolDxSpec",
    "MaxPoolSpec",
    "MergeMomentsSpec",
    "MomentsSpec",
    "PackSpec",
    "PeakSpec",
    "Pooling",
    "Prologue",
    "ReduceChannelsSpec",
    "ReducePixelsSpec",
    "SlabSumSpec",
    "SlideDxSpec",
    "SlidePackSpec",
    "SlideSpec",
    "SlideTile",
    "StrassenDxSpec",
    "StrassenPackSpec",
    "StrassenSpec",
    "StrassenTile",
    "Tile",
    "Unpooling",
    "WeightBlocks",
    "WeightGradientSpec",
    "WeightsSpec",
    "WinogradDwSpec",
    "WinogradDxSpec",
    "WinogradPackSpec",
    "WinogradSpec",
    "WinogradTile",
]
