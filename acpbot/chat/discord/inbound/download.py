"""Downloads files that people attach: a limited number of bytes, whatever the server announces and sends."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import yarl

from acpbot.aio import retry
from acpbot.chat.discord.inbound import content
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.acp.schema import PromptCapabilities
    from acpbot.aio import Backoff, WakeableBackoff

log = get_logger(__name__)

SECONDS: Final = 30.0
"""How long one file may take, all tries together."""

NOT_DOWNLOADED: Final = "I couldn't download it"
_TRIES: Final = 3
_CHUNK: Final = 64 * 1024


class NotFetched(Exception):
    """Why a file could not be downloaded, as a clause."""


class _TemporaryError(Exception):
    """Another try may help."""


class Downloaded(NamedTuple):
    """Files as content blocks. ``names`` are those of the files that have one, ``notes`` sentences on the others."""

    blocks: list[dict[str, Any]]
    names: set[str]
    notes: list[str]


NONE: Final = Downloaded([], set(), [])


async def download(
    plan: content.Plan, capabilities: PromptCapabilities | None, most: int, backoff: Backoff | WakeableBackoff
) -> Downloaded:
    """Download the files of a plan, one after the other; ``capabilities`` and ``most`` as in :func:`content.plan`."""
    downloaded = Downloaded([], set(), list(plan.refused))
    for wanted in plan.accept:
        try:
            async with asyncio.timeout(SECONDS):
                data = await fetch(wanted.url, most, backoff)
        except (NotFetched, TimeoutError) as error:
            reason = str(error) or f"it took more than {SECONDS:.0f} s"
            log.info("attachment_not_downloaded", name=wanted.filename, reason=reason)
            downloaded.notes.append(content.skipped(NOT_DOWNLOADED, wanted.filename))
            continue
        taken = content.blocks(wanted.filename, data, capabilities, most)
        downloaded.blocks.extend(taken.blocks)
        downloaded.notes.extend(taken.notes)
        if taken.blocks:
            downloaded.names.add(wanted.filename)
    return downloaded


async def fetch(url: str, most: int, backoff: Backoff | WakeableBackoff) -> bytes:
    """The file's bytes; of a file with more than ``most``, at least one byte more than that and not all of them.

    No Content-Encoding is accepted (RFC 9110): what a server compresses could decompress to any size. Raises NotFetched
    after three tries.
    """
    try:
        return await retry(
            partial(_fetch, url, most),
            on=(_TemporaryError, aiohttp.ClientError, OSError),
            backoff=backoff,
            attempts=_TRIES,
        )
    except _TemporaryError as error:
        raise NotFetched(str(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise NotFetched("the connection was lost") from error


async def _fetch(url: str, most: int) -> bytes:
    plain = {"Accept-Encoding": "identity"}
    address = yarl.URL(url, encoded=True)  # its signature covers this very text
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(address, headers=plain) as response,
    ):
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _TemporaryError(f"Discord answered {response.status}")
        if response.status != HTTPStatus.OK:
            raise NotFetched(f"Discord answered {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise NotFetched("it came compressed")
        data = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            data += chunk
            if len(data) > most:
                break
        return bytes(data)
