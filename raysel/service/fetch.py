"""Download results, report and best model of a sweep on a cluster."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from raysel.common.errors import OperationalError, user_error
from raysel.common.locations import is_bucket
from raysel.common.object_store import Bucket, said
from raysel.common.user_files import dangling_link, lies_below
from raysel.service import results_stream
from raysel.service.follow import follow
from raysel.service.jobs import SPEC, Cluster, Job
from raysel.service.sent_file import SentFile
from raysel.service.storage import for_a_shell, seen_here

LIMIT = 2**30
"""Largest results stream in bytes: it stays in Ray's logs on the head."""


def fetch(cluster: Cluster, job: Job, to: Path) -> Path:
    """Download the results of a sweep, finished or not.

    Args:
        to: a folder that is empty or not there yet.

    Raises:
        UserError: the job was submitted by another command, or the folder holds something.
        OperationalError: the sweep has no results on the head, or they arrive damaged.
    """
    if SPEC not in job.metadata:
        raise user_error(job.id, "was not submitted by raysel submit: copy its runs from the head")
    if dangling := dangling_link(to):
        raise user_error("--to", dangling)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise user_error("--to", f"{to} holds something already; give another folder")
    storage = SentFile.read(job.metadata[SPEC]).storage
    seen = None if is_bucket(storage) else seen_here(job, storage)
    if seen is not None and lies_below(to, seen.path):
        words = f"{to} lies in {seen.path}, which is copied; give a folder outside"
        raise user_error("--to", words)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as scratch:
        folder = Path(scratch) / "sweep"
        folder.mkdir()
        if is_bucket(storage):
            _bring(Bucket(storage).below(job.name), folder)
        elif seen is not None:
            _copy(seen.path, folder)
        else:
            _send_for(cluster, job, storage, folder)
        if to.exists():
            to.rmdir()
        folder.rename(to)
    return to


def _bring(bucket: Bucket, folder: Path) -> None:
    """From a bucket, with the credentials of this machine."""
    try:
        there = bucket.sizes()
        names = [name for name in there if _is_wanted(name, results_stream.SUITE in there)]
        for name in names:
            bucket.get(name, folder / name)
    except OSError as error:
        raise OperationalError(str(bucket), f"cannot be read: {said(error)}") from error
    if not {"spec.yaml", results_stream.SUITE} & set(names):
        raise OperationalError(str(bucket), "holds no sweep yet")


def _is_wanted(name: str, of_suite: bool) -> bool:
    """Whether an object of a sweep's, or of a suite's and its cells', is fetched."""
    first, _, rest = name.partition("/")
    if first in (*results_stream.WANTED, results_stream.SUITE):
        return True
    return of_suite and rest.partition("/")[0] in results_stream.WANTED


def _copy(source: Path, folder: Path) -> None:
    """From a folder that this machine sees too."""
    try:
        for name in results_stream.wanted(source):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (source / name).is_dir():
                shutil.copytree(source / name, folder / name)
            else:
                shutil.copy2(source / name, folder / name)
    except shutil.Error as error:  # of a tree: a triple for each file
        file, _, why = error.args[0][0]
        raise OperationalError(file, f"cannot be copied: {why}") from None
    except OSError as error:
        place = str(error.filename or source)
        raise OperationalError(place, f"cannot be copied: {error.strerror}") from None


def _send_for(cluster: Cluster, job: Job, storage: str, folder: Path) -> None:
    """Through the log of a small job on the head, that is forgotten afterwards."""
    command = f"exec python results_stream.py {for_a_shell(storage, job.name)} {LIMIT}"
    name = f"{job.sweep}-fetch-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="raysel-") as bundle, tempfile.TemporaryFile() as file:
        shutil.copy2(results_stream.__file__, Path(bundle) / "results_stream.py")
        cluster.submit(name, command, {"working_dir": bundle}, {})
        receiver = StreamDecoder(file)
        ended = follow(cluster, name, receiver.take)
        cluster.delete(name)
        if ended.state != "SUCCEEDED":
            raise OperationalError(cluster.url, receiver.words() or ended.message)
        receiver.check()
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as packed:
            packed.extractall(folder, filter="data")


class StreamDecoder:
    """Decodes what `results_stream` prints.

    Args:
        file: where they go.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._line = ""
        self._inside = False
        self._digest = hashlib.sha256()
        self._expected_digest: str | None = None
        self._words: list[str] = []

    def take(self, text: str) -> None:
        """Text as it comes, in pieces of any length."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        if line == results_stream.BEGIN:
            self._inside = True
        elif line.startswith(results_stream.END):
            self._inside, self._expected_digest = False, line.split()[-1]
        elif self._inside:
            try:
                data = base64.b64decode(line, validate=True)
            except binascii.Error:
                self._words.append(line)  # a warning of Ray's in between
                return
            self._digest.update(data)
            self._file.write(data)
        else:
            self._words.append(line)

    def words(self) -> str:
        """The last line that was no contents."""
        return next((line for line in reversed(self._words) if line.strip()), "")

    def check(self) -> None:
        """Check that everything arrived intact.

        Raises:
            OperationalError: it has not.
        """
        if self._expected_digest != self._digest.hexdigest():
            raise OperationalError("the results stream", "arrived damaged; fetch it again")
