"""A folder packed into text and unpacked again."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from raysel.common.errors import OperationalError
from raysel.service import results_stream
from raysel.service.fetch import StreamDecoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sweep = tmp_path / "digits"
    (sweep / "best").mkdir(parents=True)
    (sweep / "spec.yaml").write_text("name: digits\n")
    (sweep / "best" / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (sweep / "sweep.db").write_bytes(b"stays")
    return sweep


def packed(folder: Path, capsys: pytest.CaptureFixture[str], limit: int = 10**9) -> str:
    assert results_stream.main([str(folder), str(limit)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("piece", [1, 7, 20_000])
def test_it_arrives_as_it_was_sent_however_it_is_cut(
    folder: Path, capsys: pytest.CaptureFixture[str], piece: int
) -> None:
    text = f"Running entrypoint …\n{packed(folder, capsys)}"
    file = io.BytesIO()
    receiver = StreamDecoder(file)
    for start in range(0, len(text), piece):
        receiver.take(text[start : start + piece])
    receiver.check()
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        assert set(tar.getnames()) == {"spec.yaml", "best", "best/model.safetensors"}
        model = tar.extractfile("best/model.safetensors")
        assert model is not None and model.read() == bytes(range(256)) * 400


def test_a_stream_that_lacks_a_line_is_damaged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin, _, *rest = packed(folder, capsys).splitlines(keepends=True)
    receiver = StreamDecoder(io.BytesIO())
    receiver.take(begin + "".join(rest))
    with pytest.raises(OperationalError, match="damaged"):
        receiver.check()


def test_what_is_too_large_is_not_sent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results_stream.main([str(folder), "1000"]) == 1
    captured = capsys.readouterr()
    assert not captured.out and "more than" in captured.err


def test_a_sweep_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert results_stream.main([str(tmp_path / "none"), "1000"]) == 1
    assert "there is no sweep" in capsys.readouterr().err
