"""What a sweep with adapters is refused for, before anything is computed."""

from __future__ import annotations

import pytest
from few_kit import several

from raysel.models import adapter_package
from raysel.search import validate
from raysel.spec.reader import parse, parse_resolved
from raysel.tasks.opened_task import open_task

FILE = """\
name: small
task: {data: digits}
model: {name: test_vit, adapter: {kind: lora, rank: 4}}
strategies: {full: , bvg_ls: }
training: {epochs: 10}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in validate.check(parse(FILE, overrides))]


@pytest.mark.parametrize(
    ("override", "words"),
    several(
        9,
        [
            ("model.adapter.targets=all", None),
            ("model.adapter.targets=[qkv]", None),
            ("model.head=mlp", None),
            ("strategies.full.training={weight_averaging: 0.9}", None),
            ("training.pull={strength: 0}", None),
            (
                "model.adapter.rank=0",
                "model.adapter.rank: 0 is not accepted; give a number above 0",
            ),
            (
                "model.adapter.rank=4.5",
                "model.adapter.rank: 4.5 is not accepted; give a whole number",
            ),
            ("model.adapter.rank=100", "model.adapter.rank: 100 is not a low rank"),
            ("model.adapter.kind=dora", 'model.adapter.kind: "dora" is unknown'),
            ("model.adapter.targets=atention", 'did you mean "attention"?'),
            ("model.adapter.targets=[]", "give at least one"),
            ("model.adapter.targets=[qvk]", 'model.adapter.targets: "qvk" matches no linear layer'),
            ("model.adapter.ranks=4", 'did you mean "rank"?'),
            ("model.name=test_resnet", "model.adapter: the model has no linear layer beside"),
            ("training.pull.strength=0.1", "training.pull: draws weights to where they began"),
            (
                "strategies.full.training={pull: {strength: 1}}",
                "strategies.full.training.pull: draws",
            ),
            (
                "strategies.wise={strategy: full, after: {kind: wise_ft}}",
                "strategies.wise.after: wise",
            ),
            ("strategies.norm_only={}", "with model.adapter nothing else moves"),
        ],
    ),
)
def test_each_mistake_is_one_line(override, words):
    try:
        found = problems(override)
    except Exception as error:
        found = [str(error)]
    assert found == [] if words is None else [words in line for line in found] == [True], found


def test_without_its_package_it_is_refused_whatever_is_remembered(monkeypatch):
    assert problems() == []
    monkeypatch.setattr(adapter_package, "find_spec", lambda name: None)
    (found,) = problems()
    assert found == 'model.adapter: lora needs the package peft: pip install "raysel[lora]"'


def test_it_is_read_back_and_left_out_it_is_none():
    spec = parse(FILE)
    assert parse_resolved(spec.to_yaml()) == spec
    assert spec.without_adapter.model.adapter is None
    assert parse(FILE.replace(", adapter: {kind: lora, rank: 4}", "")).model.adapter is None


def test_the_notes_say_how_much_moves():
    spec = parse(FILE)
    (note,) = [n for n in validate.notes(spec, open_task(spec.task)) if "lora" in n]
    assert note.startswith("model.partition: lora of rank 4 beside 12 linear layers: with the")
