"""Channels of exec and attach: what is sent, and what a status says."""

from __future__ import annotations

import json

import pytest

from acpbot.runtimes.kubernetes.channels import CLOSE_STDIN, ExecStatus, read_status, stdin_message
from tests.fakes.kubernetes.remote import exit_status


@pytest.mark.parametrize("code", [0, 1, 7, 137, 255])
def test_the_status_of_a_program_that_has_run_carries_its_exit_code(code):
    assert read_status(json.dumps(exit_status(code)).encode()).code == code


def test_a_program_that_did_not_run_has_no_exit_code():
    status = {"status": "Failure", "reason": "InternalError", "message": "no such program", "code": 500}
    assert read_status(json.dumps(status).encode()) == ExecStatus(None, "no such program")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[]",
        b'{"status": 4}',
        b"{}",
        b'{"status":"Failure","reason":"NonZeroExitCode"}',
        b'{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"-"}]}}',
    ],
)
def test_a_status_that_says_nothing_is_no_success(data):
    assert read_status(data).code is None


def test_a_long_message_is_cut():
    assert len(read_status(json.dumps({"status": "Failure", "message": "x" * 100_000}).encode()).message) <= 1_000


def test_messages_name_their_channel():
    assert stdin_message(b"abc") == b"\x00abc"
    assert CLOSE_STDIN == b"\xff\x00"
