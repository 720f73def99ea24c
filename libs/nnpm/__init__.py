"""nnpm: the package manager and serving mesh for neural networks."""
