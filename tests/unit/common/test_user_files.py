"""Only regular files are opened, and whatever a library raises becomes one error."""

import os
import socket
import struct
import zlib
from pathlib import Path

import pytest
from few_kit import several

from raysel.cli import main
from raysel.common.credentials import cluster_token
from raysel.common.errors import OperationalError, UserError, user_error
from raysel.common.user_files import any_error_as, irregular, own_folder


class Refused(Exception):
    pass


@pytest.mark.parametrize(
    "raised",
    [
        *(struct.error("needs 4 bytes"), zlib.error("bad data"), RuntimeError("no frame")),
        *(AssertionError("x"), AttributeError("x"), UnicodeError("x"), ZeroDivisionError("x")),
        *(NotImplementedError("x"), OverflowError("x"), LookupError("x"), OSError("x")),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_whatever_is_raised_becomes_one_exception(raised):
    with pytest.raises(Refused, match=str(raised)), any_error_as(Refused):
        raise raised


@pytest.mark.parametrize(
    ("raised", "reported"),
    [
        (AssertionError(), "AssertionError"),
        (MemoryError(), "it does not fit into memory"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deeply"),
        (PermissionError(13, "Permission denied", "x"), "Permission denied"),
        (KeyError("labels"), "it lacks 'labels'"),
        (ValueError("first\nsecond"), "first"),
    ],
)
def test_the_reason_is_a_line(raised, reported):
    with pytest.raises(Refused) as caught, any_error_as(Refused):
        raise raised
    assert str(caught.value) == reported


@pytest.mark.parametrize("raised", [user_error("task.data", "x"), OperationalError("x", "y")])
def test_what_is_reported_already_goes_through(raised):
    with pytest.raises((UserError, OperationalError)) as caught, any_error_as(Refused):
        raise raised
    assert caught.value is raised


def test_an_interrupt_goes_through():
    with pytest.raises(KeyboardInterrupt), any_error_as(Refused):
        raise KeyboardInterrupt


def test_what_is_no_regular_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe")
    Path("link.png").symlink_to("pipe")
    Path("file").write_text("x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        reported = {
            name: irregular(Path(name)) for name in ("pipe", "link.png", "socket", "file", ".")
        }
    assert reported == {
        "pipe": "a named pipe (FIFO)",
        "link.png": "a named pipe (FIFO)",
        "socket": "a socket",
        "file": None,
        ".": "a folder",
    }
    assert irregular(Path("/dev/zero")) == "a device"
    with pytest.raises(FileNotFoundError):
        irregular(Path("absent"))


# --- every file that a command names -----------------------------------------------------------

SWEEP = """
name: x
task: {data: digits}
model: {name: test_resnet}
strategies: {full: }
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A folder with what is not a regular file, and one that is too large for whatever it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(SWEEP)
    for name in ("fifo", "fifo.py", "fifo.pt", "fifo.yaml"):
        os.mkfifo(tmp_path / name)
    for name in ("zero", "zero.py", "zero.pt", "zero.safetensors"):
        (tmp_path / name).symlink_to("/dev/zero")
    for name in ("folder.py", "folder.pt"):
        (tmp_path / name).mkdir()
    for name in ("huge", "huge.py", "huge.pt", "huge.yaml"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**40)  # takes no space on the disk
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    several(
        10,
        [
            *(["validate", name] for name in ("fifo.yaml", "zero", "huge.yaml", ".", "folder.py")),
            *(["doctor", name] for name in ("fifo.yaml", "zero", "huge.yaml", ".")),
            *(
                ["strategies", "--code", name]
                for name in ("fifo.py", "zero.py", "huge.py", "folder.py")
            ),
            *(
                ["validate", "x.yaml", "--set", f"{key}={name}"]
                for key, names in {
                    "task.split.indices": ("fifo", "zero", "huge", "."),
                    "model.weights": (
                        "fifo.pt",
                        "zero.pt",
                        "zero.safetensors",
                        "huge.pt",
                        "folder.pt",
                    ),
                }.items()
                for name in names
            ),
            *(
                ["validate", "x.yaml", "--set", f"code_files=[{name}]"]
                for name in ("fifo.py", "zero.py", "huge.py", "folder.py")
            ),
        ],
    ),
    ids=" ".join,
)
@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_refused_in_a_line_and_never_opened(odd, capsys, arguments):
    assert main.main(arguments) == 2
    reported = capsys.readouterr().err
    assert reported.startswith("error  ") and reported.count("\n") == 1
    words = ("no regular file", "Is a directory", "larger than")
    assert any(word in reported for word in words), reported


@pytest.mark.timeout(60)
def test_a_token_is_never_read_from_a_device(odd, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    for name in ("fifo", "zero", "huge"):
        assert cluster_token({"RAY_AUTH_TOKEN_PATH": str(odd / name)}) is None


def test_a_file_in_the_place_of_an_own_folder_is_set_aside_and_a_link_removed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "notes").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(elsewhere)
    for name in ("notes", "link"):
        assert own_folder(tmp_path / name).is_dir()
        assert not (tmp_path / name).is_symlink()
    (aside,) = tmp_path.glob("notes.damaged-*")
    assert aside.read_text(encoding="utf-8") == "mine"
    assert elsewhere.is_dir()
