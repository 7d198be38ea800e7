"""The paper, executable: plain NumPy, float64, written to be read. The judge of everything compiled.

``tensors``, ``unfold``, ``indexmap``, ``selection``, ``convolution`` and ``pooling`` keep the paper's order:
images D × H × W, column-major vec. ``layout`` relates it to channels-last arrays, on which ``ops`` holds the
slow twin of each compiled primitive. ``activations``, ``losses`` and ``updates`` take arrays of any layout.
``equations`` runs every numbered formula; ``calculus`` differentiates without one.

Functions compute in the floating dtype that they are given, integers in float64.
"""
