"""Reading ahead: in order, beside the one who takes, no further than stated, ended with it."""

from __future__ import annotations

import threading
import time

import pytest

from raysel.training.read_ahead import read_ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(threads):
    def read(item: int) -> int:
        time.sleep(0.001 * (item % 3))  # later ones end earlier
        return item * item

    assert list(read_ahead(read, range(20), threads)) == [n * n for n in range(20)]


def test_what_comes_next_is_read_while_the_last_is_in_use():
    read = [threading.Event() for _ in range(4)]

    def reading(item: int) -> int:
        read[item].set()
        return item

    taken = read_ahead(reading, range(4), 1)
    assert next(taken) == 0
    assert read[1].wait(5) and read[2].wait(5)  # nobody has asked for them


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_is_read_than_twice_the_threads(threads):
    begun = []
    taken = read_ahead(lambda item: begun.append(item) or item, range(50), threads)
    next(taken)
    time.sleep(0.1)
    assert max(begun) <= 2 * threads
    assert list(taken) == list(range(1, 50))


def test_without_threads_nothing_is_read_before_it_is_asked_for():
    begun = []
    taken = read_ahead(lambda item: begun.append(item) or item, range(5), 0)
    assert begun == []
    assert next(taken) == 0 and begun == [0]


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_a_failure_is_raised_where_its_result_is_due(threads):
    def read(item: int) -> int:
        if item == 2:
            raise FileNotFoundError("gone")
        return item

    taken = read_ahead(read, range(5), threads)
    assert [next(taken), next(taken)] == [0, 1]
    with pytest.raises(FileNotFoundError, match="gone"):
        next(taken)


def test_whoever_stops_early_leaves_no_thread_behind():
    def named() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("raysel-read")]

    taken = read_ahead(lambda item: item, range(100), 2)
    next(taken)
    assert named()
    taken.close()
    assert named() == []
