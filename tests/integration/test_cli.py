"""The verbs that compute nothing: init, validate, schema, version, and help."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from few_kit import several

import raysel
from raysel.cli import main
from raysel.spec import reader

QUICK_START = Path(__file__).parents[2] / "search_spaces" / "digits.yaml"


@pytest.fixture
def starter(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["init", "sweep.yaml"]) == 0
    capsys.readouterr()
    return tmp_path / "sweep.yaml"


def schema(capsys) -> jsonschema.Draft202012Validator:
    assert main.main(["schema"]) == 0
    return jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))


def plain(text: str) -> object:
    """The file as an editor sees it, before the types read it."""
    return reader._read_yaml(text, "file")


def test_the_starter_is_sound_and_holds_the_defaults(starter, capsys):
    assert main.main(["validate", str(starter)]) == 0
    written = reader.load(starter)
    smallest = {key: yaml.safe_load(starter.read_text())[key] for key in ("name", "task", "model")}
    smallest["strategies"] = yaml.safe_load(starter.read_text())["strategies"]
    assert written == reader.parse(yaml.safe_dump(smallest))


def test_validate_shows_layers_strategies_and_the_size_of_the_space(starter, capsys):
    assert main.main(["validate", str(starter), "--set", "training.learning_rate=0.1"]) == 0
    out = capsys.readouterr().out
    assert "resnet10t: 6 layers, 4,927,186 parameters" in out
    assert "stem | layer1 | layer2 | layer3 | layer4 | head" in out
    assert "unlimited configurations" in out and "one configuration, nothing to tune" in out


def test_validate_opens_the_data_set_once(starter, monkeypatch):
    from raysel.tasks.readers import embedded_digits

    opened, digits = [], embedded_digits.digits
    monkeypatch.setattr(embedded_digits, "digits", lambda: opened.append("digits") or digits())
    assert main.main(["validate", str(starter)]) == 0
    assert opened == ["digits"]


def test_validate_json_is_one_object(starter, capsys):
    constants = "training.learning_rate=0.1", "strategies.bvg_ls.ema_decay=0.9"
    sets = [part for value in constants for part in ("--set", value)]
    assert main.main(["validate", str(starter), "--json", *sets]) == 0
    reported = json.loads(capsys.readouterr().out)
    # 6 blocks; bvg_ls, full and linear_probe have one configuration each, and no search
    assert (reported["valid"], reported["size"], reported["trials"], reported["sampler"]) == (
        True,
        6,
        6,
        "grid",
    )
    assert sum(reported["layers"].values()) == reported["parameters"]


def test_validate_json_reports_problems_too(starter, capsys):
    assert main.main(["validate", str(starter), "--json", "--set", "training.epochs=0"]) == 2
    reported = json.loads(capsys.readouterr().out)
    assert (reported["valid"], reported["problems"][0]["path"]) == (False, "training.epochs")


def test_the_quick_start_is_sound():
    assert main.main(["validate", str(QUICK_START)]) == 0


def test_the_schema_is_one_and_fits_the_files_as_they_are_written(starter, capsys):
    validator = schema(capsys)
    validator.check_schema(validator.schema)
    assert list(validator.iter_errors(plain(starter.read_text()))) == []
    assert list(validator.iter_errors(plain(QUICK_START.read_text()))) == []
    resolved = reader.load(QUICK_START).to_yaml()
    assert list(validator.iter_errors(yaml.safe_load(resolved))) == []


@pytest.mark.parametrize(
    "override",
    several(
        3,
        [
            "training.epohcs=3",
            "training.epochs=0",
            "strategies.bvg=",
            "strategies.bvg_ls.ema_deca=0.9",
            "strategies.bvg_ls.ema_decay={flaot: [0, 1]}",
            "strategies.full.training=publishd",
            "strategies.full.training={epohcs: 3}",
            "search.sampler=tp",
            "training.learning_rate={int: [1, 2]}",
        ],
    ),
)
def test_the_schema_refuses_what_the_grammar_refuses(starter, capsys, override):
    data = plain(starter.read_text())
    reader._apply(override, data)
    assert list(schema(capsys).iter_errors(data))


def test_the_schema_describes_strategies_and_their_parameters(capsys):
    strategies = schema(capsys).schema["properties"]["strategies"]["properties"]
    assert "alpha" in strategies["bvg_ls"]["properties"]["ema_decay"]["description"]


def test_version_is_reported_both_ways(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"raysel {raysel.__version__}\n"
    assert main.main(["version"]) == 0
    out = capsys.readouterr().out
    assert all(package in out for package in ("raysel", "torch", "optuna"))


def test_no_arguments_show_the_help(capsys):
    assert main.main([]) == 0
    assert "Usage: raysel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "also"),
    [(["--help"], {"pydantic"}), (["validate", "--help"], set())],  # typer itself reads with it
)
def test_help_imports_nothing_heavy(arguments, also):
    heavy = {"torch", "timm", "ray", "mlflow", "optuna", "numpy", "rich", "yaml"} | also
    code = (
        f"import sys; from raysel.cli import main as cli; cli.main({arguments});"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: raysel" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
