"""How the programs of this installation are named in what people are told to type."""

from __future__ import annotations

from acpbot.commands.own_program import shell_name


def installed(folder, name="acpctl"):
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return str(folder / "python")


def test_a_program_on_path_is_named_by_its_name(tmp_path):
    python = installed(tmp_path / "bin")
    assert shell_name("acpctl", {"PATH": str(tmp_path / "bin")}, executable=python) == "acpctl"


def test_in_a_clone_it_is_named_by_its_path_in_the_folder(tmp_path, monkeypatch):
    python = installed(tmp_path / ".venv" / "bin")
    monkeypatch.chdir(tmp_path)
    assert shell_name("acpctl", {"PATH": "/usr/bin"}, executable=python) == ".venv/bin/acpctl"


def test_another_installation_on_path_does_not_take_its_place(tmp_path, monkeypatch):
    python = installed(tmp_path / ".venv" / "bin")
    installed(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert shell_name("acpctl", {"PATH": str(tmp_path / "other")}, executable=python) == ".venv/bin/acpctl"


def test_a_virtual_environment_that_is_active_only_here_does_not_count(tmp_path):
    folder = tmp_path / "a folder" / "bin"
    python = installed(folder)
    environ = {"PATH": str(folder), "VIRTUAL_ENV": str(tmp_path / "a folder")}
    assert shell_name("acpctl", environ, executable=python) == f"'{folder}/acpctl'"


def test_without_a_program_beside_it_the_name_is_all_that_is_known(tmp_path):
    assert shell_name("acpctl", {"PATH": ""}, executable=str(tmp_path / "python")) == "acpctl"
