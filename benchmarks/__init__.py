"""The benchmark behind `scripts/bench`: the mesh and its peers, in one run, on the same models and bodies."""
