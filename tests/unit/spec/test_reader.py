"""Reading a sweep file: one line a mistake, with the field, the value and what is accepted."""

from pathlib import Path

import pytest

from raysel.common.errors import Problem, UserError
from raysel.spec.reader import SweepFile, load, parse

FILE = """\
name: small
task:
  data: digits
model:
  name: resnet10t
strategies:
  full:
  bvg_ls:
    ema_decay: 0.9
training:
  epochs: 3
  learning_rate: 1e-3
"""


def lines(text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse(text, overrides)
    return [str(problem) for problem in caught.value.problems]


RANGE = "{float: [low, high]}"
CHOICE = "{categorical: [a, b]}"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        # unknown keys
        ("nam=x", 'nam: unknown key; did you mean "name"?'),
        ("training.epohcs=1", 'training.epohcs: unknown key; did you mean "epochs"?'),
        (
            "strategies.full.training.epohcs=1",
            'strategies.full.training.epohcs: unknown key; did you mean "epochs"?',
        ),
        (
            "training.learning_rate={float: [1, 2], lgo: true}",
            'training.learning_rate.lgo: unknown key; did you mean "log"?',
        ),
        (
            "strategies.bvg_ls.ema_decay={float: [0, 1], stpe: 1}",
            'strategies.bvg_ls.ema_decay.stpe: unknown key; did you mean "step"?',
        ),
        ("task.colour=x", "task.colour: unknown key; there is data, root, download, image_size, "),
        ("task.data={foldr: x}", "task.data: {foldr: x} is not accepted; give a value, {folder: "),
        (
            "task.split.shots={categorical: [1, 5]}",
            "task.split.shots: {categorical: [1, 5]} is not accepted: the parts are the same for"
            " every trial; trials that train on fewer examples of each class: training.shots",
        ),
        ("task.split.train=1.5", "task.split.train: 1.5 is not accepted: give a number of exam"),
        (
            "task.split={train: 3, shots: 2}",
            "task.split: {train: 3, shots: 2} is not accepted: gi",
        ),
        # wrong types
        ("training.learning_rate=a", 'training.learning_rate: "a" is not accepted; give a number'),
        ("training.epochs=true", "training.epochs: true is not accepted; give a whole number"),
        ("training.epochs=", "training.epochs: is empty; give a whole number"),
        ("training=3", "training: 3 is not accepted; give keys and values below it"),
        ("strategies.full=3", "strategies.full: 3 is not accepted: give the strategy's parameters"),
        ("training.deterministic=1", "training.deterministic: 1 is not accepted; give true or"),
        # numbers
        ("training.epochs=0", "training.epochs: 0 is not accepted; give a number above 0"),
        ("search.num_trials=0", "search.num_trials: 0 is not accepted; give a number above 0"),
        ("confirm.seeds=0", "confirm.seeds: 0 is not accepted; give a number above 0"),
        ("training.momentum=1.0", "training.momentum: 1.0 is not accepted; give a number below 1"),
        ("task.shift.severity=6", "task.shift.severity: 6 is not accepted; give a number of at"),
        ("training.learning_rate=.inf", "training.learning_rate: .inf is not accepted; give a fin"),
        # words
        (
            "objective.metric=val/top5",
            'objective.metric: "val/top5" is unknown; did you mean "val/top5_error"?',
        ),
        ("search.sampler=tp", 'search.sampler: "tp" is unknown; did you mean "tpe"?'),
        ("model.partition=cors", 'model.partition: "cors" is unknown; did you mean "coarse"?'),
        ("training.optimizer=sdg", 'training.optimizer: "sdg" is unknown; did you mean "sgd"?'),
        (
            "strategies.full.training=publishd",
            'strategies.full.training: "publishd" is unknown; did you mean "published"?',
        ),
        # distributions
        (
            "training.learning_rate={float: [1, 0]}",
            "training.learning_rate: {float: [1, 0]} is not accepted: the lower bound 1 is above",
        ),
        (
            "training.learning_rate={float: [1]}",
            "training.learning_rate.float: [1] is not accepted: give [low, high]",
        ),
        (
            "training.learning_rate={float: [0, 1], log: true}",
            "training.learning_rate: {float: [0, 1], log: true} is not accepted: a logarithmic",
        ),
        (
            "training.learning_rate={flaot: [0, 1]}",
            "training.learning_rate: {flaot: [0, 1]} is not accepted; "
            f"give a value, {RANGE} or {CHOICE}",
        ),
        (
            "training.epochs={float: [1, 2]}",
            "training.epochs: {float: [1, 2]} is not accepted; "
            f"give a value, {{int: [low, high]}} or {CHOICE}",
        ),
        (
            "strategies.bvg_ls.ema_decay={categorical: []}",
            "strategies.bvg_ls.ema_decay.categorical: [] is not accepted: give at least one",
        ),
        (
            "strategies.bvg_ls.ema_decay={categorical: [1, true]}",
            "strategies.bvg_ls.ema_decay.categorical: [1, true] is not accepted: an option",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_accepted(override, line):
    reported = lines(FILE, override)
    assert len(reported) == 1
    assert reported[0].startswith(line)


def test_all_mistakes_are_reported_together_in_the_files_order_with_their_lines():
    text = FILE.replace("epochs: 3", "epochs: 0").replace("data: digits", "dta: digits")
    assert lines(text) == [
        "task.data: is missing (line 2)",
        'task.dta: unknown key; did you mean "data"? (line 3)',
        "training.epochs: 0 is not accepted; give a number above 0 (line 11)",
    ]


def test_what_the_command_line_sets_has_no_line():
    assert lines(FILE, "training.epochs=0")[0].endswith("above 0")


def test_a_problem_found_later_gets_the_line_of_its_deepest_key():
    problem = Problem("strategies.bvg_ls.ema_decay", "x")
    missing = Problem("strategies.bvg_ls.threshold", "x")
    located = SweepFile("file", FILE).locate([problem, missing])
    assert [p.line for p in located] == [8, 9]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "sweep file: is empty; `raysel init` writes a commented example"),
        ("# nothing\n", "sweep file: is empty"),
        ("digits", 'sweep file: must hold keys and values, not "digits"'),
        ("name: [", "sweep file: is not YAML: expected the node content"),
        ("name: x\n  y: z\n", "sweep file: is not YAML: mapping values are not allowed here"),
        ("name: *x", "sweep file: is not YAML: found undefined alias"),
        ("[a]: b", "sweep file: a key must be a word, not a list or keys (line 1)"),
        (
            "name: x\n\x00",
            "sweep file: holds a character that YAML does not allow (#x0000) (line 2)",
        ),
        ("name: x\nname: y", "name: is given twice in one place (line 2)"),
        ("name: " + 3000 * "[" + 3000 * "]", "sweep file: is nested too deep to be read"),
    ],
)
def test_what_is_not_a_sweep_file_is_one_line(text, line):
    reported = lines(text)
    assert len(reported) == 1
    assert reported[0].startswith(line)


def test_a_tag_that_would_build_an_object_builds_nothing(tmp_path):
    made = tmp_path / "made"
    text = f"name: !!python/object/apply:pathlib.Path.touch [!!python/name:x, {made}]"
    assert lines(text) == [
        "sweep file: only plain YAML values are read; the tag !!python/object/apply:"
        "pathlib.Path.touch is refused, leave it out (line 1)"
    ]
    assert not made.exists()


@pytest.mark.parametrize(
    ("written", "number"), [("1e-4", 1e-4), ("1E+2", 100.0), (".5e1", 5.0), ("2.e-1", 0.2)]
)
def test_scientific_notation_is_a_number(written, number):
    assert parse(FILE, [f"training.learning_rate={written}"]).training.learning_rate == number


def test_overrides_reach_keys_that_the_file_omits():
    spec = parse(FILE, ["strategies.surgical.block=stem", "strategies.linear_probe="])
    assert spec.strategies["surgical"].parameters == {"block": "stem"}
    assert list(spec.strategies) == ["full", "bvg_ls", "surgical", "linear_probe"]


@pytest.mark.parametrize("override", ["training.epochs", "=3", "training..epochs=3"])
def test_an_override_without_key_or_value_is_refused(override):
    assert lines(FILE, override) == [f'--set: "{override}" is not of the form key.subkey=value']


def test_a_value_that_is_nested_too_deep_is_one_line():
    deep = "task.data=" + 3000 * "[" + 3000 * "]"
    assert lines(FILE, deep) == ["--set: task.data: is nested too deep to be read"]


def test_an_override_below_a_plain_value_is_refused():
    assert lines(FILE, "name.first=x") == ['--set: "name.first": there is nothing below name']


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, line in [
        (Path("missing.yaml"), "missing.yaml: there is no such file"),
        (tmp_path, f"{tmp_path}: cannot be read: Is a directory"),
        (binary, f"{binary}: is not text in UTF-8"),
    ]:
        with pytest.raises(UserError) as caught:
            load(path)
        assert str(caught.value) == line
