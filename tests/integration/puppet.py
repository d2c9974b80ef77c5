"""A strategy whose trials do what a test wants: they sleep, fail, die, run out of memory."""

from __future__ import annotations

import textwrap
from pathlib import Path

from raysel.search.validate import read
from raysel.spec.sweep import Spec

BEGIN = '''
import os, signal, time
from pathlib import Path

import torch

from raysel.strategies.base import Decision, Parameter, Strategy
from raysel.strategies.registry import register

HERE = Path({here!r})


def first_time(what):
    """True for the first call of all processes."""
    try:
        (HERE / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@register
class {name}(Strategy):
    name = {name!r}
    summary = "does what a test wants"
    paper = "a test"
    parameters = (Parameter("number", "float", 0.0, "any", low=0.0, high=1.0),)

    def decide(self, step):
        return Decision(torch.ones(step.layer_count))

    def epoch_start(self, epoch, epochs, probe):
        number = self.values["number"]
        batch = len(probe.batches("target", 1)[0])
'''

FILE = """
name: {name}
storage: {storage}
task:
  data: digits
  source: 300
  shift: {{kind: gaussian_noise, severity: 3}}
  split: {{train: 60, validation: 60, test: 60, seed: 3}}
model: {{name: test_resnet}}
code_files: [{name}.py]
strategies:
  {name}: {{number: {{float: [0.0, 1.0]}}}}
training: {{epochs: 3, batch_size: 20, learning_rate: 0.01}}
search: {{baselines: false, num_trials: 4, seed: 1}}
pruner: {{kind: none}}
confirm: {{seeds: 1}}
resources: {{max_concurrent_trials: 1}}
"""


def puppet(folder: Path, storage: Path, name: str, does: str, *overrides: str) -> Spec:
    """A sweep of one strategy, whose trials run the lines `does` before each epoch; these see
    `epoch`, `number` (searched, 0 to 1), `batch` and `first_time`."""
    code = BEGIN.format(here=str(folder), name=name) + textwrap.indent(
        textwrap.dedent(does), " " * 8
    )
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    file = folder / f"{name}.yaml"
    file.write_text(FILE.format(name=name, storage=storage), encoding="utf-8")
    return read(file, overrides)
