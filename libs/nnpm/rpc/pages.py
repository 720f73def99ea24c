"""Lists in pages (https://google.aip.dev/158): one rule for sizes, and tokens that mean nothing to callers."""

import base64
import binascii

from nnpm.errors import InvalidArgument

DEFAULT_SIZE = 100
LARGEST_SIZE = 1_000


def page_size(asked: int) -> int:
    """How many items a page gets: 0 = 100. Raises InvalidArgument INVALID_PAGE_SIZE outside 0 to 1,000."""
    if not 0 <= asked <= LARGEST_SIZE:
        raise InvalidArgument("INVALID_PAGE_SIZE", f"page_size {asked} is not between 0 and {LARGEST_SIZE:,}")
    return asked or DEFAULT_SIZE


def page_token(last: str) -> str:
    """The token of the page behind the item named `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def last_seen(token: str) -> str:
    """The item that a page token names; empty for the first page. Raises InvalidArgument INVALID_PAGE_TOKEN."""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidArgument(
            "INVALID_PAGE_TOKEN", "page_token is not one that this service gave", hint="begin with the first page"
        ) from None
