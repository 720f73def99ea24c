"""What every service holds requests to: request ids (https://google.aip.dev/155) and field masks (/161)."""

from collections.abc import Collection

from nnpm.errors import FieldViolation, InvalidArgument

_MAX_REQUEST_ID = 64


def check_request_id(request_id: str) -> str:
    """Returns it when it is short enough, else raises InvalidArgument INVALID_REQUEST_ID."""
    if len(request_id) > _MAX_REQUEST_ID:
        raise InvalidArgument(
            "INVALID_REQUEST_ID", f"a request id has at most {_MAX_REQUEST_ID} characters, not {len(request_id)}"
        )
    return request_id


def masked_fields(paths: Collection[str], fields: Collection[str]) -> set[str]:
    """The fields that a mask names; all of `fields` when it is empty. Raises InvalidArgument INVALID_FIELD_MASK."""
    unknown = sorted(set(paths) - set(fields))
    if unknown:
        named = ", ".join(path[:100] for path in unknown[:20])
        raise InvalidArgument(
            "INVALID_FIELD_MASK",
            f"cannot update {named}",
            hint=f"an update mask may name {', '.join(sorted(fields))}",
            violations=[FieldViolation("update_mask", f"{path[:100]!r} cannot be updated") for path in unknown[:20]],
        )
    return set(paths) or set(fields)
