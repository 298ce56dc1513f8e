"""Why an agent has ended, found in what it wrote on its stderr. Pure.

The last line is rarely the reason: runtimes write stack traces, their own version and hints after it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE_MOST: Final = 200
_LINES_MOST: Final = 100
_READ_MOST: Final = 500

_NPM: Final = re.compile(r"^npm (?:ERR!|error|warn|WARN)\s?")
# Lines that follow or surround a reason, and never are one.
_NOISE: Final = re.compile(
    r"""^(?:
    [\W\d_]*                                                       # brackets, carets, rules
    | Node\.js\ v[\d.]+ | Bun\ v[\d.]+.*
    | (?:at|async)\ .* | File\ ".*",\ line\ \d+.* | \^+ | ~+
    | throw\ .* | return\ .* | import\ .* | const\ .*
    | (?:file://|node:)\S+:\d+$ | /\S+:\d+$ | triggerUncaughtException.*
    | \(Use\ `node\ .* | \(node:\d+\)\ .* | .*DeprecationWarning.* | .*ExperimentalWarning.*
    | A\ complete\ log\ of\ this\ run.* | /\S+-debug-\d+\.log$ | .*/_logs/.* | notice\b.*
    | (?:code|errno|syscall|path|dest|command|signal|workspace|location|gyp\ verb)\s.* | 404\ *(?:Note\ that.*)?
    | \d+\ Note\ that.* | This\ is\ a\ problem\ related\ to.* | This\ is\ probably\ not\ a\ problem\ with\ npm.*
    | EBADENGINE\b.* | (?:requireStack|\w+):\s.*,$ | \w+:\s(?:'.*'|-?\d+|\[\]|\[|\{|undefined|null)$
    | Traceback\ \(most\ recent.* | During\ handling\ of.* | The\ above\ exception\ was.* | Caused\ by:$
    | Stack\ trace:?.* | stack\ backtrace:.* | \d+:\ (?:0x|\w+::).* | <--- .* | -+\ .*\ -+$ | ----- .*
    | goroutine\ \d+.* | exit\ status\ \d+ | \[signal\ SIG.*
    | note:\ .*
    | hint:\ .* | help:\ .* | tip:\ .* | For\ more\ information.* | usage:.* | Try\ '.* | See\ '.* | Run\ '.*
    | Aborted.* | Segmentation\ fault.{0,15}\(core\ dumped\)\ at.*
    )$""",
    re.VERBOSE | re.IGNORECASE,
)
_STRONG: Final = re.compile(
    r"(?:^|[\s\[(])\w*(?:Error|Exception)(?:\s*\[\w+\])?(?::|\b.*\]\s*\{?$|\s\()"
    r"|\b(?:error|fatal|panic|critical)\b[^\w]*[: \]]"
    r"|\bERROR\b|\bFATAL\b|command not found|error while loading shared|not found \(required by",
    re.IGNORECASE,
)
_WEAK: Final = re.compile(
    r"not found|no such|cannot|can't|could ?n[o']t|unable to|failed|failure|denied|refused|not logged in|log ?in\b"
    r"|not authenticated|unauthori[sz]ed|forbidden|requires|required|unsupported|not supported|unrecogni[sz]ed"
    r"|unknown|unexpected|not set|missing|invalid|expired|must be|timed out|out of memory|no space|not in this registry"
    r"|is required|does not exist|already in use",
    re.IGNORECASE,
)
_CAUSED: Final = re.compile(r"^\s+(?:\d+: )?(\S.*)$")
_STAMP: Final = re.compile(r"^\[?\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?\]?\s+")
_MODULE_MISSING: Final = re.compile(
    r"No module named '?(?P<python>[\w.]+)"
    r"|Cannot find (?:module|package) ['\"](?P<node>[^'\"]+)['\"]"
)
_COMMAND_MISSING: Final = re.compile(
    r"(?:^|: )(?P<a>[\w.+/@-]+): (?:command )?not found$"
    r"|env: [\u2018'`\"]?(?P<b>[^\u2019'\"\s:]+)[\u2019'\"]?: No such file or directory"
    r"|exec: \"(?P<c>[^\"]+)\": executable file not found"
    r"|spawn (?P<d>\S+) ENOENT"
    r"|command not found: (?P<e>\S+)"
    r"|Failed to spawn: `(?P<f>[^`]+)`"
)
_LIBRARY_MISSING: Final = re.compile(r"error while loading shared libraries: (?P<a>[^:\s]+):.*No such file")
_LIBC_OLD: Final = re.compile(r"version [`'](?P<a>GLIBC(?:XX)?_[\d.]+)' not found")
_NODE_WANTED: Final = re.compile(
    r"required: \{[^}]*node: '(?P<a>[^']+)'"
    r"|(?:requires?|needs?|wants?|expected|minimum|supports?)\b[^\n]{0,40}?\bnode(?:\.?js)?\b"
    r"[^\d\n]{0,30}(?P<b>\d+(?:\.\d+)*)"
    r"|\bnode(?:\.?js)?(?: version)?[^\d\n]{0,12}(?P<c>\d+(?:\.\d+)*)(?:\+| or (?:later|newer|higher|above))"
    r"|\bnode(?:\.?js)?(?: version)?[^\d\n]{0,12}(?P<d>\d+(?:\.\d+)*)[^\n]{0,20}\b(?:is|are) required",
    re.IGNORECASE,
)
_NODE_HERE: Final = re.compile(
    r"current: \{[^}]*node: '(?P<a>[^']+)'"
    r"|(?:current(?:ly)?|using|running|found|got|have|detected|this is|you are on|your version)\b"
    r"[^\d\n]{0,30}(?P<b>\d+(?:\.\d+)+)"
    r"|^Node\.js v(?P<c>[\d.]+)",
    re.IGNORECASE | re.MULTILINE,
)
_NODE_OLD: Final = re.compile(
    r"The requested module 'node:\w+[\w/]*' does not provide an export"
    r"|No such built-in module: node:"
    r"|(?:ReferenceError: (?:File|WebSocket|CustomEvent|navigator|fetch|Headers)"
    r"|TypeError: \w+(?:\.\w+)?\.(?:withResolvers|try|getBuiltinModule|fromAsync)) is not "
)


class Cause(NamedTuple):
    """``line`` looks like the reason, empty where there is none; ``missing`` names what the agent needs, or empty."""

    line: str
    missing: str

    @property
    def text(self) -> str:
        """Both, to end a sentence with; empty where nothing is known."""
        if not self.line or not self.missing:
            return self.missing or (f"it wrote: {self.line}" if self.line else "")
        return f"{self.missing} (it wrote: {self.line})"


def find_cause(lines: Sequence[str], program: str = "it") -> Cause:
    """The reason in the lines of an agent's stderr; ``program`` is what the agent is called in ``missing``."""
    lines = lines[-_LINES_MOST:]
    cleaned = [one_line(line, _READ_MOST) for line in lines]
    bare = [_NPM.sub("", line).strip() for line in cleaned]
    listed = _listed_causes(lines)
    useful = [index for index, line in enumerate(bare) if line and index not in listed and _NOISE.match(line) is None]
    chosen = next((index for index in reversed(useful) if _STRONG.search(bare[index])), None)
    if chosen is None:
        chosen = next((index for index in reversed(useful) if _WEAK.search(bare[index])), None)
    if chosen is None:
        chosen = useful[-1] if useful else None
    line = "" if chosen is None else _STAMP.sub("", bare[chosen])
    if chosen is not None and chosen + 1 < len(bare) and re.search(r"panicked at \S+:\d+:\d+:$", line):
        line = bare[chosen + 1]
    elif chosen is not None:
        line = _with_root(line, lines[chosen + 1 :])
    return Cause(line[:_LINE_MOST], _missing(cleaned, line, program))


def _listed_causes(lines: Sequence[str]) -> set[int]:
    """The lines below an error that list its causes: 'Caused by:' and what is indented after it."""
    found: set[int] = set()
    for index, line in enumerate(lines):
        is_head = line.strip().lower().startswith("caused by:")
        if is_head or (index - 1 in found and line[:1].isspace() and line.strip()):
            found.add(index)
    return found


def _with_root(line: str, after: Sequence[str]) -> str:
    """An error of a Rust program with the last of the causes that it lists below."""
    found = next((index for index, text in enumerate(after[:4]) if text.strip().lower().startswith("caused by:")), None)
    if found is None:
        return line
    same_line = after[found].strip()[len("caused by:") :].strip()
    causes = [same_line] if same_line else []
    for text in after[found + 1 :]:
        match = _CAUSED.match(text)
        if match is None:
            break
        causes.append(one_line(match[1], _LINE_MOST))
    return f"{line.removesuffix(':')}: {causes[-1]}" if causes else line


def _missing(lines: Sequence[str], line: str, program: str) -> str:
    whole = "\n".join(_NPM.sub("", text).replace("EBADENGINE", "").strip() for text in lines)
    wanted, here = _first(_NODE_WANTED, whole), _first(_NODE_HERE, whole)
    if wanted and here and _number(wanted) > _number(here):
        return f"{program} needs node {_short(wanted)}, this is {_short(here)}"
    if _NODE_OLD.search(line):
        this = f", this is {_short(here)}" if here else ""
        return f"{program} needs a newer node{this}"
    if found := _first(_MODULE_MISSING, line):
        return f"its module {found} was not found; install the agent again"
    if found := _first(_COMMAND_MISSING, line):
        return f"the command {found} was not found; install it, or add its folder to the agent's PATH"
    if found := _first(_LIBRARY_MISSING, line):
        return f"the library {found} was not found; install it"
    if found := _first(_LIBC_OLD, line):
        return f"{program} needs {found.replace('_', ' ')}, and this system has an older one"
    return ""


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return "" if match is None else next((group for group in match.groups() if group), "")


def _number(version: str) -> tuple[int, ...]:
    """A version or range such as '>=22.5' or '^20.19.0 || >=22.12' as the lowest numbers that it names."""
    found = re.search(r"\d+(?:\.\d+)*", version)
    return () if found is None else tuple(int(part[:9]) for part in found[0].split("."))


def _short(version: str) -> str:
    numbers = _number(version)
    while len(numbers) > 1 and (numbers[-1] == 0 or len(numbers) > 2):  # noqa: PLR2004 - major and minor
        numbers = numbers[:-1]
    return ".".join(
        str(number) for number in (numbers[:1] if not version.strip().startswith((">", "^", "~")) else numbers)
    )
