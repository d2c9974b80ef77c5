"""Only regular files are opened, and whatever a library raises becomes one error."""

import os
import socket
import struct
import zlib
from pathlib import Path

import pytest

from raysel.errors import Trouble, UserError, user_error
from raysel.user_files import any_error_as, irregular


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
    ("raised", "told"),
    [
        (AssertionError(), "AssertionError"),
        (MemoryError(), "it does not fit into memory"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deeply"),
        (PermissionError(13, "Permission denied", "x"), "Permission denied"),
        (KeyError("labels"), "it lacks 'labels'"),
        (ValueError("first\nsecond"), "first"),
    ],
)
def test_the_reason_is_a_line(raised, told):
    with pytest.raises(Refused) as caught, any_error_as(Refused):
        raise raised
    assert str(caught.value) == told


@pytest.mark.parametrize("raised", [user_error("task.data", "x"), Trouble("x", "y")])
def test_what_is_told_already_goes_through(raised):
    with pytest.raises((UserError, Trouble)) as caught, any_error_as(Refused):
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
        told = {name: irregular(Path(name)) for name in ("pipe", "link.png", "socket", "file", ".")}
    assert told == {
        "pipe": "a named pipe (FIFO)",
        "link.png": "a named pipe (FIFO)",
        "socket": "a socket",
        "file": None,
        ".": "a folder",
    }
    assert irregular(Path("/dev/zero")) == "a device"
    with pytest.raises(FileNotFoundError):
        irregular(Path("absent"))
