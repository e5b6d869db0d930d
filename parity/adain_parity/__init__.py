"""Backends against PyTorch: the demo and its gallery; the matrix and its verdict come next (docs/roadmap.md)."""
