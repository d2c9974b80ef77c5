"""Everything that can be known of a sweep without compute, reported together."""

import pytest

from raysel.common.errors import UserError
from raysel.search import validate
from raysel.spec.reader import parse
from raysel.strategies import registry
from raysel.strategies.base import Decision, Parameter, Step, Strategy
from raysel.strategies.static import Full

FILE = """\
name: small
task:
  data: digits
  shift: {kind: gaussian_noise}
model:
  name: resnet10t
strategies:
  full:
  surgical:
    block: stem
  bvg_ls:
    ema_decay: 0.9
"""

LAYERS = "stem, layer1, layer2, layer3, layer4, head"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in validate.check(parse(FILE, overrides))]


def test_a_sound_sweep_has_no_problem():
    assert problems() == []


@pytest.mark.parametrize(
    ("override", "line"),
    [
        # the registry
        (
            "strategies.bvg_lss=",
            'strategies.bvg_lss: no strategy is called "bvg_lss"; did you mean "bvg_ls"?',
        ),
        (
            "strategies.bvg_ls.ema_deca=0.9",
            'strategies.bvg_ls.ema_deca: bvg_ls has no such parameter; did you mean "ema_decay"?',
        ),
        # ranges, with the paper's value
        (
            "strategies.bvg_ls.ema_decay=1.2",
            "strategies.bvg_ls.ema_decay: 1.2 is outside (0, 1); the paper uses 0.9",
        ),
        (
            "strategies.bvg_ls.ema_decay={float: [0.5, 1.0]}",
            "strategies.bvg_ls.ema_decay: 1 is outside (0, 1); the paper uses 0.9",
        ),
        (
            "strategies.bvg_ls.ema_decay={categorical: [0.5, 0]}",
            "strategies.bvg_ls.ema_decay: 0 is outside (0, 1); the paper uses 0.9",
        ),
        (
            "strategies.bvg_ls.update_layers=0",
            "strategies.bvg_ls.update_layers: 0 is outside [1, inf); the paper uses 1",
        ),
        (
            "strategies.bvg_ls.ema_init=debias",
            'strategies.bvg_ls.ema_init: "debias" is unknown; did you mean "debiased"?',
        ),
        (
            "strategies.bvg_ls.ema_init={categorical: [paper, zeros]}",
            'strategies.bvg_ls.ema_init: "zeros" is unknown; there is paper, debiased',
        ),
        # distributions and the word search
        (
            "strategies.bvg_ls.ema_init={float: [0, 1]}",
            "strategies.bvg_ls.ema_init: [0, 1] is not accepted; give paper, debiased, {",
        ),
        (
            "strategies.bvg_ls.update_layers={float: [1, 2]}",
            "strategies.bvg_ls.update_layers: [1, 2] is not accepted; give a whole number in",
        ),
        ("strategies.bvg_ls.ema_decay=", "strategies.bvg_ls.ema_decay: is missing: alpha"),
        ("strategies.surgical=", "strategies.surgical.block: is missing: the layers that move"),
        # layers of the real model
        (
            "strategies.surgical.block=layer9",
            f'strategies.surgical.block: the model has no layer "layer9"; it has {LAYERS}',
        ),
        (
            "strategies.surgical.block=stem+layr1",
            'strategies.surgical.block: the model has no layer "layr1"',
        ),
        (
            "strategies.surgical.block={categorical: [stem, layer9]}",
            'strategies.surgical.block: the model has no layer "layer9"',
        ),
        # training
        (
            "training.learning_rate={float: [0, 0.1]}",
            "training.learning_rate: 0.0 is not accepted; give a number above 0",
        ),
        (
            "strategies.full.training.momentum={float: [0.5, 1]}",
            "strategies.full.training.momentum: 1.0 is not accepted; give a number below 1",
        ),
        (
            "training.optimizer={categorical: [sgd, sdg]}",
            'training.optimizer: "sdg" is unknown; did you mean "sgd"?',
        ),
        ("training.epochs={int: [0, 5]}", "training.epochs: 0 is not accepted; give a number ab"),
        # the model
        (
            "model.name=local-dir:best",
            'model.name: timm has no model "local-dir:best"; write model.name: its architecture',
        ),
        ("model.name=resnet10", 'model.name: timm has no model "resnet10"; did you mean'),
        ("model.weights=sourc", 'model.weights: there is no file "sourc"; did you mean "source"?'),
        ("model.partition=[conv1]", "model.partition: no pattern matches the parameter"),
        ("model.partition=['(']", 'model.partition.0: "(" is not a regular expression'),
        # the task
        ("task.data=digts", 'task.data: no data set is called "digts"; did you mean "digits"?'),
        ("task.shift.kind=noise", "task.shift.kind: no shift is called"),
        ("task.split.validation=5", "task.split.validation: 5 examples cannot hold all 10 classes"),
        ("task.split.train=5000", "task.split: train 5000 + validation 200 + test 400"),
        # search and objective
        ("search.num_trials=3", "search.num_trials: 3 trials are fewer than the 4 strategies"),
        ("search.sampler=grid", "search.sampler: grid cannot walk full.learning_rate, a real"),
    ],
)
def test_a_mistake_is_one_problem(override, line):
    reported = problems(override)
    assert len(reported) == 1
    assert reported[0].startswith(line)


def test_mistakes_in_different_parts_are_reported_together():
    reported = problems(
        *("task.data=digts", "model.name=resnet10", "strategies.bvg_ls.ema_decay=2"),
        *("strategies.surgical.block=9", "search.num_trials=1", "storage=/dev/null/runs"),
    )
    paths = [line.split(":")[0] for line in reported]
    # the block cannot be evaluate without a model
    assert paths == [
        *("task.data", "model.name", "strategies.bvg_ls.ema_decay"),
        *("search.num_trials", "storage"),
    ]


def test_layers_are_those_of_the_sweeps_own_partition():
    patterns = "model.partition=[conv1|bn1, layer1, 'layer[234]', fc]"
    assert problems(patterns, "strategies.surgical.block='layer[234]'") == []
    assert problems(patterns, "strategies.surgical.block=layer2") == [
        'strategies.surgical.block: the model has no layer "layer2"; '
        "it has conv1|bn1, layer1, layer[234], fc"
    ]


def test_grid_walks_steps_and_choices():
    discrete = "training.learning_rate={categorical: [0.1, 0.01]}"
    assert problems("search.sampler=grid", discrete) == []


def test_source_weights_need_a_source():
    taken = "task.split={train: 597, validation: 600, test: 600}"  # all of the 1797 digits
    assert problems(taken) == [
        "model.weights: the task leaves no source part to train on; give task.split.test or"
        " task.source a number, or take pretrained or a file here"
    ]


def saved_weights(folder, channels):
    import safetensors.torch

    from raysel.models.build import ModelConfig, build

    model = build(ModelConfig("resnet10t", 10, channels, (16, 16)), seed=0)
    safetensors.torch.save_file(model.state_dict(), folder / "w.safetensors")
    return folder / "w.safetensors"


def test_weights_that_do_not_fit_the_model_are_reported_before_anything_runs(tmp_path):
    (problem,) = problems(f"model.weights={saved_weights(tmp_path, channels=3)}")
    assert problem.startswith("model.weights: does not fit the model; of another shape: ")
    assert "for (" in problem


def test_a_checkpoint_of_something_else_is_reported(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"nothing of the kind")
    (problem,) = problems(f"model.weights={tmp_path / 'w.pth'}")
    assert "w.pth is not a file of tensors" in problem


def test_another_file_is_no_file_of_weights(tmp_path):
    (tmp_path / "w.txt").touch()
    (problem,) = problems(f"model.weights={tmp_path / 'w.txt'}")
    assert "is not a file of weights (.safetensors, .pt," in problem


def test_a_strategy_that_needs_source_data_is_refused_without(monkeypatch, tmp_path):
    class Needy(Strategy):
        name, summary, paper = "needy", "for this test", "none"
        needs = frozenset({"source_inputs"})

        def decide(self, step: Step) -> Decision:
            raise NotImplementedError

    monkeypatch.setattr(registry, "_REGISTRY", {"needy": Needy, "full": Full})
    weights = saved_weights(tmp_path, channels=1)
    sweep = (
        *("strategies={needy: , full: }", "search.baselines=false", f"model.weights={weights}"),
    )
    assert problems(*sweep) == []
    taken = "task.split={train: 597, validation: 600, test: 600}"
    assert problems(*sweep, taken) == ["strategies.needy: needs source data; the task has none"]


def test_an_optional_parameter_may_be_left_out_and_a_required_one_not(monkeypatch):
    class Demanding(Strategy):
        name, summary, paper = "demanding", "for this test", "none"
        parameters = (
            Parameter("free", "float", None, "computed", optional=True),
            Parameter("due", "float", None, "to be given"),
        )

        def decide(self, step: Step) -> Decision:
            raise NotImplementedError

    monkeypatch.setattr(registry, "_REGISTRY", {"demanding": Demanding, "full": Full})
    sweep = ("search.baselines=false", "strategies={demanding: , full: }")
    assert problems(*sweep) == ["strategies.demanding.due: is missing: to be given"]


def test_storage_below_a_file_cannot_be_made_and_nothing_is_made_by_asking(tmp_path):
    (tmp_path / "file").touch()
    assert problems("storage=file/runs") == [
        f'storage: "file/runs" cannot be made: {tmp_path / "file"} is not a folder'
    ]
    assert problems("storage=new/runs") == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_storage_in_a_shells_words_is_refused_with_what_to_write():
    with pytest.raises(UserError, match=r'^storage: "~/runs" .*whole path \(/home/you/runs\)$'):
        problems("storage=~/runs")


def test_storage_where_nothing_can_be_made_cannot_be_written():
    """Also root's; the folder's mode says that it could."""
    assert problems("storage=/proc/runs") == [
        'storage: "/proc/runs" cannot be written: no such file or directory in /proc'
    ]


@pytest.mark.parametrize(
    "name", ["mlflow.db", "mlartifacts", "MLRUNS", "comparison", "mlflow.db-wal"]
)
def test_a_sweep_is_not_called_like_what_lies_beside_the_sweeps(name):
    assert problems(f"name={name}") == [
        f'name: raysel keeps "{name}" beside the sweeps; choose another name, as my-{name}'
    ]
    assert problems(f"name=my-{name}") == []


def test_a_sweep_is_not_called_like_the_folder_of_finetune():
    (problem,) = problems("name=p.finetune")
    assert problem.startswith("name: .finetune at its end is for the folders of raysel finetune")


PLUS = "model.partition=['layer[12].+|conv1|bn1', 'layer[34].+', fc]"


@pytest.mark.parametrize(
    "block",
    [
        "layer[12].+|conv1|bn1",
        "layer[12].+|conv1|bn1+fc",
        "{categorical: ['layer[34].+', 'fc+layer[34].+']}",
    ],
)
def test_a_layer_called_by_a_pattern_with_a_plus_can_be_named(block):
    assert problems(PLUS, f"strategies.surgical.block={block}") == []


def test_a_part_that_is_no_layer_is_named():
    (problem,) = problems(PLUS, "strategies.surgical.block=fc+layer9")
    assert problem.startswith('strategies.surgical.block: the model has no layer "layer9"; it has')


def test_a_list_in_the_place_of_a_block_is_answered_with_the_ways_to_write_several():
    with pytest.raises(UserError) as caught:
        problems("strategies.surgical.block=[layer1, layer2]")
    (problem,) = caught.value.problems
    assert "{categorical: [layer1, layer2]} tries each of them" in problem.message
    assert "layers that move together are joined by +" in problem.message


@pytest.mark.parametrize("name", ["torchvision/resnet18", "microsoft:resnet18"])
def test_a_model_of_another_library_is_answered_with_timms_of_that_name(name):
    (problem,) = problems(f"model.name={name}")
    assert problem.endswith('did you mean "resnet18"?')


def test_reading_reports_the_lines_of_the_file(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(FILE.replace("0.9", "1.2").replace("resnet10t", "resnet10"))
    with pytest.raises(UserError) as caught:
        validate.read(file)
    assert [problem.line for problem in caught.value.problems] == [6, 12]
    assert (
        validate.read(file, ["model.name=resnet10t", "strategies.bvg_ls.ema_decay=0.5"]).name
        == "small"
    )


def test_an_equal_share_of_a_grid_is_refused():
    assert problems("search.sampler=grid", "search.allocation=equal", "training.learning_rate=0.1")[
        0
    ].startswith("search.allocation: grid tries every point of each strategy; take tpe, random")


def test_the_five_likeliest_of_five_classes_are_no_objective(tmp_path):
    table = tmp_path / "labels.csv"
    rows = [f"{number}.jpg,{number % 4}" for number in range(900)]
    table.write_text("\n".join(["file,label", *rows]))
    for row in rows:
        (tmp_path / row.split(",")[0]).touch()
    four = f"task.data={{csv: {table}}}"
    reported = problems(four, "objective.metric=val/top5_error")
    assert reported == [
        "objective.metric: val/top5_error is 0 for whatever model where there are 4 classes;"
        " give val/error"
    ]


def test_the_worst_group_needs_groups():
    objective = "objective.metric=val/worst_group_error"
    (reported,) = problems(objective)
    assert reported == (
        "objective.metric: val/worst_group_error needs groups; name a table's column of them:"
        " task.data.group_column, or give val/error"
    )
    assert problems(objective, "task.data={coloured_digits: 0.9}", "task.shift.kind=none") == []


def test_trials_cannot_ask_for_more_shots_than_the_training_part_has():
    """Digits: ten classes, 200 training examples."""
    axis = "training.shots={categorical: [1, 5, 10]}"
    assert problems("task.split={shots: 10}", axis) == []
    (reported,) = problems("task.split={shots: 8}", axis)
    assert reported.startswith(
        "training.shots: 10 examples a class; the training part has 8 of class"
    )
    (reported,) = problems("task.split={shots: 8}", "strategies.full={training: {shots: 9}}")
    assert reported.startswith("training.shots: 9 examples a class")


def test_a_path_that_is_too_long_for_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = "/".join(["x" * 100] * 5)
    assert "470 at most, which SQLite takes" in problems(f"storage={long}")[0]
    assert list(tmp_path.iterdir()) == []


def test_a_cache_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    (line,) = problems(f"task.cache={tmp_path}/file/cache")
    assert line.endswith(f"cannot be made: {tmp_path}/file is not a folder")


def test_a_grid_of_too_many_values_is_refused():
    (line,) = problems(
        "search.sampler=grid",
        "training.learning_rate=0.1",
        "search.allocation=adaptive",
        "training.epochs={int: [1, 100000]}",
    )
    assert "walks every value, and full.epochs has 100,000; give a step" in line


@pytest.mark.parametrize("port", ["99999", "0"])
def test_a_record_at_a_port_that_is_none_is_refused(port):
    (line,) = problems(f"database_url=postgresql://bob@host:{port}/runs")
    assert line.startswith("database_url: ") and "port" in line


def test_a_tracker_in_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "notes.db").write_text("not a database")
    (line,) = problems(f"tracking.uri=sqlite:///{tmp_path}/notes.db")
    assert line == f"tracking.uri: {tmp_path}/notes.db is not an SQLite database"
    (line,) = problems(f"tracking.uri=sqlite:///{tmp_path}")
    assert line.endswith("is a folder and no database")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tracking.uri", "sqlite:////proc/x/mlflow.db"),
        ("tracking.uri", "sqlite:////dev/null/mlflow.db"),
        ("task.cache", "/proc/cache"),
        ("storage", "/proc/runs"),
    ],
)
def test_a_place_that_cannot_be_written_is_known_before(tmp_path, path, value):
    (tmp_path / "x.yaml").write_text(
        "name: x\ntask: {data: digits}\nmodel: {name: test_resnet}\nstrategies: {full: {}}\n"
        "search: {num_trials: 2}\n"
    )
    settings = {"storage": str(tmp_path / "runs"), path: value}
    with pytest.raises(UserError) as reported:
        validate.read(tmp_path / "x.yaml", [f"{key}={text}" for key, text in settings.items()])
    assert [problem.path for problem in reported.value.problems] == [path]


def test_databricks_needs_an_address_and_a_path_of_its_workspace(monkeypatch, tmp_path):
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    address, experiment = problems("tracking.uri=databricks")
    assert address.startswith('tracking.uri: "databricks" is Databricks, and neither')
    assert experiment.startswith("tracking.experiment: ")
    assert experiment.endswith("write one such as /Users/YOU@HOST/small")
    monkeypatch.setenv("DATABRICKS_HOST", "https://example.cloud.databricks.com")
    assert problems("tracking.uri=databricks", "tracking.experiment=/Users/me@x.org/flowers") == []


@pytest.mark.parametrize("below", ["", "/runs", "/a/b"])
def test_a_storage_in_the_folder_of_the_pictures_is_refused(tmp_path, below):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    where = tmp_path / "pictures"
    for storage in (f"{where}{below}", f"{tmp_path}/link{below}"):
        found = problems(f"task={{data: {{folder: '{where}'}}}}", f"storage={storage}")
        assert any("lies in the folder of the pictures" in line for line in found)
    assert not any(line.startswith("storage") for line in problems(f"storage={tmp_path}/runs"))


def test_a_cache_in_the_folder_of_the_pictures_is_refused(tmp_path):
    """Its files would be a class of the next command's."""
    where = tmp_path / "pictures"
    where.mkdir()
    task = f"task={{data: {{folder: '{where}'}}, cache: '{where}/cache'}}"
    assert any(
        "task.cache: " in x and "lies in the folder of the pictures" in x for x in problems(task)
    )


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("layer1+layer1", '"layer1+layer1" names "layer1" twice'),
        (
            "{categorical: [layer1+layer2, stem, layer2+layer1]}",
            '"layer2+layer1" is "layer1+layer2" again; leave one out',
        ),
    ],
)
def test_a_block_names_each_layer_once_and_no_block_is_given_twice(block, words):
    assert problems(f"strategies.surgical.block={block}") == [f"strategies.surgical.block: {words}"]


@pytest.mark.parametrize("name", ["CPU", "gpu", "memory"])
def test_a_resource_of_rays_own_is_no_custom_one(name):
    with pytest.raises(UserError, match=f"resources.custom: .*{name} is "):
        parse(FILE, [f"resources.custom={{{name}: 2}}"])
