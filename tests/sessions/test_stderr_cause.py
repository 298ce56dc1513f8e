"""Why an agent ended, found in its stderr: each text is what a real program wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.sessions import stderr_cause
from acpbot.sessions.stderr_cause import find_cause

NODE_ENGINE = """\
npm WARN EBADENGINE Unsupported engine {
npm WARN EBADENGINE   package: '@agentclientprotocol/codex-acp@2.6.0',
npm WARN EBADENGINE   required: { node: '>=22' },
npm WARN EBADENGINE   current: { node: 'v20.20.2', npm: '10.8.2' }
npm WARN EBADENGINE }
"""
NODE_EXPORT = """\
file:///usr/lib/node_modules/codex-acp/dist/index.js:3
import { styleText, stripVTControlCharacters } from "node:util";
         ^^^^^^^^^
SyntaxError: The requested module 'node:util' does not provide an export named 'styleText'
    at ModuleJob._instantiate (node:internal/modules/esm/module_job:180:21)
    at async ModuleJob.run (node:internal/modules/esm/module_job:263:5)
    at async onImport.tracePromise.__proto__ (node:internal/modules/esm/loader:547:26)

Node.js v20.9.0
"""
NODE_BUILTIN = """\
node:internal/modules/cjs/loader:1148
  throw err;
  ^

Error [ERR_UNKNOWN_BUILTIN_MODULE]: No such built-in module: node:sqlite
    at Module._load (node:internal/modules/cjs/loader:1007:13) {
  code: 'ERR_UNKNOWN_BUILTIN_MODULE'
}

Node.js v20.20.2
"""
NODE_MODULE = """\
node:internal/modules/cjs/loader:1228
  throw err;
  ^

Error: Cannot find module '/usr/lib/node_modules/x/index.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15)
    at Module._load (node:internal/modules/cjs/loader:1051:27) {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v22.23.3
"""
NODE_PACKAGE = """\
node:internal/modules/esm/resolve:873
  throw new ERR_MODULE_NOT_FOUND(packageName, fileURLToPath(base), null);
        ^

Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'zod' imported from /opt/agent/dist/index.js
    at packageResolve (node:internal/modules/esm/resolve:873:9)
    at moduleResolve (node:internal/modules/esm/resolve:946:18) {
  code: 'ERR_MODULE_NOT_FOUND'
}

Node.js v22.23.3
"""
NODE_CAUSE = """\
TypeError: fetch failed
    at node:internal/deps/undici/undici:13510:13
    at async main (file:///opt/agent/index.js:10:3) {
  [cause]: Error: connect ECONNREFUSED 127.0.0.1:1
      at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1611:16) {
    errno: -111,
    code: 'ECONNREFUSED',
    syscall: 'connect',
    address: '127.0.0.1',
    port: 1
  }
}

Node.js v22.23.3
"""
NODE_REJECTED = """\
node:internal/process/promises:394
      triggerUncaughtException(err, true /* fromPromise */);
      ^

[Error: ENOENT: no such file or directory, open '/etc/agent.json'] {
  errno: -2,
  code: 'ENOENT',
  syscall: 'open',
  path: '/etc/agent.json'
}

Node.js v22.23.3
"""
NODE_MEMORY = """\
<--- Last few GCs --->

[23:0x5581]    12345 ms: Mark-Compact 253.1 (262.4) -> 252.8 (262.7) MB, 220.19 / 0.00 ms

<--- JS stacktrace --->

FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory
----- Native stack trace -----

 1: 0xb82c78 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]
 2: 0xeed3e0 v8::Utils::ReportOOMFailure(v8::internal::Isolate*, char const*) [node]
Aborted (core dumped)
"""
NPM_404 = """\
npm error code E404
npm error 404 Not Found - GET https://registry.npmjs.org/codex-acpp - Not found
npm error 404
npm error 404  'codex-acpp@*' is not in this registry.
npm error 404
npm error 404 Note that you can also install from a
npm error 404 tarball, folder, http url, or git folder.
npm error A complete log of this run can be found in: /root/.npm/_logs/2026-11-28T09_41_02_117Z-debug-0.log
"""
NPM_NETWORK = """\
npm error code EAI_AGAIN
npm error syscall getaddrinfo
npm error errno EAI_AGAIN
npm error request to https://registry.npmjs.org/x failed, reason: getaddrinfo EAI_AGAIN registry.npmjs.org
npm error A complete log of this run can be found in:
npm error     /root/.npm/_logs/2026-11-28T09_41_02_117Z-debug-0.log
"""
NPM_RIGHTS = """\
npm ERR! code EACCES
npm ERR! syscall mkdir
npm ERR! path /usr/lib/node_modules/x
npm ERR! errno -13
npm ERR! Error: EACCES: permission denied, mkdir '/usr/lib/node_modules/x'
npm ERR!  [Error: EACCES: permission denied, mkdir '/usr/lib/node_modules/x'] {
npm ERR!   errno: -13,
npm ERR!   code: 'EACCES',
npm ERR!   syscall: 'mkdir',
npm ERR!   path: '/usr/lib/node_modules/x'
npm ERR! }

npm ERR! A complete log of this run can be found in: /root/.npm/_logs/x-debug-0.log
"""
PYTHON_MODULE = """\
Traceback (most recent call last):
  File "/usr/bin/hermes-acp", line 5, in <module>
    from hermes.acp import main
ModuleNotFoundError: No module named 'hermes'
"""
PYTHON_CHAIN = """\
Traceback (most recent call last):
  File "/opt/x.py", line 2, in <module>
    open("/x")
FileNotFoundError: [Errno 2] No such file or directory: '/x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/opt/x.py", line 4, in <module>
    raise RuntimeError("no configuration")
RuntimeError: no configuration
"""
RUST_PANIC = """\
thread 'main' panicked at src/main.rs:5:5:
called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound, message: "No such file or directory" }
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
RUST_ANYHOW = """\
Error: failed to load the configuration

Caused by:
    0: failed to parse /root/.codex/config.toml
    1: TOML parse error at line 3, column 1
"""
GO_PANIC = """\
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x47e]

goroutine 1 [running]:
main.main()
\t/root/x.go:6 +0x18
exit status 2
"""
CLAP = """\
error: unexpected argument '--acp' found

Usage: codex [OPTIONS] [PROMPT]

For more information, try '--help'.
"""
ARGPARSE = """\
usage: agent [-h] [--acp]
agent: error: unrecognized arguments: --acpp
"""
DOCKER = """\
docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?.
See 'docker run --help'.
"""
DOCKER_PULL = """\
Unable to find image 'nobody/agent:latest' locally
docker: Error response from daemon: pull access denied for nobody/agent, repository does not exist

Run 'docker run --help' for more information
"""
DEPRECATED = """\
Error: OPENAI_API_KEY is not set
(node:23) [DEP0040] DeprecationWarning: The `punycode` module is deprecated. Please use a userland alternative instead.
(Use `node --trace-deprecation ...` to show where the warning was created)
"""
UVX = """\
  \u00d7 No solution found when resolving tool dependencies:
  ╰─▶ Because hermes-agentt was not found in the package registry, your requirements are unsatisfiable.
"""
LIBRARY = """\
codex-acp: error while loading shared libraries: libssl.so.3: cannot open shared object file: No such file or directory
"""
COMMANDER = """\
codex-acp requires Node.js 22 or later. You are using v20.20.2.
Please upgrade Node.js.
"""


@pytest.mark.parametrize(
    ("text", "words", "missing"),
    [
        (NODE_ENGINE, "", "codex-acp needs node 22, this is 20"),
        (NODE_EXPORT, "SyntaxError: The requested module 'node:util'", "codex-acp needs a newer node, this is 20"),
        (NODE_BUILTIN, "No such built-in module: node:sqlite", "codex-acp needs a newer node, this is 20"),
        (COMMANDER, "requires Node.js 22", "codex-acp needs node 22, this is 20"),
        (
            "Node.js version 22+ is required, found v18.1.0\n",
            "Node.js version 22+",
            "codex-acp needs node 22, this is 18",
        ),
        (NODE_MODULE, "Error: Cannot find module '/usr/lib", "/usr/lib/node_modules/x/index.js was not found"),
        (NODE_PACKAGE, "Cannot find package 'zod' imported", "its module zod was not found"),
        (NODE_CAUSE, "connect ECONNREFUSED 127.0.0.1:1", ""),
        (NODE_REJECTED, "ENOENT: no such file or directory, open '/etc/agent.json'", ""),
        (NODE_MEMORY, "JavaScript heap out of memory", ""),
        (NPM_404, "'codex-acpp@*' is not in this registry", ""),
        (NPM_NETWORK, "request to https://registry.npmjs.org/x failed", ""),
        (NPM_RIGHTS, "EACCES: permission denied, mkdir '/usr/lib/node_modules/x'", ""),
        (PYTHON_MODULE, "ModuleNotFoundError: No module named 'hermes'", "its module hermes was not found"),
        (PYTHON_CHAIN, "RuntimeError: no configuration", ""),
        (RUST_PANIC, "called `Result::unwrap()` on an `Err` value", ""),
        (RUST_ANYHOW, "failed to load the configuration: TOML parse error at line 3, column 1", ""),
        (GO_PANIC, "panic: runtime error: invalid memory address", ""),
        (CLAP, "error: unexpected argument '--acp' found", ""),
        (ARGPARSE, "agent: error: unrecognized arguments: --acpp", ""),
        (DOCKER, "docker: Cannot connect to the Docker daemon", ""),
        (DOCKER_PULL, "docker: Error response from daemon: pull access denied", ""),
        (DEPRECATED, "Error: OPENAI_API_KEY is not set", ""),
        (UVX, "hermes-agentt was not found in the package registry", ""),
        ("sh: 1: codex-acp: not found\n", "codex-acp: not found", "the command codex-acp was not found"),
        ("bash: line 1: claude: command not found\n", "command not found", "the command claude was not found"),
        ("/usr/bin/env: \u2018node\u2019: No such file or directory\n", "env: ", "the command node was not found"),
        ("zsh: command not found: gemini\n", "gemini", "the command gemini was not found"),
        ('exec: "codex": executable file not found in $PATH\n', "codex", "the command codex was not found"),
        ("error: Failed to spawn: `hermes-acp`\n  Caused by: No such file or directory (os error 2)\n",
         "Failed to spawn", "the command hermes-acp was not found"),
        (LIBRARY, "libssl.so.3", "the library libssl.so.3 was not found"),
        (
            "codex-acp: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.39' not found (required by codex-acp)\n",
            "GLIBC_2.39",
            "codex-acp needs GLIBC 2.39",
        ),
        ("\x1b[31m2026-11-28T23:00:00.000Z ERROR codex_acp: no key\x1b[0m\nbye\n", "ERROR codex_acp: no key", ""),
        ("loading\nYou are not logged in. Please run `auggie login`.\n\n", "You are not logged in", ""),
        ("ssh: Could not resolve hostname far: Name or service not known\n", "Could not resolve hostname far", ""),
        ("Permission denied (publickey).\n", "Permission denied", ""),
        ("starting\nno luck\n", "no luck", ""),
        ("}\n", "", ""),
        ("Node.js v22.23.3\n", "", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_the_line_that_is_the_reason_is_found_and_what_is_missing_is_named(text: str, words: str, missing: str):
    found = find_cause(text.splitlines(), "codex-acp")
    assert words in found.line
    assert missing in found.missing
    if not words and text != NODE_ENGINE:
        assert found.text == ""
    if not missing:
        assert found.missing == ""


@given(st.lists(st.text(max_size=120), max_size=20))
def test_any_stderr_gives_one_bounded_line(lines: list[str]):
    found = find_cause(lines)
    assert len(found.line) <= 200
    assert "\n" not in found.text


def test_a_very_long_stderr_is_read_in_little_time():
    lines = ["error " * 3000 + "{" * 3000, "node " * 4000, "required " * 4000, "1: " * 5000] * 50
    assert find_cause(lines).line


def test_the_listed_causes_of_an_error_are_what_is_indented_right_below_its_head():
    lines = ["error: it failed", "Caused by:", "    0: no file", "    1: no folder", "", "    not listed", "end"]
    assert stderr_cause._listed_causes(lines) == {1, 2, 3}
    assert stderr_cause._listed_causes(["  caused by: it", " a", "b", " c"]) == {0, 1}
