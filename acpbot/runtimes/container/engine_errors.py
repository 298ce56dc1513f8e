"""What an engine's client says on its stderr, as a reason and a way out for operators. Pure.

The sentences are those of Podman (github.com/containers/podman, containers/image) and of Docker (github.com/moby/moby,
docker/cli), which give no codes.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from acpbot.text import cut, terminal_text

Kind = Literal["unreachable", "not_permitted", "image", "registry", "no_space", "platform", "other"]

_REASON_CHARS: Final = 300
_NOISE: Final = re.compile(r'^(?:time="[^"]*" level=\w+ msg=|WARNING: |warning: |WARN\[\d+\] )')
_PREFIX: Final = re.compile(r"^(?:Error: |Error response from daemon: |docker: |podman: |error: )+")


class Problem(NamedTuple):
    """Why a call of an engine has failed: ``reason`` and ``way_out`` are clauses for operators."""

    kind: Kind
    reason: str
    way_out: str


class _Rule(NamedTuple):
    kind: Kind
    pattern: re.Pattern[str]
    reason: str
    way_out: str


def _rule(kind: Kind, patterns: tuple[str, ...], reason: str, way_out: str) -> _Rule:
    return _Rule(kind, re.compile("|".join(patterns), re.IGNORECASE), reason, way_out)


# In this order: the first one that fits is the cause.
_OF_ENGINE: Final = (
    _rule(
        "not_permitted",
        ("permission denied while trying to connect", r"dial unix [^\n]*: connect: permission denied"),
        "the daemon's user may not use the container engine",
        "add the user to the engine's group, or use rootless Podman",
    ),
    _rule(
        "unreachable",
        (
            "cannot connect to the docker daemon",
            "is the docker daemon running",
            "(?:unable|failed|cannot) (?:to )?connect to (?:podman|the docker api)",
            "error during connect",
            r"dial unix [^\n]*: connect: ",
        ),
        "the container engine can't be reached",
        "start it",
    ),
    _rule(
        "no_space",
        ("no space left on device", "disk quota exceeded"),
        "there is no space left where the container engine keeps its images",
        "free some",
    ),
    _rule(
        "not_permitted",
        (
            "cannot set up namespace",
            "no subuid ranges",
            "newuidmap",
            "cannot re-exec process",
            "user namespaces are not",
        ),
        "the daemon's user may not make user namespaces",
        "give the user a range of ids in /etc/subuid and /etc/subgid, and allow user namespaces",
    ),
)

_OF_REGISTRY: Final = (
    _rule(
        "platform",
        (
            "no matching manifest for",
            "no image found in (?:manifest list|image index) for",
            "exec format error",
            "does not match the (?:specified|detected|expected) platform",
        ),
        "the image is not made for this machine's platform",
        "name an image that is",
    ),
    _rule("registry", ("toomanyrequests", "rate limit"), "the registry allows no more pulls now", "log in, or wait"),
    _rule(
        "registry",
        (
            "unauthorized",
            "authentication required",
            "requested access to the resource is denied",
            "pull access denied",
            "no basic auth",
            r"\b40[13]\b",
        ),
        "the registry refuses the image",
        "correct the name, or log in to the registry as the daemon's user",
    ),
    _rule(
        "image",
        (
            "manifest unknown",
            r"(?:manifest|repository)[^\n]* not found",
            "name unknown",
            "repository does not exist",
            "no such image",
            "image not known",
            "unable to find image",
            "short-name",
            r"failed to resolve reference[^\n]*not found",
            r"\b404\b",
        ),
        "there is no such image",
        "correct the image's name",
    ),
    _rule("image", ("invalid reference format",), "its name is not valid", "correct the image's name"),
    _rule(
        "registry",
        (
            "no such host",
            "connection refused",
            "connection reset",
            "i/o timeout",
            "network is unreachable",
            "no route to host",
            "tls handshake",
            "x509:",
            "deadline exceeded",
            "server gave http response to https client",
            "temporary failure in name resolution",
            "server misbehaving",
        ),
        "the registry can't be reached",
        "check the image's name and the network, or pull the image by hand",
    ),
)


def of_engine(stderr: str) -> Problem:
    """Return why a call has failed that asks no registry."""
    return _find(stderr, _OF_ENGINE)


def of_image(stderr: str) -> Problem:
    """Return why a call has failed that looks for an image, or fetches it."""
    return _find(stderr, (*_OF_ENGINE, *_OF_REGISTRY))


def last_words(stderr: str) -> str:
    """Return the last line that says what is wrong, cleaned and cut; warnings say nothing of it."""
    lines = [terminal_text(line).strip() for line in stderr.splitlines()]
    lines = [line for line in lines if line and not _NOISE.match(line)]
    return cut(_PREFIX.sub("", lines[-1]), _REASON_CHARS) if lines else ""


def is_noise(line: str) -> bool:
    """Whether a line is a message of the engine's client, and not of the program in the container."""
    return line.startswith('time="') and _NOISE.match(line) is not None


def _find(stderr: str, rules: tuple[_Rule, ...]) -> Problem:
    words = last_words(stderr)
    for rule in rules:
        if rule.pattern.search(stderr):
            return Problem(rule.kind, f"{rule.reason} ({words})" if words else rule.reason, rule.way_out)
    return Problem("other", words or "the container engine gives no reason", "see the engine's own log")
