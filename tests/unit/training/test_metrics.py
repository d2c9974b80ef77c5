import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score
from torch.nn import functional
from trial_kit import DATA, config, tiny, trial

from raysel.models.layers import partition
from raysel.spec.sweep import ObjectiveSpec
from raysel.tasks.groups import groups_of
from raysel.training.loop import FineTuning, TrialData
from raysel.training.metrics import Measured, MetricAccumulator

CPU = torch.device("cpu")


def _measured(logits: torch.Tensor, labels: torch.Tensor, size: int = 7) -> Measured:
    tally = MetricAccumulator(CPU)
    for start in range(0, len(labels), size):
        tally.add(logits[start : start + size], labels[start : start + size])
    return tally.measured()


@given(st.integers(2, 9), st.integers(1, 60), st.integers(0, 1000))
def test_all_are_what_scikit_learn_says(classes, count, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    measured = _measured(logits, labels)
    taken, names = logits.argmax(1).numpy(), np.arange(classes)
    wanted = confusion_matrix(labels.numpy(), taken, labels=names)
    np.testing.assert_array_equal(measured.confusion.numpy(), wanted)
    assert measured.error == pytest.approx((taken != labels.numpy()).mean())
    there = np.isin(taken, labels.numpy())  # scikit-learn warns of a class that is only taken
    if there.all():
        balanced = 1 - balanced_accuracy_score(labels.numpy(), taken)
        assert measured.balanced_error == pytest.approx(balanced)
    assert measured.loss == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-5)
    if classes > 5:
        top = 1 - top_k_accuracy_score(labels.numpy(), logits.numpy(), k=5, labels=names)
        assert measured.top5_error == pytest.approx(top)


def test_the_rare_class_counts_as_much_as_the_frequent_one():
    labels = torch.tensor([0] * 90 + [1] * 10)
    always_zero = functional.one_hot(torch.zeros(100, dtype=torch.int64), 2).float()
    measured = _measured(always_zero, labels)
    assert measured.error == 0.1
    assert measured.balanced_error == 0.5
    assert measured.confusion.tolist() == [[90, 0], [10, 0]]


def test_a_class_without_examples_does_not_count():
    labels = torch.tensor([0, 0, 2, 2])
    logits = functional.one_hot(torch.tensor([0, 0, 2, 1]), 3).float()
    assert _measured(logits, labels).balanced_error == 0.25


def test_the_five_likeliest_are_reported_of_more_than_five_classes_alone():
    logits = torch.tensor([[6.0, 5, 4, 3, 2, 1], [6.0, 5, 4, 3, 2, 1]])
    assert _measured(logits, torch.tensor([5, 4])).top5_error == 0.5
    names = _measured(logits[:, :5], torch.tensor([4, 3])).by_name("val")
    assert names.keys() == {"val/error", "val/loss", "val/balanced_error"}


def test_nothing_is_read_from_the_device_between_batches(monkeypatch):
    tally = MetricAccumulator(CPU)
    logits, labels = torch.randn(6, 7), torch.arange(6)

    def read(self, *_):
        raise AssertionError("the host waited for the device")

    with monkeypatch.context() as patched:
        for name in ("item", "cpu", "tolist", "numpy", "__bool__", "__int__", "__float__"):
            patched.setattr(torch.Tensor, name, read)
        tally.add(logits, labels)
    assert int(tally.measured().confusion.sum()) == 6


def test_every_epoch_reports_the_balanced_error_of_the_validation_part():
    run = trial(config(epochs=1), model=tiny())
    metrics = run.run_epoch().metrics
    measured = run.measure(DATA.validation)
    assert metrics["val/balanced_error"] == measured.balanced_error
    assert metrics["val/error"] == measured.error
    assert int(measured.confusion.sum()) == len(DATA.validation)


@given(st.integers(1, 50), st.integers(0, 1000))
def test_the_worst_groups_error_is_the_largest_of_the_groups_own(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count + 3,), generator=generator)
    logits = torch.randn(count + 3, 3, generator=generator)
    places = ["abc"[i % 3] for i in range(count + 3)]
    tally = MetricAccumulator(CPU, groups=groups_of({"place": places}))
    for start in range(0, len(labels), 4):
        tally.add(logits[start : start + 4], labels[start : start + 4])
    wrong = (logits.argmax(1) != labels).numpy()
    own = {p: wrong[[q == p for q in places]].mean() for p in "abc"}
    measured = tally.measured()
    assert measured.group_errors == pytest.approx(own)
    assert measured.by_name("test")["test/worst_group_error"] == max(measured.group_errors.values())


def test_an_epoch_is_the_best_by_its_worst_group():
    places = ["ab"[i % 3 == 0] for i in range(len(DATA.validation))]
    data = TrialData(DATA.train, DATA.validation, None, groups_of({"place": places}))
    objective = ObjectiveSpec(metric="val/worst_group_error")
    model = tiny()
    run = FineTuning(config(epochs=3), model, partition(model), data, objective)
    values = [run.run_epoch().metrics["val/worst_group_error"] for _ in range(3)]
    assert run.validated.best_value == min(values)
    assert run.validated.best_epoch == values.index(min(values)) + 1
