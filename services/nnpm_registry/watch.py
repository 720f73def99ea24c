"""Following the event stream: from a resume token on, each event once, in order, across restarts."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator

from nnpm.errors import InvalidArgument, OutOfRange, Unavailable
from nnpm.rpc.pause import pause
from nnpm.sql.database import Database
from nnpm_registry.records import Event
from nnpm_registry.store import events

_INTERVAL_S = 0.2
_RENEWAL_S = 20.0
_AT_ONCE = 500
_FORM = "1:"


class Watch:
    """Reads the event table again and again: whoever wrote an event, this process or another, it is found there."""

    def __init__(self, database: Database, stop: asyncio.Event) -> None:
        self._database = database
        self._stop = stop

    async def follow(self, token: str, package: str) -> AsyncIterator[tuple[Event | None, str]]:
        """Events behind the token, each with the token to go on from; now and then a token alone.

        The first comes at once and has no event. An empty token is this moment; an empty package is all. Ends with
        Unavailable SERVER_STOPPING.

        Raises InvalidArgument INVALID_RESUME_TOKEN, OutOfRange UNKNOWN_RESUME_TOKEN.
        """
        newest = await self._database.read(events.last)
        position = _position(token, newest) if token else newest
        yield None, resume_token(position)
        loop = asyncio.get_running_loop()
        told = loop.time()
        while not self._stop.is_set():
            found, position = await self._database.read(events.after, position, package, _AT_ONCE)
            for event in found:
                yield event, resume_token(event.sequence)
            if found or loop.time() - told > _RENEWAL_S:
                told = loop.time()
                yield None, resume_token(position)
            if len(found) < _AT_ONCE:
                await pause(self._stop, _INTERVAL_S)
        raise Unavailable(
            "SERVER_STOPPING", "the registry is shutting down", hint="go on from the last resume token", retry_after=1
        )


def resume_token(sequence: int) -> str:
    """The token behind an event."""
    return base64.urlsafe_b64encode(f"{_FORM}{sequence}".encode()).decode().rstrip("=")


def _position(token: str, newest: int) -> int:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    number = text.removeprefix(_FORM)
    if not (text.startswith(_FORM) and number.isascii() and number.isdigit() and len(number) < 19):
        raise InvalidArgument(
            "INVALID_RESUME_TOKEN", "resume_token is not one that a registry gave", hint="begin with an empty one"
        )
    if int(number) > newest:
        raise OutOfRange(
            "UNKNOWN_RESUME_TOKEN",
            f"resume_token stands behind event {number}, but this registry has {newest}",
            hint="it comes from another registry; begin with an empty one, and read what you missed",
        )
    return int(number)
