"""A model of the user's own: what is wrong with it is one line of validate, and what it lacks a
note."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from few_kit import few

from raysel.common.errors import UserError
from raysel.export.timm_layout import write_model
from raysel.models.build import ModelConfig, build
from raysel.models.custom_models import is_custom
from raysel.models.data_config import model_input
from raysel.models.layers import partition_of
from raysel.search import validate
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task

BODY = """
import torch
from torch import nn
from timm.models import register_model

class Tiny(nn.Module):
    def __init__(self, num_classes=10, in_chans=3):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 8, 3, 2, 1)
        self.fc = nn.Linear(8, num_classes)
        {more}

    def forward(self, x):
        x = self.fc(torch.relu(self.conv(x)).mean((2, 3)))
        return {given}

@register_model
def {name}({arguments}):
    return {made}
"""

SWEEP = """
name: own
task: {data: digits, split: {train: 64, validation: 64, test: 64, seed: 0}, source: 64}
model: {name: NAME}
code_files: [my_model.py]
strategies: {full: }
training: {epochs: 1, batch_size: 32}
search: {num_trials: 2}
"""

MADE = "Tiny(**{k: v for k, v in kw.items() if k in ('num_classes', 'in_chans')})"


def sweep(tmp_path, name, more="", given="x", arguments="pretrained=False, **kw", made=MADE):
    text = BODY.format(name=name, more=more, given=given, arguments=arguments, made=made)
    (tmp_path / "my_model.py").write_text(text)
    (tmp_path / "own.yaml").write_text(SWEEP.replace("NAME", name))
    overrides = [f"storage={tmp_path / 'runs'}"]
    return validate.read(tmp_path / "own.yaml", overrides)


def test_what_a_model_lacks_is_a_note(tmp_path):
    spec = sweep(tmp_path, "own_plain")
    assert is_custom("own_plain")
    assert not is_custom("resnet18")
    assert not is_custom("cifar_wrn_16_1")
    (note,) = [
        note for note in validate.notes(spec, open_task(spec.task)) if "pretrained_cfg" in note
    ]
    assert "own_plain has no pretrained_cfg" in note


def test_a_layer_that_forward_does_not_use_is_not_the_classifier(tmp_path):
    spec = sweep(tmp_path, "own_auxiliary", more="self.aux = nn.Linear(8, 4)")
    found = partition_of(spec.model.name, "coarse", 10, 1, "linear", (16, 16))
    assert found.names == ("stem", "head", "aux")
    assert set(found.head) == {"fc.weight", "fc.bias"}
    assert found.layers[found.head_layer].name == "head"


@pytest.mark.parametrize(
    ("block", "named"),
    [("aux", "aux"), ("search", "aux"), ("{categorical: [stem, aux]}", "aux"), ("stem+aux", None)],
)
def test_a_block_that_forward_does_not_use_is_refused(tmp_path, block, named):
    """Its trial had no gradient at all, which was noticed after the source model was trained."""
    spec = sweep(tmp_path, "own_idle", more="self.aux = nn.Linear(8, 4)")
    notes = validate.notes(spec, open_task(spec.task))
    assert "model.partition: the model does not use aux for an answer: it cannot learn" in notes
    file = (tmp_path / "own.yaml").read_text().replace("full: ", f"surgical: {{block: {block}}}")
    (tmp_path / "own.yaml").write_text(file)
    overrides = [f"storage={tmp_path / 'runs'}", "search.baselines=false"]
    if named is None:
        assert validate.read(tmp_path / "own.yaml", overrides)
        return
    with pytest.raises(UserError) as reported:
        validate.read(tmp_path / "own.yaml", overrides)
    (problem,) = reported.value.problems
    assert problem.path == "strategies.surgical.block"
    assert f"the model does not use {named} for an answer" in problem.message


def test_parameters_that_the_code_holds_fixed_are_a_note(tmp_path):
    spec = sweep(tmp_path, "own_fixed", more="self.conv.requires_grad_(False)")
    (note,) = [n for n in validate.notes(spec, open_task(spec.task)) if "held fixed" in n]
    assert "conv.weight, conv.bias are held fixed by the model's own code" in note


def test_a_configuration_on_the_model_itself_is_followed(tmp_path):
    config = (
        "self.pretrained_cfg = dict(input_size=(3, 48, 48), crop_pct=0.9, mean=(0.5,), std=0.2)"
    )
    spec = sweep(tmp_path, "own_configured", more=config)
    assert not [
        note for note in validate.notes(spec, open_task(spec.task)) if "pretrained_cfg" in note
    ]
    found = model_input("own_configured")
    assert (found.size, found.crop_share, found.mean) == (48, 0.9, (0.5,) * 3)
    assert found.std == (0.2,) * 3


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("own_tuple", {"given": "x, x"}, "gives tuple"),
        ("own_dict", {"given": "{'logits': x}"}, "gives dict"),
        ("own_list", {"given": "[x]"}, "gives list"),
        ("own_ten", {"made": "Tiny(7, kw['in_chans'])"}, "gives [n, 7] for 10 classes"),
        ("own_map", {"given": "x[:, :, None]"}, "gives [n, 10, 1]"),
        ("own_strict", {"arguments": "pretrained=False"}, "cannot be built"),
        ("own_no_in_chans", {"arguments": "pretrained=False, num_classes=1"}, "in_chans"),
        ("own_raises", {"more": "raise KeyError('size')"}, "cannot be built"),
        ("own_none", {"made": "None"}, "cannot be built"),
        ("own_empty", {"made": "nn.Flatten()"}, "own_empty"),
        (
            "own_whole",
            {"more": "self.n = nn.Parameter(torch.zeros(1, dtype=torch.int64), False)"},
            "the parameter n is int64; make it a buffer",
        ),
        ("own_detached", {"given": "x.detach()"}, "logits without a gradient"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_runs(tmp_path, name, values, words):
    with pytest.raises(UserError) as reported:
        sweep(tmp_path, name, **values)
    (problem,) = reported.value.problems
    assert problem.path == "model.name"
    assert words in problem.message
    assert name in problem.message
    assert "\n" not in problem.message


ASK = """
import sys
sys.modules["raysel"] = None
import torch
from predict import load
model, transform, classes = load()
print(model(torch.ones(1, 1, 16, 16)).tolist(), classes)
"""


@pytest.mark.slow
def test_it_is_exported_with_its_code(tmp_path):
    spec = sweep(tmp_path, "own_exported", given="x.clone()")
    task = load_task(spec.task, model_input("own_exported"))
    model = build(ModelConfig("own_exported", 10, 1, task.image_size), seed=0).eval()
    write_model(model, "own_exported", task, {"sweep": "s", "run": "r"}, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    out = SimpleNamespace(**config["pretrained_cfg"])
    assert (config["architecture"], out.input_size) == ("own_exported", [1, 16, 16])
    assert (out.crop_pct, out.interpolation, len(out.mean)) == (1.0, "nearest", 1)
    arguments = [sys.executable, "-c", ASK]
    done = subprocess.run(
        arguments, cwd=tmp_path / "model", capture_output=True, text=True, check=True
    )
    with torch.inference_mode():
        wanted = model(torch.ones(1, 1, 16, 16))
    logits, classes = done.stdout.rstrip("]\n").split("]] ")
    torch.testing.assert_close(torch.tensor(json.loads(logits + "]]")), wanted)
    assert classes == "['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'"


@pytest.mark.parametrize("where", ["more", "given"])
def test_a_model_that_leaves_is_one_line(tmp_path, where):
    leaving = {"more": "raise SystemExit(3)", "given": "x if x.sum() is None else exit(3)"}
    with pytest.raises(UserError, match=r"model\.name: .*the code raised SystemExit: 3"):
        sweep(tmp_path, f"own_leaves_{where}", **{where: leaving[where]})


@pytest.mark.parametrize(
    ("raises", "words"),
    few(("1 / 0", "ZeroDivisionError: division by zero"), ("pressed()", "KeyboardInterrupt: mine")),
)
def test_a_model_that_fails_in_training_is_one_line_with_its_place(tmp_path, raises, words):
    name = "own_fails_" + raises[:3].strip(" /")
    sweep(tmp_path, name, given=f"{raises} if self.training else x")
    with (tmp_path / "my_model.py").open("a") as code:
        code.write("\ndef pressed():\n    raise KeyboardInterrupt('mine')\n")
    done = subprocess.run(
        [sys.executable, "-m", "raysel", "finetune", "own.yaml"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    place = "raise" if raises == "pressed()" else raises
    lines = (tmp_path / "my_model.py").read_text().splitlines()
    (line,) = [number for number, text in enumerate(lines, 1) if place in text]
    assert done.returncode == 2
    assert done.stderr == f"error  my_model.py: {words} (line {line})\n"
