"""One trial without Ray: what is said of the model that it leaves."""

import json
from pathlib import Path

import pytest
import safetensors.torch

from raysel.cli.main import main
from raysel.models.build import ModelConfig, build

FILE = """\
name: look
task: {data: digits, split: {train: 20, validation: 20, test: 20}}
model: {name: test_resnet.r160_in1k, weights: start.safetensors}
strategies: {linear_probe: }
training: {epochs: 2, batch_size: 10, learning_rate: 1.0e-9}
"""


@pytest.mark.parametrize(("choice", "epoch"), [("best", 1), ("last", 2)])
def test_the_model_is_said_to_be_of_the_epoch_that_it_is_of(
    choice: str,
    epoch: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing moves at such a rate, so the first epoch stays the best."""
    monkeypatch.chdir(tmp_path)
    start = build(ModelConfig("test_resnet.r160_in1k", 10, 1, (8, 8)), seed=0)
    safetensors.torch.save_file(start.state_dict(), "start.safetensors")
    Path("sweep.yaml").write_text(FILE, encoding="utf-8")
    assert main(["finetune", "sweep.yaml", "--set", f"confirm.epoch={choice}"]) == 0
    assert f"model (of epoch {epoch})" in capsys.readouterr().out
    result = json.loads(Path("runs/look.finetune/linear_probe/result.json").read_text())
    assert (result["best_epoch"], result["model_epoch"]) == (1, epoch)


@pytest.mark.parametrize("verb", ["finetune", "range"])
def test_an_arm_that_there_is_not_is_refused_before_a_source_model_is_trained(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    source = FILE.replace("start.safetensors", "source")
    Path("sweep.yaml").write_text(source, encoding="utf-8")
    assert main([verb, "sweep.yaml", "--strategy", "linear"]) == 2
    said = capsys.readouterr()
    assert 'the sweep has no strategy "linear"; did you mean "linear_probe"?' in said.err
    assert "source" not in said.out + said.err
    assert not Path("runs").exists()
