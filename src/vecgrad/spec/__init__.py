"""The vocabulary: frozen records that every room may read. Nothing here computes with arrays."""
