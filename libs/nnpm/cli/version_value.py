"""A version as commands print it in JSON."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnpm.client import Version


def version_value(found: "Version") -> dict[str, Any]:
    """One version."""
    return {
        "version": found.version,
        "digest": found.digest,
        "state": found.state,
        "size": found.size,
        "license": found.license,
        "yanked": found.yanked,
        "yank_reason": found.yank_reason,
        "published": found.published,
    }
