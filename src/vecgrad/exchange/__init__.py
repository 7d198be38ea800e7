"""Weights to and from other libraries."""

from vecgrad.exchange._pytorch import export_pytorch, from_pytorch, import_pytorch, to_pytorch

__all__ = ["export_pytorch", "from_pytorch", "import_pytorch", "to_pytorch"]
