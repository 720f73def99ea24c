"""SemVer precedence as bytes, so that a database sorts versions, and pages through them, as SemVer does."""

from nnpm.package.versions import Version

_END = b"\x00"
_NUMBER = b"\x01"
_WORD = b"\x02"
_RELEASE = b"\x01"


def precedence(version: Version) -> bytes:
    """A key that compares, byte by byte, as `version` compares; no two versions share one.

    Numbers of the core are 8 bytes. Identifiers of a pre-release are marked number before word, a shorter list before
    its continuation, and a release behind all its pre-releases. Build metadata comes last and counts by its text.
    """
    core = b"".join(number.to_bytes(8) for number in (version.major, version.minor, version.patch))
    kind = b"".join(map(_identifier, version.prerelease)) + _END if version.prerelease else b""
    build = b"".join(_WORD + part.encode() + _END for part in version.build)
    return core + (_END + kind if version.prerelease else _RELEASE) + build + _END


def _identifier(text: str) -> bytes:
    if not text.isdigit():
        return _WORD + text.encode() + _END
    value = int(text)
    size = (value.bit_length() + 7) // 8
    return _NUMBER + size.to_bytes(1) + value.to_bytes(size)
