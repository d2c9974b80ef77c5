"""A compiled trial: which batches are compiled, the same numbers, a machine without a compiler.

What compiles for real is slow: seconds on a machine of its own, minutes on a busy one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_memory import begun
from torch import Tensor, nn
from trial_kit import (
    DATA,
    batch,
    config,
    differences,
    finished,
    learnt,
    tensors,
    trial,
    without_seconds,
)

from raysel.training.compiled import CompileError, of_the_compiler
from raysel.training.loop import FineTuning, TrialData
from raysel.training.worker_messages import EnvironmentErrorMessage, FailureMessage

EVALUATED = TrialData(DATA.train, batch(300, 2), DATA.source)  # 256 of them at a time


@pytest.fixture
def sizes(monkeypatch) -> list[tuple[int, bool]]:
    """The batches that went through `torch.compile`: their sizes, and whether with gradients."""
    seen: list[tuple[int, bool]] = []

    def compile_model(model: nn.Module, **_: Any) -> Callable[[Tensor], Tensor]:
        def forward(images: Tensor) -> Tensor:
            seen.append((len(images), torch.is_grad_enabled()))
            logits: Tensor = model(images)
            return logits

        return forward

    monkeypatch.setattr(torch, "compile", compile_model)
    return seen


def fails(error: Exception) -> Callable[..., Callable[[Tensor], Tensor]]:
    """A `torch.compile` whose first batch ends in an error."""

    def forward(images: Tensor) -> Tensor:
        raise error

    return lambda model, **options: forward


def test_whole_batches_are_compiled_and_smaller_ones_are_not(sizes):
    data = TrialData(batch(44, 1), batch(300, 2))  # 5 batches of 8, one of 4
    trial(config(epochs=1, compile=True), data=data).run_epoch()
    assert sizes == [*[(8, True)] * 5, (256, False)]


def test_nothing_is_compiled_unless_it_is_asked_for(sizes):
    run = trial(config(epochs=1), data=EVALUATED)
    run.run_epoch()
    assert run._forward is run.model and not sizes


def test_a_batch_that_is_halved_is_compiled_at_half_its_size(sizes):
    trial(config(epochs=1, compile=True, batch_size=4, gradient_accumulation_steps=2)).run_epoch()
    assert set(sizes) == {(4, True)}


def test_what_a_strategy_trains_to_measure_is_not_compiled(sizes):
    run = trial(config(epochs=1, compile=True), data=EVALUATED)
    with run.probe.fine_tuned(1):
        assert not sizes


def test_the_default_is_not_written_and_the_other_is_another_trial():
    plain, chosen = config(), config(compile=True)
    assert "compile" not in plain.model_dump()["training"]
    assert chosen.model_dump()["training"]["compile"] is True
    assert type(chosen).model_validate_json(chosen.model_dump_json()) == chosen != plain


def _wrapped(error: Exception) -> Exception:
    """As torch gives it."""
    from torch._inductor.exc import InductorError  # slow

    outer = RuntimeError("a step")
    outer.__cause__ = InductorError(error, None)
    return outer


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("InvalidCxxCompiler", "training.compile: torch.compile found no C++ compiler; install"),
        ("TritonMissing", "training.compile: torch.compile found no Triton; install"),
        ("CppCompileError", "training.compile: the C++ compiler does not compile"),
    ],
)
def test_what_a_machine_lacks_is_one_line(kind, words):
    from torch._inductor import exc  # slow

    assert hasattr(exc, kind)  # torch still calls it so
    said = of_the_compiler(_wrapped(type(kind, (RuntimeError,), {})("a\nlong\nstory")))
    assert said is not None and said.startswith(words) and "\n" not in said


def test_triton_without_a_compiler_is_the_same_to_say():
    error = RuntimeError("Failed to find C compiler. Please specify via CC environment variable")
    assert "no C++ compiler" in (of_the_compiler(_wrapped(error)) or "")
    assert of_the_compiler(_wrapped(ValueError("a model's own"))) is None
    assert of_the_compiler(None) is None


def test_a_model_that_cannot_be_compiled_says_why_in_a_line(monkeypatch):
    from torch._dynamo.exc import TorchDynamoException  # slow

    monkeypatch.setattr(torch, "compile", fails(TorchDynamoException("this op\nis not known")))
    with pytest.raises(CompileError, match=r"^training.compile: this op$"):
        trial(config(compile=True)).run_epoch()
    monkeypatch.setattr(torch, "compile", fails(ValueError("the model's own")))
    with pytest.raises(ValueError, match="the model's own"):
        trial(config(compile=True)).run_epoch()


def test_without_a_compiler_the_sweep_ends_and_no_trial_has_failed(tmp_path, monkeypatch):
    missing = type("InvalidCxxCompiler", (RuntimeError,), {})("none in\n[None, 'g++']")
    monkeypatch.setattr(torch, "compile", fails(missing))
    row = begun(tmp_path, config(compile=True)).epoch()
    assert isinstance(row, EnvironmentErrorMessage)
    assert row.cause.startswith("training.compile: torch.compile found no C++ compiler")


def test_a_model_that_cannot_be_compiled_fails_its_trial(tmp_path, monkeypatch):
    from torch._dynamo.exc import TorchDynamoException  # slow

    monkeypatch.setattr(torch, "compile", fails(TorchDynamoException("this op\nis not known")))
    row = begun(tmp_path, config(compile=True)).epoch()
    assert isinstance(row, FailureMessage)
    assert row.cause == "CompileError: training.compile: this op"


# --- for real ------------------------------------------------------------------------------------


def _compiled(strategy: str, **training: Any) -> FineTuning:
    return trial(config(strategy, compile=True, **training), data=EVALUATED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "training"),
    [("full", {}), ("bvg_ls", {"gradient_accumulation_steps": 2}), ("lp_ft", {})],
)
def test_it_differs_from_the_uncompiled_trial_by_rounding(strategy, training):
    """Dropout is in the network: both draw the same."""
    run = _compiled(strategy, **training)
    plain = trial(config(strategy, **training), data=EVALUATED)
    for mine, theirs in zip(finished(run), finished(plain), strict=True):
        for metric in ("train/loss", "val/loss"):
            assert mine[metric] == pytest.approx(theirs[metric], abs=1e-4)
    found, wanted = tensors(run), tensors(plain)
    assert found.keys() == wanted.keys()  # no name of torch's wrapper
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=0)
    assert run.state_dict()["model"].keys() <= wanted.keys()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "gradual_unfreeze"])
def test_a_compiled_trial_resumed_at_any_epoch_ends_bit_identical(strategy):
    whole = _compiled(strategy)
    states, rows = [], []
    for _ in range(whole.settings.epochs):
        rows.append(without_seconds(whole.run_epoch().metrics))
        states.append(copy.deepcopy(whole.state_dict()))
    end = copy.deepcopy(learnt(whole))
    for epoch, state in enumerate(states[:-1], 1):
        resumed = _compiled(strategy)
        resumed.load_state_dict(state)
        assert [without_seconds(row) for row in finished(resumed)] == rows[epoch:]
        assert differences(learnt(resumed), end) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "stages"),
    [("full", 1), ("bvg_ls", 1), ("random_layer", 1), ("lp_ft", 2), ("gradual_unfreeze", 4)],
)
def test_a_graph_for_training_and_one_for_evaluation_at_each_stage(strategy, stages, monkeypatch):
    """Beyond torch's own limit too, from which on it would go on uncompiled."""
    from torch._dynamo.utils import counters  # slow

    _without_code(monkeypatch)
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=1):
        finished(_compiled(strategy, epochs=5))
    assert counters["stats"]["unique_graphs"] == 2 * stages
    assert not counters["graph_break"]


def _without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile as it is, but for the C++ code: each graph runs operation by operation."""
    real = torch.compile

    def graphs_alone(model: nn.Module, dynamic: bool, options: Any) -> Any:
        return real(model, dynamic=dynamic, backend="eager")

    monkeypatch.setattr(torch, "compile", graphs_alone)
