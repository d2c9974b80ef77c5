"""What a person does with a sweep afterwards: look, run again, hand over, clear up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from few_kit import few

from raysel.cli.main import main
from raysel.common.locations import sweep_url
from raysel.export.best_model import origin_of
from raysel.models import timm
from raysel.record.events import Record, sqlite_url
from raysel.record.failure_kind import FailureKind
from raysel.record.ownership import FileOwner
from raysel.spec.reader import load, parse
from raysel.sweep.reproduce import reproduce, run_again
from raysel.sweep.views import read_sweep
from raysel.training.worker_messages import FailureMessage

from .conftest import SMALL
from .helpers import states

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def reported(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a verb with --json; its exit code and its one object."""

    def run(*arguments: str | Path) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert out, err
        return code, json.loads(out)

    return run


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    """The reference sweep, to be damaged: alone in a storage of its own but for the caches."""
    shutil.copytree(reference, tmp_path / "reference")
    shutil.copytree(reference.parent / ".cache", tmp_path / ".cache")
    return tmp_path / "reference"


# --- looking -------------------------------------------------------------------------------------


def test_list_shows_what_the_record_says(reference: Path, reported: Any) -> None:
    code, listed = reported("list", "--storage", reference.parent)
    row = next(row for row in listed["sweeps"] if row["name"] == "reference")
    trials = [t for t in states(reference).values() if t.phase == "search"]
    assert (code, row["state"], row["done"], row["trials"]) == (0, "COMPLETE", 8, 8)
    assert row["best"] == min(t.value for t in trials if t.status == "COMPLETE")
    assert (
        row["verdict"]
        == json.loads((reference / "results.json").read_text())["verdict"]["sentence"]
    )
    assert (row["confirmed"], row["runs"], row["running"]) == (10, 10, None)


def test_show_reports_a_trial_as_the_record_has_it(
    reference: Path, reported: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, trial = reported("show", "reference", "2", "--storage", reference.parent)
    recorded = states(reference)["0002"]
    assert (code, trial["id"], trial["state"]) == (0, "0002", recorded.status)
    assert trial["curve"] == [dict(row) for row in recorded.epochs]
    assert trial["config"] == recorded.config
    block = recorded.config["parameters"]["block"]
    assert [row["layer"] for row in trial["moved"] if row["share"]] == [block]
    assert main(["show", "reference", "confirm-full-s0", "--storage", str(reference.parent)]) == 0
    out = capsys.readouterr().out
    assert "┤" in out and "val/loss" in out and "moved  all 6" in out and "test/error" in out


def test_a_wrong_name_is_one_line_and_exit_code_2(
    reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = ["--storage", str(reference.parent)]
    for arguments, near in (
        (["show", "referense"], "reference"),
        (["show", "reference", "0009"], "0007"),
        (["reproduce", "reference", "confirm-ful-s0"], "confirm-full-s0"),
        (["rm", "referenc", "--yes"], "reference"),
        (["export", "reference", "--to", "nowhere", "--strategy", "ful"], "full"),
    ):
        assert main([*arguments, *storage]) == 2, arguments
        (line,) = capsys.readouterr().err.splitlines()
        assert near in line
    assert not Path("nowhere").exists()


# --- running again -------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", few("bvg_ls", "full", "surgical", "bvg_ls_threshold"))
def test_a_trial_of_the_search_is_reproduced_bit_for_bit(
    reference: Path, reported: Any, strategy: str
) -> None:
    mine = [t for t in states(reference).values() if t.strategy == strategy and t.phase == "search"]
    trial = max(mine, key=lambda t: len(t.epochs))
    code, found = reported("reproduce", "reference", trial.id, "--storage", reference.parent)
    assert (code, found["outcome"], found["machine"]) == (0, "identical", {})
    assert found["epochs"] == len(trial.epochs)


def test_a_confirm_run_is_reproduced_with_its_test_metrics(copy: Path, reported: Any) -> None:
    arguments = ("reproduce", "reference", "confirm-bvg_ls-s1", "--storage", copy.parent)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert reported(*arguments)[1]["outcome"] == "identical"
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert {p: b for p, b in after.items() if "sweep.db-" not in p.name} == {
        p: b for p, b in before.items() if "sweep.db-" not in p.name
    }


def plant(folder: Path, trial: str, kind: str, epoch: int, metric: str, value: float) -> None:
    """Another number in the record, with a checksum that fits: append to a fresh record."""
    record = Record(sqlite_url(folder / "sweep.db"))
    events = [stored.event for stored in record.events()]
    record.close()
    for suffix in ("", "-wal", "-shm"):
        (folder / f"sweep.db{suffix}").unlink(missing_ok=True)
    record = Record(sqlite_url(folder / "sweep.db"))
    for event in events:
        if (event.trial, event.kind, event.epoch) == (trial, kind, epoch):
            event.payload["metrics"][metric] = value  # type: ignore[index]
        record.append(event)
    record.close()


def test_a_planted_difference_is_found(copy: Path, reported: Any) -> None:
    true = states(copy)["0000"].epochs[1]["val/loss"]
    assert true is not None
    planted = float(np.nextafter(true, 9.0))
    plant(copy, "0000", "epoch", 2, "val/loss", planted)
    code, found = reported("reproduce", "reference", "0", "--storage", copy.parent)
    assert (code, found["outcome"]) == (1, "different")
    first = {"epoch": 2, "metric": "val/loss", "then": planted, "now": true}
    assert found["first"] == first
    within = reported(
        "reproduce", "reference", "0", "--storage", copy.parent, "--tolerance", "1e-9"
    )
    assert (within[0], within[1]["outcome"]) == (0, "within tolerance")


def test_a_planted_test_error_is_found(copy: Path, reported: Any) -> None:
    plant(copy, "confirm-full-s0", "ended", 3, "test/error", 0.0)
    code, found = reported("reproduce", "reference", "confirm-full-s0", "--storage", copy.parent)
    assert (code, found["first"]["epoch"], found["first"]["metric"]) == (1, 0, "test/error")


def test_without_the_cached_source_model_it_is_trained_again_alike(
    copy: Path, reported: Any
) -> None:
    shutil.rmtree(copy.parent / ".cache")
    code, found = reported("reproduce", "reference", "1", "--storage", copy.parent)
    assert (code, found["outcome"]) == (0, "identical")


@pytest.mark.parametrize(("strategy", "trial"), few(("bvg_ls", 3), ("full", 0), ("surgical", 2)))
def test_finetune_is_the_first_trial_of_a_sweep_bit_for_bit(
    reference: Path, storage: Path, tmp_path: Path, reported: Any, strategy: str, trial: int
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL + f"storage: {tmp_path}\n", encoding="utf-8")
    shutil.copytree(storage / ".cache", tmp_path / ".cache")
    code, tuned = reported("finetune", file, "--strategy", strategy)
    recorded = states(reference)[f"{trial:04d}"]
    assert (code, tuned["config"]) == (0, recorded.config)
    pairs = zip(tuned["epochs"], recorded.epochs, strict=False)  # the pruner may have ended it
    assert len(recorded.epochs) >= 1
    for mine, theirs in pairs:
        clock = "cost/seconds"
        assert {**mine, clock: 0} == {**theirs, clock: 0}
    best = min(tuned["epochs"], key=lambda row: (row["val/error"], row["epoch"]))
    assert tuned["best_epoch"] == best["epoch"]
    _scores(Path(tuned["model"]), parse(file.read_text()), best)


def _scores(folder: Path, spec: Any, best: dict[str, float]) -> None:
    """The model that finetune leaves is that of its best epoch."""
    from raysel.sweep.inputs import task_of
    from raysel.training.image_batches import on_device

    task = task_of(spec)
    batch = on_device(task.validation, task.mean, task.std, torch.device("cpu"))
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        parts = [(model(part.images).argmax(1) != part.labels) for part in batch.split(64)]
    assert float(torch.cat(parts).double().mean()) == best["val/error"]


def test_finetune_takes_a_few_steps_for_a_look_and_starts_no_ray(
    tmp_path: Path, reference: Path
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL + f"storage: {tmp_path}\n", encoding="utf-8")
    shutil.copytree(reference.parent / ".cache", tmp_path / ".cache")
    code = (
        "import sys; from raysel.cli.main import main;"
        f"code = main(['finetune', {str(file)!r}, '--steps', '2', '--json']);"
        "print(code, sorted({'ray', 'mlflow'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 []"
    tuned = json.loads(done.stdout)
    assert len(tuned["epochs"]) == 1
    (part,) = Path(tuned["folder"]).rglob("epoch-*.parquet")
    assert set(pq.read_table(part).column("step").to_pylist()) == {1, 2}


def test_a_diverging_trial_is_reproduced_with_its_failure(reference: Path, tmp_path: Path) -> None:
    view = read_sweep(str(reference.parent), "reference")
    config = dict(view.trial("0").config)
    config["training"] = {**config["training"], "learning_rate": 1e30}
    asked = replace(view.trial("0"), config=config)
    rows = [row for row, _ in run_again(view, asked, lambda _: None, tmp_path / "a")]
    end = rows[-1]
    assert isinstance(end, FailureMessage) and end.kind is FailureKind.DIVERGED
    failed = replace(
        asked, status="FAILED", cause=end.cause, failure=end.kind, epochs=(), value=None
    )
    again = reproduce(view, failed, lambda _: None, lambda *_: None)
    assert again.outcome == "identical"
    other = reproduce(view, replace(failed, cause="diverged: x"), lambda _: None, lambda *_: None)
    assert (other.outcome, other.first and other.first.now) == ("different", end.cause)


# --- handing over --------------------------------------------------------------------------------


def test_export_loads_in_timm_with_equal_logits(copy: Path, tmp_path: Path, reported: Any) -> None:
    to = tmp_path / "model"
    code, out = reported("export", "reference", "--to", to, "--check", "--storage", copy.parent)
    assert (code, out["check"]["equal"]) == (0, True)
    beside = ["README.md", "SHA256SUMS", "predict.py", "read_picture.py", "torchvision_compat.py"]
    files = sorted(path.name for path in to.iterdir())
    assert files == sorted([*beside, "config.json", "model.safetensors"])
    assert "embedded" in out["check"]["note"]  # there are no picture files to start from
    model = timm.create_model(f"local-dir:{to}", pretrained=True)
    assert model.get_classifier().out_features == 10
    config = json.loads((to / "config.json").read_text())
    assert config["label_names"] == [str(digit) for digit in range(10)]
    assert config["pretrained_cfg"]["input_size"] == [1, 16, 16]
    results = json.loads((copy / "results.json").read_text())
    assert config["raysel"]["sweep"] == results["sweep_id"]
    assert out["strategy"] == results["verdict"]["winner"]


def test_check_notices_a_file_that_was_tampered_with(
    copy: Path, tmp_path: Path, reported: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = copy / "best" / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    name = next(name for name in tensors if name.endswith("weight") and tensors[name].ndim == 4)
    tensors[name].view(-1)[0] += 0.5
    safetensors.torch.save_file(tensors, weights)
    arguments = ("export", "reference", "--check", "--storage", copy.parent, "--to")
    assert main([*map(str, arguments), str(tmp_path / "a")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error  {weights.parent}: model.safetensors is not the file")
    (copy / "best" / "SHA256SUMS").unlink()  # as an older raysel left it
    code, out = reported(*arguments, tmp_path / "b")
    assert (code, out["check"]["passed"]) == (1, False)
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert main([*map(str, arguments), str(tmp_path / "c")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.safetensors" in line and "raysel resume reference" in line


def test_a_folder_that_holds_something_is_refused(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    where = ["--storage", str(reference.parent), "--to"]
    for to in (tmp_path, tmp_path / "mine.txt", tmp_path / "mine.txt" / "below"):
        assert main(["export", "reference", *where, str(to)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_best_model_of_another_run_is_not_taken_for_the_winners(
    copy: Path, tmp_path: Path, reported: Any
) -> None:
    """As after an extension that found another winner and was interrupted in its confirm phase."""
    results = json.loads((copy / "results.json").read_text())
    config = copy / "best" / "config.json"
    old = json.loads(config.read_text())
    winners = old["raysel"]["run"]
    old["raysel"]["run"] = "confirm-full-s0"
    config.write_text(json.dumps(old))
    arguments = ("export", "reference", "--storage", copy.parent, "--to", tmp_path / "a")
    code, out = reported(*arguments)
    assert (code, out["run"], out["strategy"]) == (0, winners, results["verdict"]["winner"])
    assert out["again"].startswith("identical")
    assert origin_of(tmp_path / "a") == {"sweep": results["sweep_id"], "run": winners}


def test_the_model_of_another_strategy_is_trained_again_from_the_record(
    copy: Path, tmp_path: Path, reported: Any
) -> None:
    results = json.loads((copy / "results.json").read_text())
    row = next(r for r in results["confirm"] if r["strategy"] != results["verdict"]["winner"])
    best = min(row["runs"], key=lambda r: (r["val/error"], r["val/loss"]))
    arguments = ("export", "reference", "--strategy", row["strategy"], "--check")
    code, out = reported(*arguments, "--storage", copy.parent, "--to", tmp_path / "a")
    assert (code, out["run"], out["check"]["equal"]) == (0, best["id"], True)
    assert out["again"].startswith("identical")
    from raysel.sweep.inputs import task_of
    from raysel.training.image_batches import on_device

    task = task_of(read_sweep(str(copy.parent), "reference").spec)
    with task.test.opened() as test:
        batch = on_device(test, task.mean, task.std, torch.device("cpu"))
    model = timm.create_model(f"local-dir:{tmp_path / 'a'}", pretrained=True).eval()
    with torch.inference_mode():
        wrong = [(model(part.images).argmax(1) != part.labels) for part in batch.split(64)]
    assert float(torch.cat(wrong).double().mean()) == best["test/error"]
    plant(copy, best["id"], "epoch", 1, "val/loss", 99.0)  # its numbers do not come again
    assert main([*arguments, "--storage", str(copy.parent), "--to", str(tmp_path / "b")]) == 1
    assert not (tmp_path / "b").exists()


def test_a_registered_model_answers_like_the_exported_one(
    reference: Path, storage: Path, tmp_path: Path, reported: Any
) -> None:
    to = tmp_path / "model"
    arguments = ("--storage", storage, "--to", to, "--register", "digits-best")
    code, out = reported("export", "reference", *arguments)
    assert code == 0
    mlflow.set_tracking_uri(f"sqlite:///{storage}/mlflow.db")
    loaded = mlflow.pyfunc.load_model(out["registered"]["uri"])
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    model = timm.create_model(f"local-dir:{to}", pretrained=True).eval()
    config = json.loads((to / "config.json").read_text())["pretrained_cfg"]
    with torch.inference_mode():
        expected = model((images - config["mean"][0]) / config["std"][0]).numpy()
    answered = loaded.predict(images.numpy())
    np.testing.assert_allclose(answered, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(mlflow.MlflowException):  # the signature is kept
        loaded.predict(np.zeros((3, 1, 8, 8), dtype=np.float32))
    version = mlflow.MlflowClient().get_model_version("digits-best", out["registered"]["version"])
    results = json.loads((reference / "results.json").read_text())
    assert version.tags["raysel.sweep_id"] == results["sweep_id"]
    parent = mlflow.MlflowClient().get_run(version.run_id)
    assert parent.data.tags["raysel.sweep_id"] == results["sweep_id"]
    files = list(Path(mlflow.artifacts.download_artifacts(out["registered"]["uri"])).rglob("*"))
    assert any(file.name == "model.safetensors" for file in files)
    assert not [f for f in files if f.suffix in (".pkl", ".pth", ".pt", ".pickle")]


# --- clearing up ---------------------------------------------------------------------------------


def test_gc_frees_and_what_a_person_wants_still_works(copy: Path, reported: Any) -> None:
    storage = ("--storage", copy.parent)
    code, freed = reported("gc", *storage, "--yes")
    assert code == 0 and freed["freed_bytes"] > 100_000
    assert not (copy / "tune").exists() and not list((copy.parent / ".cache").iterdir())
    assert reported("gc", *storage, "--yes")[1]["freed_bytes"] == 0
    assert reported("show", "reference", *storage)[1]["state"] == "COMPLETE"
    assert reported("reproduce", "reference", "0", *storage)[1]["outcome"] == "identical"


def test_rm_asks_first_and_refuses_a_sweep_that_runs(
    copy: Path, reported: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["--storage", str(copy.parent)]
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    assert main(["rm", "reference", *where]) != 0 and copy.is_dir()
    owner = FileOwner(copy / "owner.lock", "reference")
    try:
        assert main(["rm", "reference", "--yes", *where]) == 2 and copy.is_dir()
        assert "raysel stop reference" in capsys.readouterr().err
        listed = reported("list", *where)[1]["sweeps"]
        assert [row["state"] for row in listed] == ["COMPLETE"]  # reconcile may hold it
        assert str(os.getpid()) in listed[0]["running"]
    finally:
        owner.release()
    assert main(["rm", "reference", "--yes", *where]) == 0
    assert not copy.exists()


def test_a_record_in_postgresql_is_read_and_removed_with_its_sweep(
    copy: Path, postgres_url: str, reported: Any
) -> None:
    import sqlalchemy as sa
    from sqlalchemy.engine import make_url

    url = sweep_url(postgres_url, copy / "sweep.db", "reference")
    source, target = Record(sqlite_url(copy / "sweep.db")), Record(url)
    for stored in source.events():
        target.append(stored.event)
    source.close()
    target.close()
    for file in copy.glob("sweep.db*"):
        file.unlink()
    spec = load(copy / "spec.yaml").model_copy(update={"database_url": postgres_url})
    (copy / "spec.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    where = ("--storage", copy.parent)
    shown = reported("show", "reference", *where)[1]
    assert (shown["state"], len(shown["trials"])) == ("COMPLETE", 18)
    assert reported("rm", "reference", *where, "--yes")[0] == 0
    assert not copy.exists()
    engine = sa.create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    assert "raysel_reference" not in sa.inspect(engine).get_schema_names()
    engine.dispose()


def test_single_keeps_the_threads_of_the_process(reference: Path, tmp_path: Path) -> None:
    view = read_sweep(str(reference.parent), "reference")
    torch.set_num_threads(2)
    try:
        list(run_again(view, view.trial("0"), lambda _: None, tmp_path))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
