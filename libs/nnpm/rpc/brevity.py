"""Makes an error short enough for the trailing metadata that carries it.

A gRPC peer takes 8 KiB of metadata and drops the call at twice as much
(https://grpc.github.io/grpc/core/group__grpc__arg__keys.html, GRPC_ARG_MAX_METADATA_SIZE), and then the caller learns
nothing of what was wrong. The message travels twice: percent-encoded, where a byte may take three
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Status-Message), and within the details, in base64.
Errors quote what callers sent, so any of them may be long.
"""

from collections.abc import Mapping, Sequence

from nnpm.errors import FieldViolation

MOST_MESSAGE = 1_800
MOST_FACTS = 1_000
"""Of hint and metadata together."""
MOST_VIOLATIONS = 1_000
_MOST_VIOLATION = 300

_CUT = "..."
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}


def shorten(text: str, most: int) -> str:
    """`text`, cut where its percent-encoded form would take more than `most` bytes."""
    if encoded_size(text) <= most:
        return text
    left = most - len(_CUT)
    for end, character in enumerate(text):
        left -= encoded_size(character)
        if left < 0:
            return text[:end] + _CUT
    return text


def encoded_size(text: str) -> int:
    """Bytes of the percent-encoded form."""
    return sum(1 if byte in _PLAIN else 3 for byte in text.encode())


def shorten_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Metadata whose values, when they are too much together, have each been cut to an equal share."""
    if sum(encoded_size(key) + encoded_size(value) for key, value in facts.items()) <= MOST_FACTS:
        return dict(facts)
    share = MOST_FACTS // len(facts)
    return {key: shorten(value, max(len(_CUT), share - encoded_size(key))) for key, value in facts.items()}


def shorten_violations(violations: Sequence[FieldViolation]) -> list[FieldViolation]:
    """The first violations, as many as there is room for: at least one, if there is any."""
    kept: list[FieldViolation] = []
    left = MOST_VIOLATIONS
    for violation in violations:
        short = FieldViolation(
            shorten(violation.field, _MOST_VIOLATION // 3), shorten(violation.description, _MOST_VIOLATION)
        )
        left -= encoded_size(short.field) + encoded_size(short.description)
        if left < 0:
            break
        kept.append(short)
    return kept
