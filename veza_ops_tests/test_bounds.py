"""Nothing waits without a bound: tasks side by side, none of which holds up the others, and single ones."""

import gc
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest

from veza_ops import bounds
from veza_ops.bounds import Ahead, Beat, Lookers, each_within, within

NONE_HANGS = 60.0
AT_ONCE = 0.3
"""Seconds without an answer: short enough to wait for, long enough for a thread that isn't hung."""
A_STALL = 1.5
"""Seconds for which a thread may have no processor, though nothing hangs."""


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

    done = Lookers(threads=2, timeout_seconds=A_STALL).run(do, list(range(100)))
    assert done == [(task, None if task == 3 else task) for task in range(100)]


def test_several_tasks_that_hang_are_given_up_each_alone(released: threading.Event) -> None:
    def do(task: int, _: Beat) -> int:
        if task in (0, 1, 50, 99):
            released.wait()
        return task

    done = Lookers(threads=5, timeout_seconds=A_STALL).run(do, list(range(100)))
    assert [task for task, result in done if result is None] == [0, 1, 50, 99]


def test_after_a_task_that_hangs_another_thread_goes_on(released: threading.Event) -> None:
    seen: dict[int, int] = {}

    def do(task: int, _: Beat) -> int:
        seen[task] = threading.get_ident()
        if task == 0:
            released.wait()
        return task

    Lookers(threads=2, timeout_seconds=A_STALL).run(do, list(range(10)))
    assert seen[0] not in {seen[task] for task in range(1, 10)}


def test_where_all_threads_there_may_be_hang_others_take_their_place(released: threading.Event) -> None:
    done = Lookers(threads=1, timeout_seconds=A_STALL).run(lambda task, _: task or released.wait(), list(range(5)))
    assert done == [(0, None), *((task, task) for task in range(1, 5))]


def test_when_every_thread_hangs_the_rest_is_given_up(released: threading.Event) -> None:
    started: list[int] = []

    def do(task: int, _: Beat) -> bool:
        started.append(task)
        return released.wait()

    done = Lookers(threads=3, timeout_seconds=A_STALL).run(do, list(range(1000)))
    assert done == [(task, None) for task in range(1000)]
    assert len(started) <= 33


def test_a_task_that_is_answered_now_and_then_is_not_given_up() -> None:
    pause = threading.Event()

    def do(task: int, beat: Beat) -> int:
        while beat.seconds < 2 * A_STALL:
            pause.wait(AT_ONCE / 10)
            beat()
        return task

    assert Lookers(threads=2, timeout_seconds=A_STALL).run(do, [0, 1]) == [(0, 0), (1, 1)]


def test_a_task_has_its_own_time() -> None:
    pause = threading.Event()

    def do(_: int, beat: Beat) -> float:
        began = beat.began
        pause.wait(AT_ONCE / 30)
        return began

    done = [began or 0 for _, began in Lookers(threads=1, timeout_seconds=NONE_HANGS).run(do, list(range(4)))]
    assert all(later - began >= AT_ONCE / 30 for began, later in pairwise(done))


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
    monkeypatch.setattr(bounds, "_TICK_SECONDS", NONE_HANGS)
    done = Lookers(threads=32).run(lambda _task, _beat: threading.get_ident(), list(range(10_000)))
    assert len({thread for _, thread in done}) == 1


def test_a_thread_that_computes_gets_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads would only take the interpreter from each other."""
    monkeypatch.setattr(bounds, "_TICK_SECONDS", 2.0)
    monkeypatch.setattr(time, "thread_time", time.monotonic)  # as if all of the time were work
    pause = threading.Event()

    def do(_: int, beat: Beat) -> int:
        pause.wait(0.01)
        beat()
        return threading.get_ident()

    done = Lookers(threads=32).run(do, list(range(300)))
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
        elif threads[task] is threads.get(0):
            ends.wait()
        elif task in (1, 2):
            while beat.seconds < 2 * A_STALL:  # until the other one was given up
                pause.wait(AT_ONCE / 10)
                beat()
            wakes_up.set()
            threads[0].join(AT_ONCE)  # it ends, or takes another task
        return task

    try:
        done = Lookers(threads=2, timeout_seconds=A_STALL).run(do, list(range(4)))
    finally:
        ends.set()
    assert done[1:] == [(1, 1), (2, 2), (3, 3)]


def test_what_is_interrupted_leaves_no_thread_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    threads: dict[str, threading.Thread] = {}
    goes_on = threading.Event()

    def do(task: int, _: Beat) -> None:
        threads["it"] = threading.current_thread()
        begun.append(task)
        goes_on.wait()

    def interrupt(*_: object) -> None:
        while not begun:
            time.sleep(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Lookers(threads=1).run(do, list(range(100)))
    monkeypatch.undo()
    goes_on.set()
    threads["it"].join()
    assert begun == [0]


def test_where_no_more_threads_can_be_started_those_that_run_do_all(monkeypatch: pytest.MonkeyPatch) -> None:
    first = threading.Thread.start
    started: list[threading.Thread] = []
    is_refused = threading.Event()

    def start(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) > 1:
            is_refused.set()
            raise RuntimeError("can't start new thread")
        first(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    done = Lookers(threads=8).run(lambda task, _: (is_refused.wait(NONE_HANGS), task), list(range(5)))
    assert [result for _, result in done] == [(True, task) for task in range(5)]
    with pytest.raises(OSError, match="no thread can be started"):
        within(NONE_HANGS, lambda: None)


# -- one at a time --------------------------------------------------------------------------------------------------


def test_what_answers_in_time_is_returned() -> None:
    assert within(NONE_HANGS, lambda: None) is None


def test_what_gives_no_answer_is_left_behind_with_an_error_of_the_system(released: threading.Event) -> None:
    with pytest.raises(OSError, match=f"no answer within {AT_ONCE:g} s") as error:
        within(AT_ONCE, released.wait)
    assert error.value.strerror == f"no answer within {AT_ONCE:g} s"


def test_what_fails_fails_as_it_would_by_itself() -> None:
    def fail() -> None:
        raise PermissionError("no right")

    with pytest.raises(PermissionError, match="no right"):
        within(NONE_HANGS, fail)


def test_the_process_can_end_while_something_hangs() -> None:
    lines = "import time; from veza_ops.bounds import within", "within(0.1, lambda: time.sleep(600))"
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert b"no answer within 0.1 s" in ended.stderr


def test_items_come_one_by_one_and_in_order() -> None:
    assert list(each_within(NONE_HANGS, iter(range(5_000)))) == list(range(5_000))


def test_an_item_that_does_not_come_is_an_error_after_those_before_it(released: threading.Event) -> None:
    def items() -> Iterator[int]:
        yield 1
        released.wait(AT_ONCE)  # slow, and not hung
        yield 2
        released.wait()

    found = each_within(AT_ONCE * 6, items())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(TimeoutError):
        next(found)


def test_items_that_are_slow_together_but_not_each_are_all_waited_for(released: threading.Event) -> None:
    def items() -> Iterator[int]:
        for number in range(12):
            released.wait(AT_ONCE / 2)
            yield number

    assert list(each_within(AT_ONCE * 4, items())) == list(range(12))


def test_what_a_task_has_raised_is_held_by_nobody_once_it_was_seen() -> None:
    """It holds all that led to it, down to the rows of a batch."""

    class Rows:
        pass

    def fail(rows: Rows) -> None:
        def ask() -> None:
            raise FileNotFoundError(str(rows))

        with suppress(FileNotFoundError):
            within(NONE_HANGS, ask)

    rows = Rows()
    seen = weakref.ref(rows)
    gc.disable()  # which would come by at some time
    try:
        fail(rows)
        del rows
        assert seen() is None
    finally:
        gc.enable()


def test_what_is_made_ahead_is_there_when_it_is_asked_for() -> None:
    ahead = Ahead(lambda: 7, lambda _: None)
    ahead.start()
    assert ahead.result() == 7


def test_where_no_thread_can_be_started_it_is_made_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    ahead = Ahead(lambda: 7, lambda _: None)
    ahead.start()
    assert ahead.result() == 7


def test_a_thread_that_dies_before_it_has_begun_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: Ahead[int]) -> None:
        raise MemoryError

    monkeypatch.setattr(Ahead, "_work", die)
    ahead = Ahead(lambda: 7, lambda _: None)
    ahead.start()
    with pytest.raises(MemoryError):
        ahead.result()


def test_a_mistake_in_what_is_made_ahead_is_raised_when_it_is_asked_for() -> None:
    def fail() -> int:
        raise RuntimeError("a mistake")

    ahead = Ahead(fail, lambda _: None)
    ahead.start()
    with pytest.raises(RuntimeError, match="a mistake"):
        ahead.result()


def test_what_is_made_ahead_for_nobody_is_taken_back_and_not_waited_for(released: threading.Event) -> None:
    taken_back: queue.SimpleQueue[int] = queue.SimpleQueue()

    def make() -> int:
        released.wait()
        return 7

    ahead = Ahead(make, taken_back.put)
    ahead.start()
    ahead.give_up()
    assert taken_back.empty()
    released.set()
    assert taken_back.get(timeout=NONE_HANGS) == 7
