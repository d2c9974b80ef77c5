"""One owner: the lock beside a SQLite record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from raysel.record import ownership as module
from raysel.record.ownership import FileOwner, Holder, LeaseOwner, OwnedElsewhere, holder_of_file

HOLD = """
import sys, time
from pathlib import Path
from raysel.record.ownership import FileOwner
owner = FileOwner(Path(sys.argv[1]), "digits")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "owner.lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_owner_is_reported_who_the_first_is(tmp_path, other):
    with pytest.raises(OwnedElsewhere, match=rf"process {other.pid} on .*raysel stop digits"):
        FileOwner(tmp_path / "owner.lock", "digits")
    holder = holder_of_file(tmp_path / "owner.lock")
    assert holder is not None and holder.pid == other.pid and not holder.is_gone


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_dies_with_its_process(tmp_path, other, sign):
    os.kill(other.pid, sign)
    other.wait()
    assert holder_of_file(tmp_path / "owner.lock") is None
    FileOwner(tmp_path / "owner.lock", "digits").release()


def test_a_child_of_the_owner_does_not_hold_it(tmp_path):
    owner = FileOwner(tmp_path / "owner.lock", "digits")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner.release()
        again = FileOwner(tmp_path / "owner.lock", "digits")
        child.kill()
    again.release()


def test_a_lock_that_was_given_back_has_no_holder(tmp_path):
    FileOwner(tmp_path / "owner.lock", "digits").release()
    assert holder_of_file(tmp_path / "owner.lock") is None
    assert holder_of_file(tmp_path / "none.lock") is None


def test_looking_does_not_take_it(tmp_path):
    owner = FileOwner(tmp_path / "owner.lock", "digits")
    holder = holder_of_file(tmp_path / "owner.lock")
    assert holder is not None and holder.pid == os.getpid()
    owner.release()


def test_a_process_is_gone_by_its_pid_only_where_that_pid_is_its_own():
    me = Holder.this_process()
    assert me.is_here and not me.is_gone
    assert replace(me, pid=2**22 + 1).is_gone
    assert replace(me, born="1").is_gone  # the pid is another process's by now
    # a twin of the same host name: another machine, another container
    twin = replace(me, pid=2**22 + 1, place=me.place + "0")
    assert not twin.is_here and not twin.is_gone


def test_a_holder_of_an_older_record_is_read_and_not_said_to_be_gone(tmp_path):
    (tmp_path / "owner.lock").write_text('{"host": "a", "pid": 4194305, "since": 1.0}')
    with (tmp_path / "owner.lock").open() as stream:
        holder = module._read(stream)
    assert holder is not None and not holder.is_here and not holder.is_gone


@pytest.mark.parametrize(("age", "free"), [(1.0, False), (31.0, True)])
def test_the_heartbeats_age_decides_about_a_process_elsewhere(age, free):
    there = replace(Holder.this_process(), pid=2**22 + 1, place="another boot")
    row = SimpleNamespace(beat=1.0, age=age, holder=json.dumps(asdict(there)))
    assert module._is_free(row) is free


def test_without_linux_the_hosts_name_and_the_time_of_birth_tell(monkeypatch):
    monkeypatch.setattr(module, "Path", lambda name: Path("/nowhere") / name.lstrip("/"))
    me = Holder.this_process()
    assert me.place == me.host and me.born == str(psutil.Process().create_time())
    assert not me.is_gone and replace(me, born="1.0").is_gone


def test_a_heartbeat_that_hangs_does_not_keep_the_driver(monkeypatch):
    monkeypatch.setattr(module, "RELEASE_SECONDS", 0.05)
    for_ever = threading.Event()
    owner = LeaseOwner.__new__(LeaseOwner)
    owner._ended = threading.Event()
    owner._thread = threading.Thread(target=for_ever.wait, daemon=True)
    owner._engine = SimpleNamespace()  # whoever asks it waits too
    owner._thread.start()
    release = threading.Thread(target=owner.release)
    release.start()
    release.join(5.0)
    for_ever.set()
    assert owner._ended.is_set() and not release.is_alive()
