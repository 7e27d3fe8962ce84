"""A batch is cut into tasks that are not too large, not too small, and less towards its end."""

import pytest

from sorter.model import Candidate
from sorter.tasks import LEAST_BYTES, LEAST_FILES, MOST_BYTES, MOST_FILES, cut

MIB = 1 << 20


def batch(sizes):
    return [Candidate("/in", str(number), 1, number, size, 1, 1) for number, size in enumerate(sizes)]


def lengths(sizes, workers):
    return [len(task) for task in cut(batch(sizes), workers)]


@pytest.mark.parametrize(
    ("sizes", "workers", "expected"),
    [
        ([], 2, []),
        ([1], 2, [1]),
        ([1] * 10, 2, [4, 4, 2]),
        ([1] * 600, 2, [128, 118, 89, 67, 50, 37, 28, 21, 16, 12, 9, 7, 5, 4, 4, 4, 1]),
        ([4 * MIB] * 12, 2, [3, 2, 1, 1, 1, 1, 1, 1, 1]),
        ([MOST_BYTES, 1, 1], 1, [1, 2]),
        ([1, MOST_BYTES + 1, 1], 1, [1, 1, 1]),
    ],
)
def test_a_task_holds_a_bounded_number_of_files_and_bytes_and_less_towards_the_end(sizes, workers, expected):
    assert lengths(sizes, workers) == expected


@pytest.mark.parametrize("workers", [1, 3])
def test_every_file_of_a_batch_is_in_one_task_in_order(workers):
    files = batch([1, 40 * MIB, 0, 5 * MIB, 3, 3, 3] * 40)
    assert [one for task in cut(files, workers) for one in task] == files


def test_of_a_large_batch_a_task_has_as_many_files_as_it_may_and_no_more():
    assert max(lengths([1] * 5000, 2)) == MOST_FILES


def test_of_many_large_files_a_task_has_as_many_bytes_as_it_may_and_no_more():
    tasks = cut(batch([MIB] * 1000), 2)
    assert max(sum(one.size for one in task) for task in tasks) == MOST_BYTES


def test_however_many_workers_there_are_a_task_is_worth_sending():
    files = [len(task) for task in cut(batch([1] * 40), 64)]
    size = [sum(one.size for one in task) for task in cut(batch([MIB // 2] * 40), 64)]
    assert (set(files), set(size)) == ({LEAST_FILES}, {LEAST_BYTES})
