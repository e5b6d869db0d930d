"""Core ML packages: what may be asked for, the graphs, their conversion, compression and metadata."""
