"""Which model a name means: a folder, a sweep's winner, a strategy of it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from view_kit import FINISHED, make

from raysel.common.errors import UserError
from raysel.export import named_model
from raysel.export.named_model import model_folder


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The sweep and the strategy of each export, which writes nothing here."""
    calls: list[tuple[str, str | None]] = []

    def export(view, strategy, target, notify):
        calls.append((view.folder.name, strategy))
        return SimpleNamespace(folder=target)

    monkeypatch.setattr(named_model, "export", export)
    make(tmp_path, "a", FINISHED)
    return calls


def meant(name: str, storage: Path) -> Path:
    with model_folder(name, str(storage), lambda _: None) as folder:
        return folder


def test_a_sweep_means_its_winner_and_sweep_slash_strategy_that_one(asked, tmp_path):
    meant("a", tmp_path)
    meant("a/bvg_ls", tmp_path)
    assert asked == [("a", None), ("a", "bvg_ls")]


def test_a_folder_is_taken_as_it_is_and_a_sweeps_folder_means_its_best(asked, tmp_path):
    model = tmp_path / "a" / "best"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert meant(str(model), tmp_path) == model
    assert meant(str(tmp_path / "a"), tmp_path) == model
    assert asked == []


@pytest.mark.parametrize("name", ["b", "b/full"])
def test_an_unknown_sweep_is_refused_with_the_nearest(asked, tmp_path, name):
    with pytest.raises(UserError, match="there is no sweep of that name"):
        meant(name, tmp_path)


def test_a_path_without_a_model_is_refused(asked, tmp_path):
    with pytest.raises(UserError, match=r'MODEL: ".*" holds no config\.json'):
        meant(str(tmp_path), tmp_path)
