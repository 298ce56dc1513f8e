"""Agents of a container can't read the folder of the bot token, though they run as the same user."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from msgspec import structs

from acpbot.runtimes.local.hidden_folder import (
    kernel_has_landlock,
    landlock_works,
    makes_user_namespaces,
    token_folder,
)
from tests.support import configs
from tests.support.launched_agents import LIMIT, PYTHON_ENV

# In a process of its own: what no_new_privs takes away never comes back.
RUNS = """
    import asyncio, ctypes, os, sys
    from pathlib import Path
    from acpbot.runtimes.local.runtime import LocalRuntime
    from acpbot.runtimes.runtime import LaunchSpec

    class Sink:
        def data_received(self, data): os.write(1, data)
        def eof(self): pass

    async def main(script, folder):
        ctypes.CDLL(None).prctl(38, ctypes.c_ulong(1), 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        runtime = LocalRuntime(hidden=Path(folder))
        env = {"PATH": os.environ["PATH"]}
        spec = LaunchSpec(argv=("sh", "-c", script), cwd=Path.cwd(), env=env, session_id="one")
        process = await runtime.launch(spec, Sink())
        await process.wait()
        await process.aclose()
        os.write(1, "\\n".join(process.stderr.lines()).encode())
        await runtime.aclose()

    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def places(tmp_path):
    """A folder with the token, with links and a folder as the kubelet makes them, and another one beside it."""
    token = tmp_path / "etc" / "acpbot" / "..2026" / "discord-token"
    token.parent.mkdir(parents=True)
    token.write_text("the token\n")
    (token.parent.parent / "..data").symlink_to("..2026")
    (token.parent.parent / "discord-token").symlink_to("..data/discord-token")
    (tmp_path / "etc" / "other").write_text("another file\n")
    (tmp_path / "etc" / "way").symlink_to("acpbot")
    (tmp_path / "work").mkdir()
    return tmp_path


def run(places: Path, script: str) -> str:
    """What an agent says that is to be kept from the folder, on both its outputs."""
    if not kernel_has_landlock():
        pytest.skip("the kernel has no Landlock")
    command = [sys.executable, "-c", textwrap.dedent(RUNS), script, str(places / "etc" / "acpbot")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=True, cwd=places / "work", env=PYTHON_ENV
    )
    return done.stdout


WAYS = (
    "cat ../etc/acpbot/discord-token",
    "cat ../etc/acpbot/..2026/discord-token",
    "cat ../etc/way/discord-token",
    "setsid env -i cat ../etc/acpbot/discord-token",
    "cp ../etc/acpbot/discord-token copied; cat copied",
    "ln -s ../etc/acpbot/discord-token linked; cat linked",
    "ln ../etc/acpbot/..2026/discord-token hard && cat hard",
    "cat /proc/self/root$ETC/acpbot/discord-token",
    "cat /proc/$PPID/root$ETC/acpbot/discord-token",
    "mkdir new; mount --bind ../etc/acpbot new; cat new/discord-token",
)


def test_no_way_leads_to_the_token_and_everything_else_works(places):
    script = "; ".join(f"({way}) 2>&1; echo tried" for way in WAYS)
    script += "; cat ../etc/other; echo mine >own; mkdir d; mv own d/; cat d/own; ls ../etc/acpbot; head -1 /etc/passwd"
    said = run(places, f"ETC={places}/etc; {script}")
    assert "the token" not in said
    assert said.count("tried") == len(WAYS)
    rest = said.rpartition("tried")[2]
    assert rest.split()[:4] == ["another", "file", "mine", "discord-token"]
    assert "root:" in rest


def settings(token: Path):
    text = configs.DISCORD.replace('bot_token = "${DISCORD_BOT_TOKEN}"', f'bot_token_file = "{token}"')
    assert str(token) in text
    token.write_text("a.b.c")
    token.chmod(0o600)
    return configs.parse(text + configs.AGENT)


def yes() -> bool:
    return True


def no() -> bool:
    return False


def test_without_no_new_privs_nothing_is_taken_from_agents():
    assert ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 0, "a test has set no_new_privs for all"
    assert not landlock_works()


def test_only_a_folder_that_acpbot_can_not_change_is_hidden(tmp_path):
    own = settings(tmp_path / "discord-token")
    assert os.access(tmp_path, os.W_OK)
    assert token_folder(own, landlock=yes, namespaces=no) is None
    nobodys = structs.replace(own, discord=structs.replace(own.discord, bot_token_file=Path("/proc/sys/kernel/token")))
    if not os.access("/", os.W_OK):
        assert token_folder(nobodys, landlock=yes, namespaces=no) == Path("/proc/sys/kernel")
    assert token_folder(nobodys, landlock=no, namespaces=no) is None
    assert token_folder(nobodys, landlock=yes, namespaces=yes) is None


def test_without_a_token_there_is_nothing_to_hide():
    assert token_folder(configs.parse(configs.AGENT), landlock=yes, namespaces=no) is None


def test_whether_a_user_namespace_can_be_made_is_tried():
    made = subprocess.run(["unshare", "--user", "true"], check=False, capture_output=True)
    assert makes_user_namespaces() == (made.returncode == 0)
