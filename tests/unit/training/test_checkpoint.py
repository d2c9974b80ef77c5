"""A trial's checkpoint: whole or not at all, and enough to go on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from few_kit import count, crossed, few, several
from torch import nn
from trial_kit import (
    DATA,
    MANY_STEPS,
    batch,
    config,
    differences,
    finished,
    learnt,
    tiny,
    trace_rows,
    trial,
    without_seconds,
)

from raysel.models.build import ModelConfig, build
from raysel.spec.trial_config import TrialConfig
from raysel.training import checkpoint
from raysel.training.checkpoint import InFolder
from raysel.training.loop import FineTuning, TrialData

STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "linear_probe": ("linear_probe", {}),
    "surgical": ("surgical", {"block": "stem+body"}),
    "bvg_ls paper, by momentum": ("bvg_ls", {"ema_decay": 0.9, "ema_init": "paper"}),
    "bvg_ls paper, own mean": ("bvg_ls", {"ema_decay": 0.8, "ema_init": "paper"}),
    "bvg_ls debiased, by momentum": ("bvg_ls", {"ema_decay": 0.9, "ema_init": "debiased"}),
    "bvg_ls debiased, own mean": ("bvg_ls", {"ema_decay": 0.8, "ema_init": "debiased"}),
    "bvg_ls_threshold": ("bvg_ls_threshold", {"threshold": 0.3}),
}


def _run(folder: Path, chosen: TrialConfig, model: nn.Module, data: TrialData) -> FineTuning:
    return trial(chosen, model, data, keep_best=True, trace=folder / "trace")


def _assert_resumable(
    tmp_path: Path, chosen: TrialConfig, make: Any = tiny, data: TrialData = DATA
) -> None:
    """One trial that never stops, and for each of its epochs one that stops there: the same
    end, the same metrics, the same trace."""
    whole = _run(tmp_path / "whole", chosen, make(), data)
    rows = []
    for epoch in range(1, chosen.training.epochs + 1):
        rows.append(without_seconds(whole.run_epoch().metrics))
        InFolder(tmp_path / f"after-{epoch}").save(whole.state_dict())
    for epoch in range(1, chosen.training.epochs):
        torch.manual_seed(epoch)  # a new process has another random state
        resumed = _run(tmp_path / f"after-{epoch}", chosen, make(), data)
        state = load(tmp_path / f"after-{epoch}")
        assert state is not None
        resumed.load_state_dict(state)
        assert [without_seconds(row) for row in finished(resumed)] == rows[epoch:]
        assert differences(learnt(resumed), learnt(whole)) == []
        after = [r for r in trace_rows(tmp_path / "whole/trace") if r["epoch"] > epoch]
        assert after and trace_rows(tmp_path / f"after-{epoch}" / "trace") == after


@pytest.mark.parametrize(("optimizer", "name"), crossed(["sgd", "adamw", "adam"], STRATEGIES))
def test_a_trial_resumed_at_any_epoch_ends_as_one_that_never_stopped(tmp_path, name, optimizer):
    strategy, parameters = STRATEGIES[name]
    rate = 0.05 if optimizer == "sgd" else 0.01
    training = {**MANY_STEPS, "optimizer": optimizer, "learning_rate": rate}
    _assert_resumable(tmp_path, config(strategy, parameters, **training))


@pytest.mark.parametrize(
    "training",
    several(
        3,
        [
            {"weight_decay": 0.01, "clip_norm": 0.5},
            {"precision": "bfloat16"},
            {"batch_norm": "eval"},
            {"batch_norm": "frozen_eval"},
            {"momentum": 0.0},
            {"epochs": 6, "batch_size": 13},
        ],
    ),
    ids=str,
)
def test_no_setting_of_the_training_breaks_a_resume(tmp_path, training):
    chosen = config("bvg_ls", {"update_layers": 2}, **(MANY_STEPS | training))
    _assert_resumable(tmp_path, chosen)


@pytest.mark.parametrize(
    ("name", "size"), few(("test_resnet", 16), ("test_vit", 16), ("test_convnext", 32))
)
def test_timms_models_resume(tmp_path, name, size):
    data = TrialData(batch(24, 1, size), batch(16, 2, size))
    model_config = ModelConfig(name, classes=4, channels=1, image_size=(size, size))
    chosen = config("bvg_ls", {"ema_decay": 0.8}, epochs=2, **MANY_STEPS)
    _assert_resumable(tmp_path, chosen, lambda: build(model_config, seed=0), data)


def test_skipped_steps_and_the_best_epoch_outlive_a_stop(tmp_path):
    broken = DATA.train.images.clone()
    broken[7] = float("nan")
    data = TrialData(type(DATA.train)(broken, DATA.train.labels), DATA.validation)
    chosen = config(learning_rate=0.3, batch_norm="eval")
    _assert_resumable(tmp_path, chosen, data=data)
    state = load(tmp_path / "after-3")
    assert state is not None
    assert int(state["health"]["counts"][0]) == 3  # one an epoch
    assert state["best"][0] >= 1 and state["best"][2] is not None


def test_a_model_that_another_trial_has_used_gives_the_same(tmp_path):
    """A worker builds its model once and fills it anew for each trial."""
    fresh, used = tiny(), tiny()
    finished(trial(config("surgical", {"block": "stem"}, batch_norm="eval"), used))
    used.load_state_dict(tiny().state_dict())
    runs = [trial(config("bvg_ls", batch_norm="frozen_eval"), model) for model in (fresh, used)]
    rows = [[without_seconds(row) for row in finished(run)] for run in runs]
    assert rows[0] == rows[1]
    assert differences(learnt(runs[0]), learnt(runs[1])) == []


def load(folder: Path, name: str = checkpoint.NAME) -> dict[str, Any] | None:
    path = folder / name
    return checkpoint.read(path, str(path)) if path.exists() else None


# --- the file ---------------------------------------------------------------------------------

STATE = {
    "epoch": 3,
    "model": {"weight": torch.arange(60.0).reshape(3, 20), "count": torch.tensor(7)},
    "moved": [True, False],
    "rows": [{"epoch": 3, "metrics": {"val/error": 0.25}}],
}


def test_what_is_saved_is_loaded(tmp_path):
    InFolder(tmp_path / "new").save(STATE)
    assert differences(load(tmp_path / "new"), STATE) == []


def test_there_is_none_before_the_first_and_none_after_it_was_removed(tmp_path):
    assert load(tmp_path) is None
    InFolder(tmp_path).save(STATE)
    InFolder(tmp_path).remove()
    InFolder(tmp_path).remove()
    assert load(tmp_path) is None


def test_a_save_that_fails_leaves_the_one_before(tmp_path):
    InFolder(tmp_path).save(STATE)
    with pytest.raises(Exception, match="pickle"):
        InFolder(tmp_path).save({"epoch": 4, "model": lambda: None})
    assert differences(load(tmp_path), STATE) == []


def test_a_truncated_file_is_reported(tmp_path):
    InFolder(tmp_path).save(STATE)
    path = tmp_path / checkpoint.NAME
    raw = path.read_bytes()
    for length in (0, 1, 100, len(raw) // 2, len(raw) - 100, len(raw) - 1):
        path.write_bytes(raw[:length])
        with pytest.raises(checkpoint.DamagedCheckpoint):
            load(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_flipped_bit_changes_what_is_loaded(tmp_path):
    """Whichever byte (in `make test` every fifth): the file is found damaged, or what is read is
    what was written."""
    InFolder(tmp_path).save(STATE)
    path = tmp_path / checkpoint.NAME
    raw = path.read_bytes()
    unnoticed = []
    for position in range(0, len(raw), count(5, 1)):
        damaged = bytearray(raw)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        try:
            read = load(tmp_path)
        except checkpoint.DamagedCheckpoint:
            continue
        if differences(read, STATE):
            unnoticed.append(position)
    assert unnoticed == []


def test_a_file_that_would_run_code_is_refused(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    torch.save({"epoch": Trap()}, tmp_path / checkpoint.NAME)
    with pytest.raises(checkpoint.DamagedCheckpoint):
        load(tmp_path)
    assert not ran.exists()


def test_something_else_than_a_checkpoint_is_reported(tmp_path):
    torch.save([1, 2], tmp_path / checkpoint.NAME)
    with pytest.raises(checkpoint.DamagedCheckpoint):
        load(tmp_path)


def test_nothing_but_the_checkpoint_and_the_one_before_is_left_in_the_folder(tmp_path):
    for epoch in (1, 2, 3):
        InFolder(tmp_path).save({**STATE, "epoch": epoch})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {checkpoint.NAME, checkpoint.PREVIOUS}
    loaded, before = load(tmp_path), load(tmp_path, checkpoint.PREVIOUS)
    assert loaded is not None and loaded["epoch"] == 3
    assert before is not None and before["epoch"] == 2
    InFolder(tmp_path).remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_damaged_checkpoint_gives_way_to_the_intact_one_before(tmp_path, size):
    for epoch in (1, 2):
        InFolder(tmp_path).save({**STATE, "epoch": epoch})
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:size])
    state, damage = InFolder(tmp_path).newest()
    assert state is not None and state["epoch"] == 1
    assert damage is not None and str(path) in damage
    (tmp_path / checkpoint.PREVIOUS).write_bytes(b"nothing")
    assert InFolder(tmp_path).newest() == (None, damage)


def test_without_a_checkpoint_there_is_nothing_and_nothing_is_wrong(tmp_path):
    assert InFolder(tmp_path).newest() == (None, None)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    InFolder(tmp_path).save({**STATE, "epoch": 1})
    monkeypatch.setattr(torch, "save", _raise(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        InFolder(tmp_path).save({**STATE, "epoch": 2})
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME]
    state, damage = InFolder(tmp_path).newest()
    assert state is not None and state["epoch"] == 1 and damage is None


def _raise(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail
