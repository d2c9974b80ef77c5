"""Whatever stands at whatever key of a sweep file, `raysel validate` ends with exit code 0 or 2 and
says what is wrong in one line a mistake, without a traceback and without a control character."""

import copy
import random
import unicodedata

import pytest
import yaml
from few_kit import WIDE

from raysel.cli import main
from raysel.common.errors import UserError
from raysel.spec.reader import SweepFile

FULL = yaml.safe_load(
    """
name: full
description: text
task: {data: digits, root: data, download: false, augmentation: none,
  max_unreadable_fraction: 0.01, source: 200,
  shift: {kind: gaussian_noise, severity: 5},
  split: {train: 60, validation: 60, test: 60, seed: 0, official: true}}
model: {name: test_resnet, weights: source, head: linear, partition: coarse}
strategies:
  full: {training: {epochs: 2, batch_size: 4, optimizer: sgd, learning_rate: 0.1, momentum: 0.5,
    weight_decay: 0.1, schedule: cosine, warmup_epochs: 1, batch_norm: train, precision: float32,
    clip_norm: 1.0, gradient_accumulation_steps: 2, shots: 2}}
  surgical: {block: search}
  bvg_ls: {ema_decay: {float: [0.5, 0.99], log: true, first: 0.6}, ema_init: debiased}
  bvg_ls_threshold: {threshold: {float: [0.01, 1.0], step: 0.1}}
training: {epochs: {int: [1, 3], step: 1, log: false, first: 1}, batch_size: 4,
  optimizer: {categorical: [sgd, adam]}, learning_rate: {float: [0.001, 0.1], log: true},
  momentum: 0.5, weight_decay: 0.1, schedule: cosine, warmup_epochs: 1, batch_norm: train,
  precision: float32, clip_norm: 1.0, gradient_accumulation_steps: 2,
  deterministic: false, shots: 2}
search: {sampler: tpe, num_trials: 10, allocation: adaptive, seed: 0, baselines: true}
pruner: {kind: asha, grace_epochs: 1, reduction_factor: 2, compare: all}
objective: {metric: val/error}
confirm: {seeds: 1, epoch: best, test_every_epoch: false}
resources: {cpus: 1, gpus: 0, custom: {a: 1.0}, labels: {a: b}}
budget: {seconds: 10.0, hours: 1.0}
trace: {every_n_steps: 1, diagnostics: [parameter_change]}
tracking: {uri: "sqlite:///x.db", experiment: e}
storage: runs
database_url: null
code_files: []
"""
)

VALUES = [
    *(2**31, 2**63, 2**64, -(2**63), 10**400, -1, 0, 1e308, -1e308, 1e-320, 0.5, True, False, None),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        " x ",
        "x" * 300,
        "x" * 5000,
        "\u202eé🎉",
    ),
    *("\x1b[31m", "a\0b", "a\nb", "\ud800", "[/b]", "~/x", "$HOME", "s3://b?secret_key=k", "{x}"),
    *("file:///x", "C:\\x", "/dev/zero", "/dev/null/x", "..", "a/b", "%s", "search", "none", "off"),
    *([], {}, [[[]]], [1, 2], [None], [""], ["a", "a"], {1: 2}, {None: 1}, {"float": [0, 1]}),
    *({"float": [-1e308, 1e308]}, {"float": [0, 1], "step": 1e-300}, {"int": [0, 2**63]}),
    *({"float": ["a", None]}, {"float": None}, {"int": [1.5, 2]}, {"categorical": [1, "a", True]}),
    *({"categorical": [1e400]}, "1:30", "2020-01-01", "(a+)+$", ["a{999999999}"], "stem+"),
]


def paths(value, at=()):
    """Every key and index of the file."""
    if at:
        yield at
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    for key, below in inner:
        yield from paths(below, (*at, key))


def written(at, value) -> str:
    """The whole file with another value at one place."""
    document = copy.deepcopy(FULL)
    place = document
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    return yaml.dump(document, Dumper=_Quoting, sort_keys=False)


class _Quoting(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)

CASES = [(at, value) for at in paths(FULL) for value in VALUES]


_random = random.Random(0)
KEYS = list(paths(FULL))
MANY = [(_random.choice(KEYS), value) for value in VALUES]
MANY += [(key, _random.choice(VALUES)) for key in KEYS]
"""Every value at some key, some value at every key: a sixth of them in `make test`."""
MANY = MANY if WIDE else MANY[::6]
SOME = _random.sample(MANY, 10)


def test_the_grammar_takes_or_refuses_every_value_at_every_key():
    refused = 0
    for at, value in MANY:
        try:
            spec = SweepFile("x.yaml", written(at, value)).spec()
        except UserError as error:
            refused += 1
            for line in map(str, error.problems):
                assert len(line) < 1500, (at, value)
                assert not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in line), at
        else:
            assert SweepFile("again", spec.to_yaml()).spec() == spec, (at, value)
    assert len(MANY) * 0.7 < refused < len(MANY)


ALL_AT_THE_STRATEGIES = [case for case in CASES if case[0][0] == "strategies" and len(case[0]) > 2]


def validated(tmp_path, capsys, cases) -> set[int]:
    codes = set()
    for at, value in cases:
        (tmp_path / "x.yaml").write_text(written(at, value), encoding="utf-8")
        code = main.main(["validate", "x.yaml"])
        codes.add(code)
        lines = capsys.readouterr().err.splitlines()
        reported = [line for line in lines if not line.startswith("warning  ")]
        assert code in (0, 2), (at, value)
        assert bool(reported) == (code == 2), (at, value)
        assert all(line.startswith("error  ") for line in reported), (at, value, reported)
    return codes


def test_validate_ends_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    validated(tmp_path, capsys, [(("name",), "full")])
    assert validated(tmp_path, capsys, [(("name",), "full"), *SOME]) == {0, 2}


@pytest.mark.slow
def test_validate_ends_in_order_whatever_a_strategy_is_given(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert validated(tmp_path, capsys, ALL_AT_THE_STRATEGIES) == {0, 2}
