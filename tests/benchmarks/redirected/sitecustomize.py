"""Points any program's discord.py at the addresses that its environment names, and knows no host but loopback.

Python imports this module at its start where its folder is on PYTHONPATH (https://docs.python.org/3/library/site.html).
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

API_BASE = os.environ.get("PEER_API_BASE")
GATEWAY_URL = os.environ.get("PEER_GATEWAY_URL")
LAST = "discord.client"
"""It imports the two modules that hold an address."""


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads that module as it is, and changes the addresses then."""

    def __init__(self) -> None:
        self._loader: importlib.abc.Loader | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname != LAST:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        assert self._loader is not None
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert self._loader is not None
        self._loader.exec_module(module)
        import yarl  # noqa: PLC0415 - only a program that has discord.py has it
        from discord.gateway import DiscordWebSocket  # noqa: PLC0415 - the same
        from discord.http import Route  # noqa: PLC0415 - the same

        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = API_BASE or "", yarl.URL(GATEWAY_URL or "")


_getaddrinfo = socket.getaddrinfo


def loopback_only(host: Any, *arguments: Any, **keywords: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "localhost", "127.0.0.1", "::1"):
        raise socket.gaierror(socket.EAI_NONAME, f"there is only loopback, and not {name}")
    return _getaddrinfo(host, *arguments, **keywords)


if API_BASE and GATEWAY_URL:
    socket.getaddrinfo = loopback_only
    sys.meta_path.insert(0, Finder())
