"""torchvision's import beside a torch that cannot load its compiled part.

Each case is a process of its own, with a made-up torchvision first on the path: operator
schemas cannot be taken back once they are declared.
"""

from __future__ import annotations

import _ctypes
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from raysel.common import torchvision_compat
from raysel.common.torchvision_compat import extension_loads

LOADABLE = Path(_ctypes.__file__) if getattr(_ctypes, "__file__", None) else None
DECLARED = "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

SCRIPT = """
    import importlib.util, torch
    spec = importlib.util.spec_from_file_location("shim", {shim!r})
    shim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shim)
    print(shim.ensure_importable(), shim.ensure_importable())
    for name in ("nms", "qnms"):
        try:
            print(torch.ops.torchvision.__getattr__(name).default._schema)
        except AttributeError:
            print("not there")
"""


def _package(folder: Path, extension: str) -> Path:
    package = folder / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    if extension == "sound":
        if LOADABLE is None:
            pytest.skip("this Python has no extension module of its own to borrow")
        shutil.copy(LOADABLE, package / "_C.so")
    elif extension == "broken":
        (package / "_C.so").write_bytes(b"\x7fELF and then nothing")
    return package


def _declared(tmp_path: Path, extension: str) -> list[str]:
    """What the shim says twice, then the two schemas, in a fresh process."""
    _package(tmp_path, extension)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT).format(shim=torchvision_compat.__file__)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("extension", "loads"), [("sound", True), ("broken", False), ("missing", False)]
)
def test_an_extension_is_tried_and_not_only_looked_for(tmp_path, extension, loads):
    assert extension_loads(_package(tmp_path, extension)) is loads


@pytest.mark.slow
def test_where_the_extension_loads_nothing_is_declared(tmp_path):
    assert _declared(tmp_path, "sound") == ["False False", "not there", "not there"]


def test_where_it_does_not_the_two_schemas_are_declared_once(tmp_path):
    assert _declared(tmp_path, "broken") == [
        "True True",
        f"torchvision::{DECLARED}",
        f"torchvision::q{DECLARED}",
    ]


@pytest.mark.slow
def test_several_copies_of_the_file_may_run_in_one_process(tmp_path):
    """Each exported model has one, and raysel its own; torch takes one declaration."""
    copy = tmp_path / "torchvision_compat.py"
    copy.write_bytes(Path(torchvision_compat.__file__).read_bytes())
    code = (
        "import raysel.common.torchvision_compat as own; own.ensure_importable()\n"
        "import torchvision_compat as copy; copy.ensure_importable(); copy.ensure_importable()\n"
        "import timm; print(copy is not own)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr


def test_doctor_says_what_to_import_where_the_builds_differ():
    from raysel.service.doctor.machine_checks import check_torchvision

    versions = {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}
    assert check_torchvision(versions, loads=True) == []
    assert check_torchvision({"torch": "2.13.0"}, loads=False) == []
    (found,) = check_torchvision(versions, loads=False)
    assert found.level == "ok"
    assert "from raysel.models import timm" in found.words
    assert "predict.py" in found.words
