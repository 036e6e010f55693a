"""Worker processes for quantum chemistry, one core each, that can be stopped at any moment."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from threading import Thread

from probe.dft.journal import Row
from probe.errors import ProbeError

PROGRESS_SECONDS = 30.0


def computed(
    pool: Executor,
    jobs: int,
    rows: Iterable[Row],
    task: Callable[[Row], Row],
    may_start: Callable[[], bool],
) -> Iterator[Row]:
    """What ``task`` makes of ``rows``, as it comes; they are started in order.

    ``task`` can be pickled. Once ``may_start`` says no, no new one is started.

    Raises:
        ProbeError: a worker process died.
    """
    waiting = iter(rows)
    running: dict[Future[Row], Row] = {}
    try:
        while True:
            if may_start():
                for row in islice(waiting, jobs - len(running)):
                    with _for_workers():
                        running[pool.submit(task, row)] = row
            if not running:
                return
            # With an end, as polars' handler of Ctrl-C does not interrupt an endless wait.
            finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            # A worker that died fails all that runs: what is done comes first.
            for future in sorted(finished, key=lambda done: done.exception() is not None):
                yield future.result()
                del running[future]
    except (BrokenProcessPool, MemoryError) as error:
        raise ProbeError(
            "a worker process died, probably for want of memory, over one of "
            f"{', '.join(row['source'] for row in running.values())}; run again with fewer "
            "--jobs or without it, what is finished is kept"
        ) from error


@contextmanager
def pool(jobs: int) -> Iterator[Executor]:
    """Worker processes. If what is done with them fails, nobody waits for what they are at."""
    others = set(multiprocessing.active_children())
    # Spawned, not forked: the parent's libraries run threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_polite) as executor:
        try:
            yield executor
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _polite() -> None:
    """A worker steps back for whatever else the machine has to do, and ends with its parent."""
    os.nice(19 - os.nice(0))
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _for_workers() -> Iterator[None]:
    """What a process inherits that starts within.

    One thread, as more are slower for small molecules; and no ear for Ctrl-C, which a terminal
    sends to workers, too: their parent has it, and ends them.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _undisturbed():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A stop is heard at the end: half started, a worker would end in a traceback of its own.

    A mask alone does not do that, as other threads take the signal for the first.
    """
    heard: list[int] = []

    def later(number: int, _: object) -> None:
        heard.append(number)

    before = {number: signal.signal(number, later) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number_heard in heard:
        signal.raise_signal(number_heard)


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is within in one line."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise ProbeError(
            "stopped; what is finished is kept, and the same command goes on with the rest"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def progress(
    results: Iterable[Row], cost: Mapping[str, float], say: Callable[[str], None]
) -> Iterator[Row]:
    """``results`` as they are; now and then, and at the end, ``say`` hears how far they are.

    ``cost`` is that of every conformer by id, in any unit; what is left is estimated by it, at the
    rate of what is done.
    """
    total, spent, n_failed = sum(cost.values()), 0.0, 0
    start = last = time.monotonic()
    for done, row in enumerate(results, start=1):
        yield row
        spent += cost[row["conformer_id"]]
        n_failed += not row["converged"]
        if time.monotonic() - last >= PROGRESS_SECONDS or done == len(cost):
            last = time.monotonic()
            hours = (last - start) / 3600
            say(
                f"{done} of {len(cost)}, {n_failed} not converged, after {hours:.2g} hours; "
                f"about {hours * (total - spent) / spent:.2g} hours left"
            )
