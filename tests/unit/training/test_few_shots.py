"""A trial of few shots trains on them alone."""

from shared_kit import shared
from trial_kit import config

from raysel.training.trial import TrialRun
from raysel.training.trial_worker import TrialWorker
from raysel.training.worker_messages import EpochMessage


def seen(worker: TrialWorker, shots: int | None) -> tuple[int, set[int], int]:
    """Steps of the first epoch, the examples that it trained on, how many validate."""
    chosen = config("full", epochs=1, batch_size=8, shots=shots)
    steps = TrialRun(worker, f"shots-{shots}", chosen)
    row = steps.epoch()
    assert isinstance(row, EpochMessage), row
    assert steps.tuning is not None
    data = steps.tuning.data
    images = data.train.part(slice(0, 40)).images * 10 + 20
    return (
        steps.tuning.step,
        {round(float(image[0, 0, 0])) for image in images},
        len(data.validation),
    )


def test_a_trial_sees_its_shots_and_another_in_the_same_process_its_own(tmp_path):
    worker = TrialWorker(shared(tmp_path))
    whole, few, fewer = (seen(worker, shots) for shots in (None, 4, 2))
    assert [one[0] for one in (whole, few, fewer)] == [5, 2, 1]
    assert fewer[1] < few[1] < whole[1]
    assert sorted(number % 4 for number in fewer[1]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {one[2] for one in (whole, few, fewer)} == {20}
