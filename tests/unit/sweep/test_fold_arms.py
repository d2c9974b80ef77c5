"""results.json of a sweep with arms, of several configurations, and of arms without a search."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from confirm_kit import entry
from controller_kit import LAYERS, sweep

from raysel.models.layers import Layer, Partition
from raysel.record.state import TrialState
from raysel.search.space import Space
from raysel.spec.sweep import Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.confirm import finalists, runs_of
from raysel.sweep.fold_results import fold_results
from raysel.sweep.inputs import SweepInputs
from raysel.sweep.question import baseline_of
from raysel.sweep.results import Spent, SweepResults
from raysel.sweep.verdict import Question, verdict

PARTITION = Partition(
    tuple(Layer(name, (f"{name}.weight",), (8,)) for name in LAYERS), ("head.weight",)
)
ARMS = (
    "strategies={rgn: {strategy: auto_rgn}, one: {strategy: surgical, block: search},"
    " everything: {strategy: full}}",
    *("training={learning_rate: 0.1, epochs: 2}", "confirm.splits=2", "search.baselines=false"),
    "search.run_single_configurations=false",
)


def epochs(value: float) -> tuple[dict[str, float], ...]:
    moved = {f"select/{name}": 1.0 for name in LAYERS}
    common = {"val/loss": value, "cost/seconds": 1.0, **moved}
    return tuple({"epoch": e, "val/error": value, **common} for e in (1, 2))


def searched(number: int, config: TrialConfig, value: float) -> TrialState:
    return TrialState(
        f"{number:04d}",
        number=number,
        strategy=config.arm,
        label=config.label(),
        config=config.model_dump(mode="json"),
        searched={"block": config.parameters["block"]},
        status="COMPLETE",
        value=value,
        epochs=epochs(value),
    )


def confirmed(number: int, name: str, config: TrialConfig, value: float) -> TrialState:
    ended = {"confirm/epoch": 2.0, "confirm/updated_share": 1.0, "test/loss": 1.0}
    return TrialState(
        name,
        number=number,
        phase="confirm",
        strategy=config.arm,
        label=config.label(),
        config=config.model_dump(mode="json"),
        status="COMPLETE",
        epochs=epochs(value),
        end_metrics={"test/error": value, **ended},
    )


def results(*overrides: str) -> SweepResults:
    """A sweep whose best block is `body`; `rgn` does best of all, `everything` worst."""
    spec: Spec = sweep(*ARMS, *overrides)
    space = Space(spec, LAYERS)
    errors = {"stem": 0.4, "body": 0.2, "head": 0.3}
    search = [
        searched(number, space.first_configuration("one", {"one.block": block}), errors[block])
        for number, block in enumerate(LAYERS)
    ]
    chosen = finalists(search, "val/error", spec.confirm.configurations, space.single)
    singles = {"rgn": 0.1, "everything": 0.5}
    runs = [
        confirmed(
            number,
            run.trial,
            run.config,
            singles.get(run.config.arm) or errors[run.config.parameters["block"]],
        )
        for number, (_, run) in enumerate(runs_of(spec, chosen, search))
    ]
    task: Any = SimpleNamespace(summary=None, draws=(), rest=0, record={})
    config: Any = None
    inputs = SweepInputs(spec, (), task, PARTITION, config)
    return fold_results(inputs, "toy-1", [*search, *runs], Spent(), {}, True)


def test_an_arm_stands_under_its_name_and_its_registered_strategy_beside_it():
    found = results()
    assert {r.strategy: r.registered for r in found.confirm} == {
        **{"rgn": "auto_rgn", "one": "surgical", "everything": "full"}
    }
    assert found.registered == {"rgn": "auto_rgn", "one": "surgical", "everything": "full"}
    assert found.arm_of("full") == "everything"
    assert next(r for r in found.confirm if r.strategy == "rgn").moved_is == "weight"
    assert SweepResults.model_validate(found.to_dict()) == found


def test_the_baseline_is_the_arm_whose_strategy_is_full():
    found = results().verdict
    assert (found.baseline, found.against) == ("everything", "everything")
    assert "against everything (full fine-tuning)" in found.sentence


def test_without_a_search_the_winner_is_the_first_of_the_confirm_runs_and_said_to_be():
    found = results()
    assert (found.verdict.winner, found.verdict.chosen_by) == ("rgn", "confirm")
    assert found.verdict.sentence.startswith(
        "rgn comes first by mean validation error over the confirm runs."
    )
    given = found.confirm[0]
    assert given.trial is None and given.config["strategy"] == "auto_rgn"
    assert [e.strategy for e in found.effort if e.nothing_to_tune] == ["rgn", "everything"]
    assert all(c.outcome != "unequal_effort" for c in found.verdict.against_baseline)


def test_a_winner_of_the_confirm_runs_is_compared_with_the_correction_for_all_arms():
    """One of several arms, chosen by the very runs: its own interval alone would say too much."""
    full = [0.300, 0.320, 0.280, 0.310, 0.290]
    lucky = [e + d for e, d in zip(full, (-0.06, -0.03, -0.05, -0.01, -0.02), strict=True)]
    rows = [entry("full", full), entry("a", lucky)]
    rows += [entry(f"b{i}", [e + 0.001 * (-1) ** k for k, e in enumerate(full)]) for i in range(4)]
    question = Question("val/error", ["a", "full"], splits=5)
    assert verdict(rows, question).outcome == "better"
    names = [row.strategy for row in sorted(rows, key=lambda row: row.strategy)]
    chosen = Question("val/error", names, splits=5, chosen_by="confirm")
    assert verdict(rows, chosen).outcome == "not_shown"


def test_the_best_of_each_arm_takes_part_and_the_others_stand_apart():
    found = results("confirm.configurations=all")
    assert len(found.confirm) == 3
    (one,) = [row for row in found.confirm if row.strategy == "one"]
    assert (one.trial, one.test_error.mean) == ("0001", 0.2)
    others = [(row.strategy, row.trial, row.test_error.mean) for row in found.other_configurations]
    assert others == [("one", "0002", 0.3), ("one", "0000", 0.4)]
    assert {c.ours for c in found.verdict.against_baseline} == {"rgn", "one"}
    assert found.verdict.sentence == results().verdict.sentence


def test_the_baseline_of_several_models_is_the_full_fine_tuning_that_comes_first():
    models = "model.name={categorical: [resnet10t, test_vit]}"
    layers = {"resnet10t": LAYERS, "test_vit": LAYERS}
    several = Space(sweep(models, "search.allocation=equal"), layers)
    ranking = ["linear_probe-resnet10t", "full-test_vit", "full-resnet10t"]
    assert baseline_of(several, ranking) == "full-test_vit"
    assert baseline_of(several, ranking[::-1]) == "full-resnet10t"
    assert baseline_of(Space(sweep(), LAYERS), ["bvg_ls", "full"]) == "full"


def test_there_are_no_others_where_nothing_is_said():
    assert results().other_configurations == ()
