"""The artifact service: content-addressed files, stored once per namespace as deduplicated chunks in packs."""
