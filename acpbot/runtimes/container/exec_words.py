"""The command that runs a command of an operator in an agent's image: `acpbot exec` becomes the engine's client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from acpbot.errors import AgentStartError
from acpbot.runtimes.container import words
from acpbot.runtimes.container.engine import Engine, EngineUnreachable, environment, find

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from acpbot.config.settings import AgentSettings

_SHELL = "/bin/sh"


async def exec_words(
    settings: AgentSettings, home: Path, command: Sequence[str], environ: Mapping[str, str], *, on_terminal: bool
) -> tuple[list[str], dict[str, str]]:
    """Return the words and the environment of the client that runs ``command``, a shell where it is empty.

    It runs in a container of its own, confined as the agent's are, with ``home``, the agent's login folder, as HOME.
    The client passes its exit status on. Raises AgentStartError where the engine can't be used.
    """
    place = settings.container
    if place.image is None:
        raise AgentStartError('cannot run a command: runtime = "container" needs an image; set image in its table')
    name, program = find(place.engine, environ)
    engine = Engine(name, program, environ)
    try:
        info = await engine.info()
    except EngineUnreachable as error:
        problem = f"{engine.title} can't be used: {error.strerror}; check that `{name} info` works"
        raise AgentStartError(f"cannot run a command: {problem}") from error
    finally:
        engine.close()
    client_environ = environment(environ)
    own = {name: environ[name] for name in (*settings.inherit_env, "TERM") if name in environ}
    variables, more = words.environment_words({"HOME": str(home), **own, **settings.env}, client_environ)
    pull = "always" if place.pull in {"always", "newer"} else place.pull
    argv = [program, "run", "--rm", "--init", "--interactive", f"--pull={pull}"]
    if on_terminal:
        argv.append("--tty")
    argv += words.confinement(info, words.Ids(os.getuid(), os.getgid()))
    if place.network != "default":
        argv += ["--network", place.network]
    folder = home if settings.working_dir is None else settings.working_dir
    for path in dict.fromkeys((home, folder)):
        argv += ["--mount", words.mount(words.Bind(path, path))]
    for volume in place.volumes:
        argv += ["--volume", volume]
    argv += [*variables, "--workdir", str(folder)]
    first, *rest = command or [_SHELL]
    return [*argv, "--entrypoint", first, place.image, *rest], {**client_environ, **more}
