"""The MCP servers of an agent: how they are read, what an error says, and that no secret is shown."""

from __future__ import annotations

import pytest

from acpbot.config.describe import describe
from acpbot.config.mcp_servers import McpServer
from tests.support.configs import AGENT, DISCORD, ENVIRON, TOKEN, parse, problem

KEYS = ENVIRON | {"KEY": "sk-secret-of-the-server", "HOST_NAME": "wiki.example"}
SERVERS = (
    AGENT
    + """
mcp_servers = [
    { name = "docs", command = "npx", args = ["-y", "${KEY}"], env = { A = "${KEY}", B = "literal-secret" } },
    { name = "wiki", url = "https://${HOST_NAME}/mcp/", headers = { Authorization = "Bearer ${KEY}" } },
    { name = "old", type = "sse", url = "http://127.0.0.1:9/sse?token=query-secret" },
]
"""
)


def test_servers_are_read_with_their_variables():
    docs, wiki, old = parse(SERVERS, KEYS).agents["default"].mcp_servers
    assert (docs.name, docs.command, docs.args, docs.transport) == (
        "docs",
        "npx",
        ("-y", "sk-secret-of-the-server"),
        "stdio",
    )
    assert docs.env == {"A": "sk-secret-of-the-server", "B": "literal-secret"}
    assert (wiki.url, wiki.transport) == ("https://wiki.example/mcp/", "http")
    assert wiki.headers == {"Authorization": "Bearer sk-secret-of-the-server"}
    assert (old.url, old.transport) == ("http://127.0.0.1:9/sse?token=query-secret", "sse")


def test_a_table_for_each_server_means_the_same():
    tables = AGENT + '[[agent.mcp_servers]]\nname = "a"\ncommand = "/bin/a"\n[agent.mcp_servers.env]\nX = "1"\n'
    line = AGENT + 'mcp_servers = [{ name = "a", command = "/bin/a", env = { X = "1" } }]'
    assert parse(tables) == parse(line)
    assert parse(line).agents["default"].mcp_servers == (McpServer(name="a", command="/bin/a", env={"X": "1"}),)


def test_what_is_shown_holds_no_secret():
    settings = parse(SERVERS, KEYS)
    shown = describe(settings)
    assert "secret" not in (shown + repr(settings)).replace("secrets =", "").replace("secrets=", "")
    (line,) = [line for line in shown.splitlines() if line.startswith("mcp_servers")]
    assert line == (
        'mcp_servers = [{ name = "docs", command = "npx", args = ["-y", "${KEY}"], '
        'env = { A = "${KEY}", B = "***" } }, '
        '{ name = "wiki", url = "https://${HOST_NAME}/mcp/", type = "http", headers = { Authorization = "***" } }, '
        '{ name = "old", url = "http://***", type = "sse" }]'
    )


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ('"npx"', 'must be a list of MCP servers, not one with "npx"'),
        ("{}", "has a server without a name"),
        ('{ name = "a b", command = "c" }', "the server name must be 1 to 64 of a-z, A-Z, 0-9, _ and -"),
        ('{ name = "a" }', 'the server "a" has neither command nor url'),
        ('{ name = "a", command = "c", url = "https://h" }', "has both command and url"),
        ('{ name = "a", command = "bin/c" }', 'the server "a" command must be the name of a program'),
        ('{ name = "a", command = "npx -y c" }', 'write command = "npx" and args = ["-y", "c"]'),
        ('{ name = "a", comand = "c" }', "has no key comand; did you mean command?"),
        ('{ name = "a", command = "c", headers = {} }', "has headers, which belongs to a server with url"),
        ('{ name = "a", command = "c", type = "sse" }', "has type, which belongs to a server with url"),
        ('{ name = "a", url = "https://h", env = {} }', "has env, which belongs to a server with command"),
        ('{ name = "a", url = "ftp://h" }', "url must be a URL that begins with https:// or http://"),
        ('{ name = "a", url = "https://h", type = "ws" }', 'type must be "http" or "sse", not "ws"'),
        ('{ name = "a", url = "https://h", headers = { "A B" = "1" } }', 'one with the name "A B"'),
        ('{ name = "a", url = "https://h", headers = { A = "1", a = "2" } }', "one with a twice; remove one"),
        ('{ name = "a", url = "https://h", headers = { A = "1\\r\\nB: 2" } }', "A holds a control character"),
        ('{ name = "a", url = "https://h", headers = { A = "${NOPE}" } }', "environment variable NOPE"),
        ('{ name = "a", command = "c" }, { name = "A", command = "d" }', 'two servers with the name "A"; rename one'),
    ],
)
def test_a_server_that_does_not_fit_is_refused_with_the_way_out(server: str, words: str):
    found = problem(f"{AGENT}mcp_servers = [{server}]")
    assert found.startswith("[agent] mcp_servers")
    assert words in found


@pytest.mark.parametrize(
    "server",
    [
        'command = "c", env = { T = "${DISCORD_BOT_TOKEN}" }',
        'command = "c", args = ["--token=${DISCORD_BOT_TOKEN}"]',
        'url = "https://h", headers = { Authorization = "Bot ${DISCORD_BOT_TOKEN}" }',
        'url = "https://h/?token=${DISCORD_BOT_TOKEN}"',
        f'url = "https://h", headers = {{ Authorization = "{TOKEN}" }}',
    ],
)
def test_no_server_gets_the_bot_token(server: str):
    found = problem(f'{DISCORD}{AGENT}mcp_servers = [{{ name = "a", {server} }}]')
    assert found.startswith("[agent] mcp_servers a ")
    assert found.endswith("would give the bot token to the agent; leave it out")
