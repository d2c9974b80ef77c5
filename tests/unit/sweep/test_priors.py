"""Earlier sweeps: what is taken of them, what is refused, and that a sweep resumes without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from controller_kit import FILE, LAYERS, Attempt, begin, error, run, sweep, work
from few_kit import several

from raysel.cli.main import main
from raysel.common.errors import UserError
from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import POINT, WARM, TrialState, fold, fold_sweep
from raysel.report.review import configuration
from raysel.search.prior import Prior, believed, of_record
from raysel.search.space import Space
from raysel.search.trial_budget import shares
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.sweep.prior_use import prior_use
from raysel.sweep.priors import prior_notes, read_prior


def earlier(storage: Path, name: str = "before", *overrides: str) -> Spec:
    """A sweep that has ended, in its folder."""
    spec = sweep("search.num_trials=24", f"name={name}", f"storage={storage}", *overrides)
    folder = SweepFolder.of(str(storage), name)
    folder.path.mkdir(parents=True)
    folder.spec.write_text(spec.to_yaml(), encoding="utf-8")
    record = Record(sqlite_url(folder.record))
    facts = {"name": name, "sweep_id": f"{name}-1", "spec": spec.to_yaml()}
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, facts))
    record.close()
    run(begin(folder.path, spec))
    return spec


def later(storage: Path, *overrides: str, prior: str = "[before]") -> Spec:
    own = (f"storage={storage}", f"search.prior={prior}", "search.num_trials=20")
    return sweep("name=after", *own, *overrides)


def start(folder: Path, spec: Spec, attempt: int = 1) -> Attempt:
    """A driver of a sweep with earlier ones, which its record keeps from the first on."""
    if attempt == 1:
        prior = read_prior(spec, Space(spec, LAYERS))
        record = Record(sqlite_url(folder / "sweep.db"))
        facts = {"name": spec.name, "spec": spec.to_yaml(), "prior": prior.to_dict()}
        record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, facts))
        record.close()
    return begin(folder, spec, attempt)


def prior_of(spec: Spec) -> Prior:
    return read_prior(spec, Space(spec, LAYERS))


def refused(spec: Spec) -> str:
    with pytest.raises(UserError) as caught:
        prior_of(spec)
    (problem,) = caught.value.problems
    assert problem.path == "search.prior.0"
    return problem.message


# --- what is taken ----------------------------------------------------------------------------


def test_what_a_record_keeps_of_earlier_sweeps_is_what_was_read(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path)
    prior = prior_of(spec)
    record = Record(sqlite_url(tmp_path / "kept.db"))
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, {"prior": prior.to_dict()}))
    assert of_record(fold_sweep(s.event for s in record.events()).prior) == prior


def test_the_best_of_an_arm_comes_after_the_published_ones(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path)
    (tmp_path / "own").mkdir()
    attempt = start(tmp_path / "own", spec)
    configs = [a.config for a in run(attempt)]
    published = {c.arm: c.training.learning_rate for c in configs[:4]}
    best: dict[str, float] = {}
    for trial in sorted(fold_of(tmp_path / "before"), key=order):
        rate = trial.config["training"]["learning_rate"]
        if rate != published[trial.strategy]:
            best.setdefault(trial.strategy, rate)
    rates = {c.arm: c.training.learning_rate for c in configs[4:8]}
    assert rates == best
    notes = [attempt.states[f"{n:04d}"].earlier for n in range(9)]
    assert notes[:4] == [("", ())] * 4
    assert notes[4:8] == [(POINT, ("before",))] * 4
    assert notes[8][0] in (WARM, "")
    shown = configuration(attempt.states["0004"])
    assert shown["earlier sweeps"] == "a configuration of before"
    assert "earlier sweeps" not in configuration(attempt.states["0000"])


def order(trial: TrialState) -> tuple[bool, int, float]:
    """Complete ones by their value, then pruned ones, the later the better."""
    is_pruned = trial.status == "PRUNED"
    return is_pruned, -len(trial.epochs) * is_pruned, trial.value or 0.0


def fold_of(folder: Path) -> list[TrialState]:
    return list(fold(read_events(sqlite_url(folder / "sweep.db"))).values())


def test_every_arm_has_as_many_trials_as_without(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path)
    (tmp_path / "own").mkdir()
    assignments = run(start(tmp_path / "own", spec))
    arms = [a.config.arm for a in assignments]
    assert {arm: arms.count(arm) for arm in arms} == shares(spec.search, Space(spec, LAYERS))


def test_the_weight_is_the_number_of_trials_that_tpe_is_given(tmp_path):
    earlier(tmp_path)  # 24 trials, 6 an arm
    for weight, expected in ((0.5, 3), (0.0, 0), (1.0, 5), (4.0, 6)):  # of shares of 5
        prior = prior_of(later(tmp_path, f"search.prior_weight={weight}"))
        arms = prior.sweeps[0].arms
        assert {arm: len(own.given) for arm, own in arms.items()} == dict.fromkeys(arms, expected)
        places = [t.place for t in arms["full"].trials]
        assert places == sorted(places)
        if expected:
            assert arms["full"].given[0] == arms["full"].trials[0]


def test_two_earlier_sweeps_share_the_weight(tmp_path):
    earlier(tmp_path)
    earlier(tmp_path, "other", "search.seed=9")
    prior = prior_of(later(tmp_path, prior="[before, other]"))
    assert [s.arms["full"].warm for s in prior.sweeps] == [3, 3]  # of 5


def test_trials_outside_the_space_are_counted_and_left_out(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path, "training.learning_rate={float: [1e-3, 1e-1], log: true}")
    space, prior = Space(spec, LAYERS), prior_of(spec)
    trials = fold_of(tmp_path / "before")
    outside = sum(t.config["training"]["learning_rate"] < 1e-3 for t in trials)
    assert 0 < outside == prior.sweeps[0].dropped
    first, second, *_ = prior_notes(prior, spec.search, space)
    assert f"{outside} that lie outside this sweep's space are left out" in first
    assert second.startswith("search.prior: tried after the published configurations: surgical 1")


def test_where_range_tests_come_first_they_are_said_to(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path, "search.first=range_test")
    _, second, *_ = prior_notes(prior_of(spec), spec.search, Space(spec, LAYERS))
    assert second.startswith("search.prior: tried after those of the range tests: surgical 1")


def test_a_value_that_was_searched_and_is_a_constant_now_has_to_be_that(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path, "strategies.bvg_ls.ema_decay=0.9")
    arms = prior_of(spec).sweeps[0].arms
    assert "bvg_ls" not in arms or all(
        t.values["bvg_ls.learning_rate"] for t in arms["bvg_ls"].trials
    )
    trials = [t for t in fold_of(tmp_path / "before") if t.strategy == "bvg_ls"]
    alike = [t for t in trials if t.config["parameters"]["ema_decay"] == 0.9]
    assert len(arms["bvg_ls"].trials if "bvg_ls" in arms else ()) == len(alike)


@pytest.mark.parametrize("address", several(1, ["before", "{}/before", "./{}/before"]))
def test_a_sweep_is_found_by_name_and_by_folder(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path.parent)
    earlier(tmp_path)
    assert prior_of(later(tmp_path, prior=f"[{address.format(tmp_path.name)}]")).sweeps


# --- resumed ----------------------------------------------------------------------------------


def test_a_sweep_resumes_alike_without_the_earlier_one(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path, "search.num_trials=32", "training.epochs=2")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run(start(tmp_path / "whole", spec))
    first = start(tmp_path / "stopped", spec)
    for _ in range(18):
        assignment = first.controller.next_trial()
        assert assignment is not None
        work(first.controller, assignment)
    left = first.controller.next_trial()
    shutil.rmtree(tmp_path / "before")
    second = begin(tmp_path / "stopped", spec, 2)
    assert run(second) == whole[18:]
    assert left == whole[18]
    warmed = [s.id for s in second.states.values() if s.earlier[0] == WARM]
    assert warmed


# --- not believed -----------------------------------------------------------------------------


def test_an_order_that_is_not_seen_is_not_believed(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path, "search.num_trials=32")
    space, prior = Space(spec, LAYERS), prior_of(spec)
    arm, searched = prior.sweeps[0].arms["full"], space.searched["full"]
    for name, worker in (("alike", error), ("turned", lambda c, e: 1.0 - error(c, e))):
        (tmp_path / name).mkdir()
        attempt = start(tmp_path / name, spec)
        while (assignment := attempt.controller.next_trial()) is not None:
            work(attempt.controller, assignment, worker=worker)
        own = [t for t in attempt.trials if t.params["strategy"] == "full"]
        assert believed(arm, searched, own) == (name == "alike")
        used = {u.strategy: u for u in prior_use(prior, list(attempt.states.values()))}["full"]
        assert (len(used.warmed) >= 4) == (name == "alike")
        assert len(used.first) == 1


# --- refused ----------------------------------------------------------------------------------


def test_one_that_is_not_there_is_refused_with_the_nearest(tmp_path):
    earlier(tmp_path)
    assert 'did you mean "before"?' in refused(later(tmp_path, prior="[befor]"))
    assert "there is no sweep" in refused(later(tmp_path, prior=f"[{tmp_path}]"))


def test_the_sweep_itself_is_refused(tmp_path):
    earlier(tmp_path)
    assert "is this sweep itself" in refused(later(tmp_path, "name=before"))


def test_another_objective_is_refused(tmp_path):
    earlier(tmp_path)
    words = refused(later(tmp_path, "objective.metric=val/loss"))
    assert "made val/error small, and this sweep makes val/loss small" in words
    assert "objective.metric: val/error" in words


def test_one_without_a_complete_trial_is_refused(tmp_path):
    folder = SweepFolder.of(str(tmp_path), "before")
    folder.path.mkdir()
    spec = sweep("name=before", f"storage={tmp_path}")
    folder.spec.write_text(spec.to_yaml(), encoding="utf-8")
    record = Record(sqlite_url(folder.record))
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, {"name": "before", "spec": spec.to_yaml()}))
    assert "has no complete trial" in refused(later(tmp_path))


def test_one_without_a_shared_strategy_is_refused(tmp_path):
    only = "\n".join(
        "strategies: {ful: {strategy: full}}" if line.startswith("strategies") else line
        for line in FILE.splitlines()
        if not line.startswith("  ")
    )
    earlier(tmp_path)
    spec = parse(
        only,
        [
            *(f"storage={tmp_path}", "search.prior=[before]", "name=after"),
            "search.baselines=false",
        ],
    )
    words = refused(spec)
    assert "has trials of surgical, bvg_ls, full and 1 more, and this sweep searches ful" in words


def test_one_without_a_shared_value_is_refused(tmp_path):
    earlier(tmp_path)
    fixed = "training.learning_rate=0.01"
    spec = later(
        *(tmp_path, fixed, "training.momentum={float: [0.0, 0.99]}"),
        "strategies={full: {training: {momentum: {float: [0.1, 0.9]}}}}",
    )
    words = refused(spec)
    assert "no value is searched in both" in words
    assert "searched learning_rate of full" in words


def test_a_sweep_that_searches_nothing_is_said_to_search_nothing(tmp_path):
    earlier(tmp_path)
    only = [line for line in FILE.splitlines() if not line.startswith(("  ", "strategies"))]
    only.append("strategies: {full: }")
    values = (f"storage={tmp_path}", "search.prior=[before]", "name=after")
    spec = parse(
        "\n".join(only), [*values, "training.learning_rate=0.01", "search.baselines=false"]
    )
    assert "and this sweep searches nothing" in refused(spec)


def test_one_whose_trials_all_lie_outside_is_refused(tmp_path):
    earlier(tmp_path)
    spec = later(tmp_path, "training.learning_rate={float: [0.2, 0.3]}")
    assert "none of its" in refused(spec) and "trials of" in refused(spec)


# --- on the command line ------------------------------------------------------------------------


@pytest.fixture
def on_the_command_line(tmp_path, monkeypatch):
    """A file beside an earlier sweep in runs/."""
    monkeypatch.chdir(tmp_path)
    earlier(tmp_path / "runs")
    file = "\n".join(line for line in FILE.splitlines() if not line.startswith("search"))
    (tmp_path / "later.yaml").write_text(file.replace("toy", "after"), encoding="utf-8")
    return "later.yaml"


def test_validate_says_what_earlier_sweeps_bring(on_the_command_line, capsys):
    assert main(["validate", on_the_command_line, "--set", "search.prior=[runs/before]"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "search.prior" in line]
    # one of the three blocks of the earlier sweep is no layer of this model
    assert "runs/before: surgical 4 trials (4 for tpe), bvg_ls 6 trials (6 for tpe)" in lines[0]
    assert lines[0].endswith("; 2 that lie outside this sweep's space are left out")
    assert "tried after the published configurations: surgical 1, bvg_ls 1, full 1" in lines[1]


@pytest.mark.parametrize("verb", several(1, ["validate", "run", "plan"]))
def test_an_earlier_sweep_that_is_not_there_is_a_line_and_exit_code_2(
    on_the_command_line, capsys, verb
):
    before = sorted(path.name for path in Path("runs").iterdir())
    assert main([verb, on_the_command_line, "--set", "search.prior=[befor]"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'search.prior.0: "befor": there is no sweep of that name in' in line
    assert 'did you mean "before"?' in line
    assert sorted(path.name for path in Path("runs").iterdir()) == before


@pytest.mark.parametrize("verb", several(1, ["validate", "run", "plan"]))
def test_the_lines_of_earlier_sweeps_that_cannot_be_used_are_said(
    on_the_command_line, capsys, verb
):
    file = Path(on_the_command_line)
    text = file.read_text(encoding="utf-8") + "\nsearch:\n  prior:\n    - befor\n"
    file.write_text(text + "    - runs/gone\n", encoding="utf-8")
    count = len(text.splitlines())
    assert main([verb, str(file)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error  search.prior.0: ") and first.endswith(f"(line {count})")
    assert second.startswith("error  search.prior.1: ") and second.endswith(f"(line {count + 1})")


@pytest.mark.parametrize("verb", several(1, ["validate", "run", "plan"]))
def test_of_a_suite_they_are_said_once_for_all_cells(on_the_command_line, capsys, verb):
    file = Path(on_the_command_line)
    text = file.read_text(encoding="utf-8") + "\nsearch: {prior: [befor]}\n"
    file.write_text(text + "axes: {training.epochs: [1, 2]}\n", encoding="utf-8")
    assert main([verb, str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error  search.prior.0: "befor": there is no sweep')
    assert line.endswith(f"(line {len(text.splitlines())})")
