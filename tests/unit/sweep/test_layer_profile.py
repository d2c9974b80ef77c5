"""A profile: the measured worth of layers, and whether criteria know it.

The oracle is a network of parallel branches, each with a part of the picture of its own. How
clearly a part shows the class is made up, so that it is known which layer is worth most and which
nothing.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from trial_kit import config

from raysel.cli.main import main
from raysel.common.errors import OperationalError
from raysel.models.layers import partition
from raysel.report.drawing import draw_styled
from raysel.report.profile_figure import draw_profile, layer_table
from raysel.report.table import to_csv
from raysel.spec import reader
from raysel.spec.sweep import ObjectiveSpec
from raysel.sweep import layer_profile, layer_runs
from raysel.sweep.layer_criteria import CRITERIA
from raysel.sweep.layer_profile import _best_rate, measured, rates_of, to_dict
from raysel.sweep.layer_runs import LayerResult, masks_of
from raysel.training.batches import Batch
from raysel.training.loop import TrialData

CLEAR = (0.4, 3.0, 0.0, 1.5)
"""How far apart the classes are in the part of each branch: the second is worth most, the third
nothing."""

CLASSES, PART, SPLITS = 4, 8, 3
LAYERS = ("stem", "second", "third", "fourth")
ORDER = [LAYERS[i] for i in (1, 3, 0, 2)]
"""By their worth."""


class Branches(nn.Module):
    """Logits are the sum over branches, each linear in its own row of the picture."""

    def __init__(self) -> None:
        super().__init__()
        for layer in LAYERS:
            setattr(self, layer, nn.Linear(PART, CLASSES, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1).split(PART, dim=1)
        parts = [getattr(self, layer)(row) for layer, row in zip(LAYERS, rows, strict=True)]
        return torch.stack(parts).sum(0)


def examples(count: int, seed: int, drift: float = 1.0) -> Batch:
    """Noise around the class's mean; the farther the classes are apart in a part, the farther it
    has drifted from the source, where `drift` is 0."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    means = torch.randn(len(CLEAR), CLASSES, PART, generator=torch.Generator().manual_seed(3))
    means = means / means.norm(dim=2, keepdim=True)
    clear = torch.tensor(CLEAR)[:, None, None]
    rows = torch.randn(len(CLEAR), count, PART, generator=generator)
    rows = rows + drift * clear * means[:, labels]
    return Batch(rows.transpose(0, 1).reshape(count, 1, len(CLEAR), PART), labels)


class Worker:
    """What a `TrialWorker` gives, of the made-up network."""

    has_fresh_head = False
    features = None

    def __init__(self, shared: SimpleNamespace) -> None:
        self.shared = shared
        self.test = examples(400, 99)

    def model(self, of: object) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Branches()
            for parameter in model.parameters():  # all of one length, so that norms compare
                parameter.data *= 0.2 / parameter.data.norm()
        return model

    def data(self, of: SimpleNamespace) -> TrialData:
        split = of.split
        return TrialData(
            examples(200, 10 + split), examples(100, 20 + split), examples(200, 30 + split, drift=0)
        )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(layer_profile, "TrialWorker", Worker)
    patch.setattr(layer_runs, "TrialWorker", Worker)
    shared = SimpleNamespace(
        partition=partition(Branches()),
        objective=ObjectiveSpec(),
        threads=1,
        model_config=SimpleNamespace(name="branches"),
    )
    like = config("full", epochs=3, batch_size=20, learning_rate=0.1)
    file = tmp_path_factory.mktemp("profile") / "runs.jsonl"
    counts: list[tuple[int, int]] = []
    try:
        arguments = (shared, like, (1e-3, 0.1), SPLITS, 1, file)
        once = measured(*arguments, lambda *count: counts.append(count))
        again = measured(*arguments, lambda *count: counts.append(count))
    finally:
        patch.undo()
    return once, again, counts


def by_worth(values) -> list[str]:
    return sorted(LAYERS, key=lambda layer: -values[layer])


def test_the_measured_worth_of_layers_is_that_of_the_made_up_network(found):
    profile, _, _ = found
    assert profile.layers == LAYERS and profile.baseline == "untouched"
    gain = {layer: effect.mean for layer, effect in profile.gain.items()}
    cost = {layer: effect.mean for layer, effect in profile.cost.items()}
    assert by_worth(gain)[:2] == by_worth(cost)[:2] == ORDER[:2]
    best, worst = profile.gain[ORDER[0]], profile.gain[ORDER[-1]]
    assert best.low > 0.2 and cost[ORDER[0]] > 0.2
    assert worst.mean < 0.1 and abs(cost[ORDER[-1]]) < 0.05
    assert profile.gain[ORDER[0]].rate == 0.1  # and not 0.001, at which nothing is learnt
    assert profile.errors["full"] < 0.25 < 0.6 < profile.errors["untouched"]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_points_to_the_useful_layer(found, criterion):
    profile, _, _ = found
    scores = dict(zip(LAYERS, profile.criteria[criterion], strict=True))
    assert by_worth(scores)[:2] == ORDER[:2], scores
    gain, cost = profile.correlations[criterion]
    assert gain.value >= 0.79 and cost.value >= 0.79


def test_a_criterion_that_points_elsewhere_is_seen(found):
    profile, _, _ = found
    wrong = {layer: -effect.mean for layer, effect in profile.gain.items()}
    assert by_worth(wrong)[0] != ORDER[0]


def test_runs_that_are_kept_are_not_run_again(found):
    once, again, counts = found
    total = 2 * (1 + 2 * len(LAYERS)) + SPLITS * (2 + 2 * len(LAYERS))
    first = counts.index((total, total))
    assert counts[0] == (0, total)
    assert counts[first + 1 :] == [(2 * (1 + 2 * len(LAYERS)), total), (total, total)]
    assert to_dict(once) == to_dict(again)


def test_the_table_and_the_figure_hold_every_layer_and_criterion(found):
    profile, _, _ = found
    lines = to_csv(layer_table(profile)).splitlines()
    assert [line.partition(",")[0] for line in lines[1:5]] == list(LAYERS)
    assert lines[0].split(",")[-len(CRITERIA) :] == list(CRITERIA)
    assert lines[5].startswith("rank correlation with the gain alone")
    left, right = draw_styled(draw_profile, profile).axes
    assert [label.get_text() for label in left.get_yticklabels()] == list(LAYERS)
    assert len(right.get_xticks()) == len(CRITERIA)


def test_with_a_new_head_every_mask_moves_it_too():
    layers = partition(Branches())
    names = [mask.name for mask in masks_of(layers, fresh_head=True)]
    assert names[:2] == ["head", "full"]
    assert f"alone/{layers.names[layers.head_layer]}" not in names
    kept = masks_of(layers, fresh_head=False)
    assert [mask.moves for mask in kept[:2]] == [False, True]
    assert kept[-1].parameters == {"block": "stem+second+third"}


def test_learning_rates_are_the_files_own_or_the_middles_of_its_range():
    text = """
name: p
task: {data: digits, split: {train: 20, validation: 20, test: 20}}
model: {name: test_resnet}
strategies: {full: }
"""

    def rates(*overrides: str) -> tuple[float, ...]:
        spec = reader.parse(text, overrides)
        return rates_of(spec, SimpleNamespace(arms=["full"], registered={"full": "full"}))

    assert rates("training.learning_rate={float: [1e-4, 1e-1], log: true}") == pytest.approx(
        (3.16e-4, 3.16e-3, 3.16e-2)
    )
    assert rates("training.learning_rate={categorical: [0.1, 0.2]}") == (0.1, 0.2)
    assert rates("training.learning_rate=0.3") == (0.3,)
    assert rates("strategies.full={training: {learning_rate: 0.5}}") == (0.5,)


def test_of_equal_learning_rates_the_middle_one_is_taken():
    rates = (0.1, 0.2, 0.4)

    def best(*errors: float | None) -> float:
        results = [LayerResult("full", 0, *of, "") for of in zip(rates, errors, strict=True)]
        return _best_rate(results, "full", rates)

    assert best(0.5, 0.5, 0.5) == 0.2
    assert best(0.5, None, 0.4) == 0.4
    with pytest.raises(OperationalError, match="diverged at every learning rate"):
        best(None, None, None)


def test_a_run_that_fails_is_answered_in_one_line(tmp_path, monkeypatch):
    class Broken(Worker):
        def model(self, of: object) -> nn.Module:
            raise ValueError("no such\nmodel")

    monkeypatch.setattr(layer_runs, "TrialWorker", Broken)
    first = masks_of(partition(Branches()), fresh_head=False)[0]
    runs = [layer_runs.layer_run(first, config("full"), 0.1, 1)]
    with pytest.raises(OperationalError, match=r"a run failed: untouched.*ValueError: no such$"):
        layer_runs.results_of(
            SimpleNamespace(threads=1), runs, tmp_path / "runs.jsonl", 1, lambda *_: None
        )


@pytest.mark.slow
def test_profile_from_the_command_line(tmp_path, monkeypatch, capsys):
    """On digits in processes of its own; a second call has nothing left to run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text("""
name: p
task: {data: digits, shift: {kind: gaussian_noise}, split: {train: 40, validation: 40, test: 40}}
model: {name: test_resnet.r160_in1k, weights: source}
source: {epochs: 2}
strategies: {full: }
training: {epochs: 1, batch_size: 20, learning_rate: 0.01}
""")
    for _ in range(2):
        assert main(["profile", "p.yaml", "--json", "--processes", "2"]) == 0
        found = json.loads(capsys.readouterr().out)
    assert [layer["layer"] for layer in found["layers"]] == [
        "stem", "layer1", "layer2", "layer3", "layer4", "head",
    ]  # fmt: skip
    assert set(found["correlations"]) == set(CRITERIA)
    folder = tmp_path / "runs" / "p.profile"
    for name in ("profile.json", "profile.csv", "profile.png"):
        assert (folder / name).is_file()
    assert len((folder / "runs.jsonl").read_text().splitlines()) == 3 * 14
