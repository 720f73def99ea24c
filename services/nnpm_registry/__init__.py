"""The registry: owns namespaces, packages, versions and tags. Run it with `python -m nnpm_registry`."""
