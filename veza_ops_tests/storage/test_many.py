"""Many looks at once: in order, side by side where storage is slow, and none holds up the others."""

import threading
import time
from pathlib import Path

import pytest

from veza_ops.storage import many
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Verdict
from veza_ops.storage.many import Beat, Lookers
from veza_ops_tests.storage.conftest import OnOpen

NONE_HANGS = 60.0
AT_ONCE = 0.3
"""Seconds without an answer: short enough to wait for, long enough for a thread that isn't hung."""


def test_each_task_comes_back_with_its_result_in_order() -> None:
    tasks = list(range(1000))
    done = Lookers(threads=8).run(lambda task, _: task * 2, tasks)
    assert done == [(task, task * 2) for task in tasks]


def test_no_task_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))
    assert Lookers().run(lambda task, _: task, []) == []


def test_a_task_that_hangs_is_given_up_alone(released: threading.Event) -> None:
    def do(task: int, _: Beat) -> int:
        if task == 3:
            released.wait()
        return task

    done = Lookers(threads=2, timeout_seconds=AT_ONCE).run(do, list(range(100)))
    assert done == [(task, None if task == 3 else task) for task in range(100)]


def test_several_tasks_that_hang_are_given_up_each_alone(released: threading.Event) -> None:
    def do(task: int, _: Beat) -> int:
        if task in (0, 1, 50, 99):
            released.wait()
        return task

    done = Lookers(threads=5, timeout_seconds=AT_ONCE).run(do, list(range(100)))
    assert [task for task, result in done if result is None] == [0, 1, 50, 99]


def test_after_a_task_that_hangs_another_thread_goes_on(released: threading.Event) -> None:
    seen: dict[int, int] = {}

    def do(task: int, _: Beat) -> int:
        seen[task] = threading.get_ident()
        if task == 0:
            released.wait()
        return task

    Lookers(threads=2, timeout_seconds=AT_ONCE).run(do, list(range(10)))
    assert seen[0] not in {seen[task] for task in range(1, 10)}


def test_where_all_threads_there_may_be_hang_others_take_their_place(released: threading.Event) -> None:
    done = Lookers(threads=1, timeout_seconds=AT_ONCE).run(lambda task, _: task or released.wait(), list(range(5)))
    assert done == [(0, None), *((task, task) for task in range(1, 5))]


def test_when_every_thread_hangs_the_rest_is_given_up(released: threading.Event) -> None:
    started: list[int] = []

    def do(task: int, _: Beat) -> bool:
        started.append(task)
        return released.wait()

    done = Lookers(threads=3, timeout_seconds=AT_ONCE).run(do, list(range(1000)))
    assert done == [(task, None) for task in range(1000)]
    assert len(started) <= 33


def test_a_task_that_is_answered_now_and_then_is_not_given_up() -> None:
    pause = threading.Event()

    def do(task: int, beat: Beat) -> int:
        while beat.seconds < 3 * AT_ONCE:
            pause.wait(AT_ONCE / 10)
            beat()
        return task

    assert Lookers(threads=2, timeout_seconds=AT_ONCE).run(do, [0, 1]) == [(0, 0), (1, 1)]


def test_a_task_has_its_own_time() -> None:
    pause = threading.Event()

    def do(_: int, beat: Beat) -> float:
        before = beat.seconds
        pause.wait(AT_ONCE / 3)
        return before

    done = Lookers(threads=1, timeout_seconds=NONE_HANGS).run(do, list(range(4)))
    assert all(before is not None and before < AT_ONCE / 3 for _, before in done)


def test_slow_storage_is_asked_by_up_to_so_many_threads_and_no_more() -> None:
    most_at_once = threading.Barrier(5)
    at_once, most, lock = 0, 0, threading.Lock()

    def do(_: int, _beat: Beat) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        most_at_once.wait()  # nobody goes on before five do it at once
        with lock:
            at_once -= 1

    Lookers(threads=5, timeout_seconds=NONE_HANGS).run(do, list(range(50)))
    assert most == 5


def test_no_more_threads_are_started_than_there_are_tasks() -> None:
    both, started = threading.Barrier(2), set()

    def do(_: int, _beat: Beat) -> None:
        started.add(threading.get_ident())
        both.wait()

    Lookers(threads=32, timeout_seconds=NONE_HANGS).run(do, [0, 1])
    assert len(started) == 2


def test_where_storage_answers_at_once_one_thread_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_TICK_SECONDS", NONE_HANGS)
    done = Lookers(threads=32).run(lambda _task, _beat: threading.get_ident(), list(range(10_000)))
    assert len({thread for _, thread in done}) == 1


def test_a_thread_that_computes_gets_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads would only take the interpreter from each other."""
    monkeypatch.setattr(many, "_TICK_SECONDS", 0.4)
    monkeypatch.setattr(time, "thread_time", time.monotonic)  # as if all of the time were work
    pause = threading.Event()

    def do(_: int, beat: Beat) -> int:
        pause.wait(0.01)
        beat()
        return threading.get_ident()

    done = Lookers(threads=32).run(do, list(range(60)))
    assert len({thread for _, thread in done}) == 1


def test_a_mistake_in_a_task_is_raised() -> None:
    def do(task: int, _: Beat) -> int:
        if task == 50:
            raise RuntimeError("a mistake")
        return task

    with pytest.raises(RuntimeError, match="a mistake"):
        Lookers().run(do, list(range(100)))


def test_a_task_that_wakes_up_after_it_was_given_up_takes_no_other_with_it() -> None:
    """Its thread would be waited for by nobody."""
    wakes_up, ends, pause = threading.Event(), threading.Event(), threading.Event()
    threads: dict[int, threading.Thread] = {}

    def do(task: int, beat: Beat) -> int:
        threads[task] = threading.current_thread()
        if task == 0:
            wakes_up.wait()
        elif threads[task] is threads[0]:
            ends.wait()
        elif task == 1:
            while beat.seconds < 3 * AT_ONCE:  # until the other one was given up
                pause.wait(AT_ONCE / 10)
                beat()
            wakes_up.set()
            threads[0].join(AT_ONCE / 2)  # it ends, or takes another task
        return task

    try:
        done = Lookers(threads=2, timeout_seconds=AT_ONCE).run(do, list(range(4)))
    finally:
        ends.set()
    assert done[1:] == [(1, 1), (2, 2), (3, 3)]


# -- as a job sees it -----------------------------------------------------------------------------------------------


def test_many_looks_come_back_in_order(root: Path) -> None:
    paths = ["album/song.flac" if number % 3 else f"none-{number}.flac" for number in range(1000)]
    looks = Files(Layout(str(root)), max_threads=8).look(paths)
    assert [look.verdict is Verdict.PRESENT for look in looks] == [number % 3 != 0 for number in range(1000)]


def test_a_folder_that_hangs_costs_the_rows_in_it_and_no_others(
    root: Path, on_open: OnOpen, released: threading.Event
) -> None:
    (root / "hung" / "below").mkdir(parents=True)
    on_open(root / "hung", released.wait)
    paths = [f"album/none-{number}.flac" for number in range(40)]
    paths += ["album/song.flac", "hung/song.flac", "hung/below/song.flac", "other/none.flac"]
    looks = Files(Layout(str(root)), max_threads=4, look_timeout_seconds=AT_ONCE).look(paths)
    assert [look.verdict.value for look in looks] == [
        *(["missing"] * 40),
        "present",
        "unverifiable",
        "unverifiable",
        "missing",
    ]
    assert f"no answer within {AT_ONCE:g} s" in looks[41].reason
