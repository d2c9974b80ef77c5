"""A named pipe in the place of a sweep's file is damaged, and nobody waits for its writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raysel.export.best_model import origin_of
from raysel.export.sums import altered, write_sums
from raysel.sweep.manifest import kept, manifest_problem
from raysel.training.answers import FILE, read_answers

pytestmark = pytest.mark.timeout(20)


def test_a_manifest(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    os.mkfifo(file)
    assert kept(file) == {}
    assert manifest_problem(file, {"versions": {}}) == "is damaged"


def test_a_runs_answers(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    assert read_answers(tmp_path) is None


def test_a_models_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert origin_of(tmp_path) is None
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"x")
    (tmp_path / "config.json").unlink()
    write_sums(tmp_path)
    assert altered(tmp_path) is None
    weights.unlink()
    os.mkfifo(weights)
    assert altered(tmp_path) == "model.safetensors is a named pipe (FIFO)"
