"""HOMEs of threads, and the login files that they share."""

from __future__ import annotations

import pytest

from acpbot.runtimes.homes import login_files, make_login_home, make_mount_point


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "state/homes/1001"
    folder.mkdir(parents=True)
    return folder


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_home_for_logins_is_closed_to_others_and_no_link_is_followed(tmp_path):
    home = make_login_home(tmp_path, "mine")
    assert (home, home.stat().st_mode & 0o777) == (tmp_path / "logins/mine", 0o700)
    home.chmod(0o755)
    make_login_home(tmp_path, "mine")
    assert home.stat().st_mode & 0o777 == 0o700
    (home.parent / "linked").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        make_login_home(tmp_path, "linked")


def test_a_state_folder_that_is_made_for_a_login_is_closed_to_others_too(tmp_path):
    home = make_login_home(tmp_path / "state/acpbot", "mine")
    assert [folder.stat().st_mode & 0o777 for folder in home.parents[:2]] == [0o700, 0o700]


def test_a_login_is_taken_from_the_login_folder_else_from_the_daemons_own_home_else_not(tmp_path, home):
    signed_in, own = make_login_home(tmp_path / "state", "mine"), tmp_path / "user"
    first = write(signed_in / ".codex/auth.json")
    write(own / ".codex/auth.json")
    second = write(own / ".codex/config.toml")
    found = login_files("codex-acp", (), (signed_in, own), home)
    assert found == ((first, home / ".codex/auth.json", False), (second, home / ".codex/config.toml", True))
    named = login_files("codex-acp", (".codex/config.toml",), (signed_in, own), home)
    assert [file.read_only for file in named] == [False, False], "the operator may let threads write it"
    assert login_files("gemini", (), (signed_in, own), home) == ()
    assert login_files("codex-acp", (), (signed_in, own), signed_in) == (), "in the login folder they are its own"


def test_a_shared_folder_is_shown_with_all_that_is_in_it(tmp_path, home):
    own = tmp_path / "user"
    write(own / ".codex/auth.json")
    token = write(own / ".config/tool/token")
    found = login_files("codex", (".codex", ".config/tool/token", ".config/tool/token"), (own,), home)
    assert found == ((own / ".codex", home / ".codex", False), (token, home / ".config/tool/token", False))


def test_no_link_is_shown_since_an_agent_could_have_made_it(tmp_path, home):
    own = tmp_path / "user"
    secret = write(tmp_path / "elsewhere/auth.json")
    own.mkdir()
    (own / ".codex").symlink_to(secret.parent)
    (own / "token").symlink_to(secret)
    assert login_files("codex", ("token",), (own,), home) == ()


def test_the_place_of_a_login_file_is_never_made_outside_of_the_home(tmp_path, home):
    make_mount_point(home, home / ".codex/auth.json")
    assert (home / ".codex/auth.json").read_text() == ""
    (home / ".gemini").symlink_to(tmp_path)
    (home / "link").symlink_to(tmp_path / "made")
    for path in (".gemini/made", "link"):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            make_mount_point(home, home / path)
    assert not (tmp_path / "made").exists()
