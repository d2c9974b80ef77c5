"""Plants faults, one at a time, in a copy of the tree, and runs the tests that concern each.

    python tests/benchmarks/deliberate_faults.py [--tree FOLDER] [--only WORD]

A fault that no test catches shows a gap. `tests/README.md` has the table, and what the suite
before it was thinned caught of the same faults (`--tree`: a checkout of another commit).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("torch", "numpy", "optuna", "matplotlib.pyplot", "hypothesis", "pyarrow.parquet"),
    *("scipy.stats", "pandas", "sklearn.metrics", "sqlalchemy", "pydantic", "typer", "rich"),
)
"""What the tests import: once here, before the processes of the tests are forked."""


class Fault(NamedTuple):
    """`old` becomes `new` in `raysel/<file>`; `tests` are below `tests/unit/`."""

    file: str
    old: str
    new: str
    tests: str


FAULTS = [
    Fault(
        "strategies/bias_variance.py",
        "bias_variance_ratio(b_sq / correction.square(), v_sum / correction)",
        "bias_variance_ratio(b_sq / correction, v_sum / correction)",
        "strategies/test_bias_variance_oracle.py",
    ),
    Fault(
        "strategies/criticality.py",
        "kept[chosen] = scores[chosen]",
        "kept[chosen] = scores[chosen] > 0",
        "strategies/test_criticality.py",
    ),
    Fault(
        "strategies/surprise.py",
        "terms = target * (target.log() - source.log())",
        "terms = source * (target.log() - source.log())",
        "strategies/test_surprise.py",
    ),
    Fault(
        "strategies/schedules.py",
        "return min(layers, (epoch - 1) // epochs_per_stage + 1)",
        "return min(layers, epoch // epochs_per_stage + 1)",
        "strategies/test_schedules.py",
    ),
    Fault(
        "strategies/gradient_norm.py",
        "torch.stack(norms).mean(dim=0)",
        "torch.stack(norms).amax(dim=0)",
        "strategies/test_gradient_norm.py strategies/oracles/test_oracle_gradient_norm.py",
    ),
    Fault(
        "training/probe.py",
        "scratch = copy.deepcopy(self._model).eval()",
        "scratch = self._model.eval()",
        "strategies/test_every_strategy.py",
    ),
    Fault(
        "training/optimizer.py",
        "                if own_rate > 0:",
        "                if own_rate >= 0:",
        "strategies/test_every_strategy.py",
    ),
    Fault(
        "training/loop.py",
        'self.strategy.load_state_dict(state["strategy"])',
        "pass",
        "strategies/test_every_strategy.py",
    ),
    Fault(
        "training/checkpoint.py",
        "(folder / NAME).replace(folder / PREVIOUS)",
        "pass",
        "training/test_checkpoint.py",
    ),
    Fault(
        "training/nonfinite.py",
        "self._in_a_row.add_(1).mul_(bad)",
        "self._in_a_row.add_(bad)",
        "training/test_nonfinite.py",
    ),
    Fault(
        "training/trial.py",
        'if row["epoch"] > self._reported_epochs]',
        'if row["epoch"] >= self._reported_epochs]',
        "training/test_trial.py training/test_memory.py",
    ),
    Fault(
        "training/torch_optimizers.py",
        "return self._nonfinite.skipped",
        "return 0",
        "training/test_torch_optimizers.py",
    ),
    Fault(
        "tasks/shifts.py",
        "    return 1 - image\n",
        "    return image\n",
        "tasks/test_shifts.py tasks/test_datasets.py",
    ),
    Fault(
        "tasks/splits.py",
        "np.random.default_rng(sizes.seed).permutation",
        "np.random.default_rng(0).permutation",
        "tasks/test_splits.py",
    ),
    Fault(
        "tasks/corruptions/severity.py",
        "return tables[kind][severity - 1]",
        "return tables[kind][min(severity, 4) - 1]",
        "tasks/corruptions/test_corruptions.py",
    ),
    Fault(
        "tasks/image_cache.py",
        "if contents.shape != (len(shapes), CONTENT_BYTES):",
        "if False:",
        "tasks/test_image_cache.py",
    ),
    Fault(
        "models/find_prefix.py",
        "call.moves = call.moves or any(tensor.requires_grad for tensor in tensors)",
        "pass",
        "models/test_frozen_prefix.py",
    ),
    Fault(
        "models/find_prefix.py",
        "return not drew and not wrote and _equal(training, evaluation)",
        "return True",
        "models/test_frozen_prefix.py",
    ),
    Fault(
        "training/features.py",
        "rows = rows + self.data.mirrored(which, *self.epoch)",
        "rows = rows + ~self.data.mirrored(which, *self.epoch)",
        "training/test_features.py",
    ),
    Fault(
        "training/features.py",
        "digest.update(data.fingerprint())",
        "pass",
        "training/test_features.py",
    ),
    Fault(
        "training/feature_files.py",
        '_checksum(own / _DATA) != facts["crc32"]',
        "False",
        "training/test_feature_files.py",
    ),
    Fault(
        "training/read_ahead.py",
        "yield waiting.popleft().result()",
        "yield waiting.pop().result()",
        "training/test_read_ahead.py",
    ),
    Fault(
        "training/resized_crops.py",
        "reach = support * wide",
        "reach = support * scale",
        "training/test_device_images.py",
    ),
    Fault(
        "models/head.py",
        "nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT)",
        "nn.Linear(features, HIDDEN), nn.Dropout(DROPOUT), nn.ReLU()",
        "models/test_papers.py",
    ),
    Fault(
        "models/weights.py",
        '"_orig_mod.", ',
        "",
        "models/test_weights.py",
    ),
    Fault(
        "models/patterns.py",
        "timeout=max(end - time.monotonic(), 1e-3)",
        "timeout=3600",
        "models/test_patterns.py",
    ),
    Fault(
        "search/trial_budget.py",
        "strategy: whole + (index < rest) for",
        "strategy: whole for",
        "sweep/test_equal_allocation.py",
    ),
    Fault(
        "search/distributions.py",
        "return _steps(distribution) + 1",
        "return _steps(distribution)",
        "search/test_space.py search/test_distributions.py",
    ),
    Fault(
        "record/events.py",
        "if row.checksum != checksum(row._asdict()):",
        "if False:",
        "record/test_damaged_record.py",
    ),
    Fault(
        "record/state.py",
        "status=RUNNING, cause=None, interrupted_at=None",
        "status=RUNNING, interrupted_at=None",
        "record/test_state.py",
    ),
    Fault(
        "sweep/ranking.py",
        "key=lambda epoch: (values[epoch], epoch)",
        "key=lambda epoch: (values[epoch], -epoch)",
        "sweep/test_search_controller.py sweep/test_ranking.py sweep/test_fold_results.py",
    ),
    Fault(
        "sweep/verdict.py",
        "* spread / math.sqrt(count)",
        "* spread / math.sqrt(count - 1)",
        "sweep/test_verdict.py",
    ),
    Fault(
        "report/tables.py",
        "key=lambda entry: confirmed_rank(entry, metric)",
        "key=lambda entry: entry.strategy",
        "report/test_tables.py report/test_page.py report/test_figures.py",
    ),
    Fault(
        "report/drawing.py",
        'svg = re.sub(r\'<g id="[^"]*"\', "<g", svg)',
        "pass",
        "report/test_page.py",
    ),
    Fault(
        "export/transform.py",
        '"crop_pct": model_input.crop_share,',
        '"crop_pct": 1.0,',
        "export/test_check.py",
    ),
    Fault(
        "mlflow_sync/runs.py",
        "return round(seconds * 1000)",
        "return int(seconds)",
        "mlflow_sync",
    ),
    Fault(
        "engine/capacity.py",
        "return max(1, min(fits, resources.max_concurrent_trials or fits))",
        "return max(1, fits)",
        "engine",
    ),
    Fault(
        "common/urls.py",
        "|signature|",
        "|",
        "common/test_urls.py",
    ),
    Fault(
        "training/step_memory.py",
        "optimizer=self.optimizer_bytes,",
        "optimizer=0,",
        "training/test_step_memory.py",
    ),
    Fault(
        "spec/yaml_core.py",
        "_Loader.yaml_implicit_resolvers = {}  # without those of YAML 1.1",
        "_Loader.yaml_implicit_resolvers = dict(_Loader.yaml_implicit_resolvers)",
        "spec/test_yaml_core.py",
    ),
    Fault(
        "common/output.py",
        "return None if isinstance(failure, BrokenPipeError) else failure",
        "return failure",
        "common/test_output.py cli",
    ),
]


def outcome(fault: Fault, scratch: Path) -> str:
    """caught, not caught, or why it cannot be said."""
    file = scratch / "raysel" / fault.file
    text = file.read_text("utf-8") if file.is_file() else ""
    if fault.old not in text:
        return "not applicable: the text is not there"
    tests = [f"tests/unit/{name}" for name in fault.tests.split()]
    tests = [name for name in tests if (scratch / name).exists()]
    if not tests:
        return "not applicable: no such tests"
    file.write_text(text.replace(fault.old, fault.new, 1), "utf-8")
    try:
        code = run(tests, scratch)
    finally:
        file.write_text(text, "utf-8")
    return {0: "NOT caught", 1: "caught", 2: "caught (import)"}.get(code, f"exit code {code}")


def run(tests: list[str], scratch: Path) -> int:
    """pytest in a forked process, over the copy; its exit code."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 3
    try:
        import pytest

        os.chdir(scratch)
        sys.path[:0] = [str(scratch)]
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = int(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:xdist", *tests]))
    finally:
        os._exit(code)


def import_heavy(tree: Path) -> None:
    """timm too, which some builds of torchvision need help for."""
    for name in HEAVY:
        importlib.import_module(name)
    path = tree / "raysel" / "common" / "torchvision_compat.py"
    spec = importlib.util.spec_from_file_location("compat", path)
    assert spec is not None and spec.loader is not None
    compat = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compat)
    compat.ensure_importable()
    importlib.import_module("timm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    import_heavy(chosen.tree)
    caught = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".*_cache")
        shutil.copytree(chosen.tree, scratch, ignore=ignored)
        faults = [fault for fault in FAULTS if chosen.only in fault.file]
        for fault in faults:
            began = time.monotonic()
            found = outcome(fault, scratch)
            caught += found.startswith("caught")
            print(f"{fault.file:32} {found:16} {time.monotonic() - began:5.0f} s", flush=True)
    print(f"{caught} of {len(faults)} caught")


if __name__ == "__main__":
    main()
