"""Breaks a mesh of its own under load, and judges every call afterwards: `scripts/chaos`."""
