"""The log of a container, whole or followed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.resources import PODS

if TYPE_CHECKING:
    from datetime import datetime

    from tests.fakes.kubernetes.remote import Streams
    from tests.fakes.kubernetes.resources import Target


class Logs:
    """Serves `pods/log`."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams

    async def serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        pod = self.streams.store.get(PODS, target.namespace, target.name)
        name = request.query.get("container") or pod["spec"]["containers"][0]["name"]
        states = {one["name"]: one["state"] for one in pod["status"].get("containerStatuses") or []}
        if reason := states.get(name, {}).get("waiting", {}).get("reason"):
            about = "trying and failing to pull image" if "Pull" in reason else reason
            raise errors.bad_request(f'container "{name}" in pod "{target.name}" is waiting to start: {about}')
        if not pod["spec"].get("nodeName"):
            return web.Response(text="")
        _, container = self.streams.find(request, target)
        stamped = request.query.get("timestamps") in {"1", "true"}
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        kept = len(container.log)
        at = max(0, kept - int(request.query["tailLines"])) if "tailLines" in request.query else 0
        follows = request.query.get("follow") in {"1", "true"}
        news = asyncio.Event()

        def hand_on(_channel: int, _data: bytes) -> None:
            news.set()

        container.attached.add(hand_on)
        ended = asyncio.create_task(container.ended.wait())
        ended.add_done_callback(lambda _task: news.set())
        try:
            while True:
                news.clear()
                for moment, line in container.log[at:]:
                    await response.write(_stamped(moment, line) if stamped else line)
                at = len(container.log)
                if not follows or (container.ended.is_set() and not news.is_set()):
                    return response
                await news.wait()
        except ConnectionError:
            return response  # the client has gone
        finally:
            container.attached.discard(hand_on)
            ended.cancel()


def _stamped(moment: datetime, line: bytes) -> bytes:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() + line
