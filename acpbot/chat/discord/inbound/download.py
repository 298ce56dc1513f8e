"""Files that people attach, fetched: so many bytes and no more, whatever the server says and sends."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
import yarl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS: Final = 30.0
"""How long a caller should wait for one file, all tries together."""

_TRIES: Final = 3
_CHUNK: Final = 64 * 1024


class NotFetched(Exception):
    """Why a file could not be had, as a clause for people."""


async def fetch(url: str, most: int, pause: Callable[[int], Awaitable[None]]) -> bytes:
    """The file's bytes; of one that has more than ``most``, at least one byte more than that and not all of them.

    It is asked for as it is and taken as it comes: what a server packs (Content-Encoding, RFC 9110) could unpack to any
    size. ``pause`` waits before another try, and is told which failure it was (1 or more). Raises NotFetched.
    """
    failures = 0
    while True:
        try:
            return await _fetch(url, most)
        except (_Again, aiohttp.ClientError, OSError) as error:
            failures += 1
            if failures == _TRIES:
                raise NotFetched(str(error) if isinstance(error, _Again) else "the connection was lost") from error
        await pause(failures)


class _Again(Exception):
    """Another try may help."""


async def _fetch(url: str, most: int) -> bytes:
    asked = {"Accept-Encoding": "identity"}
    address = yarl.URL(url, encoded=True)  # it is signed as it stands
    async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(address, headers=asked) as response:
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _Again(f"Discord answered {response.status}")
        if response.status != HTTPStatus.OK:
            raise NotFetched(f"Discord answered {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise NotFetched("it came packed")
        data = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            data += chunk
            if len(data) > most:
                break
        return bytes(data)
