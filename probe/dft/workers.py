"""Worker processes for quantum chemistry, one core each, that can be stopped at any moment."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread

from probe.dft.journal import Row
from probe.errors import ProbeError

PROGRESS_SECONDS = 30.0

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads numerical libraries take."""
CPU_INFO = Path("/proc/cpuinfo")
"""What Linux says of its processors."""

_REMEDY = "give it more memory, or leave the conformer out"


@dataclass(frozen=True)
class Died:
    """A conformer that ended its worker process, so that ``row`` has no result: why.

    ``seconds`` is how long the process was at it.
    """

    row: Row
    reason: str
    seconds: float


class Pool:
    """Worker processes, one for each conformer that runs: one that dies takes no other with it."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._at: dict[Future[Row], tuple[_Worker, float]] = {}

    def submit(self, task: Callable[[Row], Row], row: Row) -> Future[Row]:
        """Start ``task`` on ``row``, in a process that has nothing to do or a new one."""
        worker = self._idle.pop() if self._idle else _Worker(executor())
        future = worker.submit(task, row)
        self._at[future] = worker, time.monotonic()
        return future

    def result(self, future: Future[Row], row: Row) -> Row | Died:
        """What came of ``row``, whose ``future`` is done."""
        worker, start = self._at.pop(future)
        try:
            found = future.result()
        except MemoryError:
            self._idle.append(worker)
            return Died(row, f"it found too little memory; {_REMEDY}", time.monotonic() - start)
        except BrokenProcessPool:
            return Died(row, worker.end(), time.monotonic() - start)
        self._idle.append(worker)
        return found

    def end(self) -> None:
        """Let the processes end, each when it has finished."""
        for worker in (*self._idle, *(worker for worker, _ in self._at.values())):
            worker.end()


class _Worker:
    """A process and what gives it work."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._process: BaseProcess | None = None

    def submit(self, task: Callable[[Row], Row], row: Row) -> Future[Row]:
        others = set(multiprocessing.active_children())
        with _for_workers():
            future = self._executor.submit(task, row)
        started = set(multiprocessing.active_children()) - others
        self._process = next(iter(started), self._process)
        return future

    def end(self) -> str:
        """Wait for the end of the process; how it came about."""
        self._executor.shutdown()
        code = self._process.exitcode if self._process else None
        if code is None:
            return f"its worker process ended as soon as it had begun; {_REMEDY}"
        if code >= 0:
            return f"its worker process ended with exit code {code}; {_REMEDY}"
        name = signal.Signals(-code).name if -code in signal.valid_signals() else "unknown"
        why = ", likely for want of memory" if -code == signal.SIGKILL else ""
        return f"its worker process died of signal {-code} ({name}){why}; {_REMEDY}"


def computed(
    pool: Pool,
    jobs: int,
    rows: Iterable[Row],
    task: Callable[[Row], Row],
    may_start: Callable[[], bool],
    say: Callable[[str], None],
) -> Iterator[Row | Died]:
    """What ``task`` makes of ``rows``, as it comes; they are started in order.

    ``task`` can be pickled. Once ``may_start`` says no, no new one is started. A row that ended
    its process is tried once more when all others are done, alone, with the memory to itself.
    """
    again = []
    for found in _once(pool, jobs, rows, task, may_start):
        if isinstance(found, Died):
            say(f"{found.row['source']}: {found.reason}; tried again when the others are done")
            again.append(found)
        else:
            yield found
    for first in again:
        second = next(_once(pool, 1, [first.row], task, may_start), None)
        if isinstance(second, Died):
            reason = f"tried twice, the second time alone: {second.reason}"
            second = Died(first.row, reason, first.seconds + second.seconds)
        yield first if second is None else second


def _once(
    pool: Pool,
    jobs: int,
    rows: Iterable[Row],
    task: Callable[[Row], Row],
    may_start: Callable[[], bool],
) -> Iterator[Row | Died]:
    waiting = iter(rows)
    running: dict[Future[Row], Row] = {}
    while True:
        if may_start():
            for row in islice(waiting, jobs - len(running)):
                running[pool.submit(task, row)] = row
        if not running:
            return
        # With an end, as polars' handler of Ctrl-C does not interrupt an endless wait.
        finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in finished:
            yield pool.result(future, running.pop(future))


@contextmanager
def pool() -> Iterator[Pool]:
    """Worker processes. If what is done with them fails, nobody waits for what they are at."""
    others = set(multiprocessing.active_children())
    workers = Pool()
    try:
        yield workers
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        workers.end()


def executor() -> Executor:
    """A process that computes one thing after the other."""
    # Spawned, not forked: the parent's libraries run threads, which a fork would break.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_polite)


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

    One thread, as more are slower for small molecules; and no ear for Ctrl-C and SIGTERM, which a
    terminal and a queue send to workers, too: their parent has it, and ends them.
    """
    settings = dict.fromkeys(THREADS, "1") | _kernels()
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
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


def _kernels() -> dict[str, str]:
    """The setting that has OpenBLAS use AVX2 where the processor has it, unless it is set already.

    The one inside PySCF is older than most processors, and takes an unknown one for a model
    without AVX: its matrix products then take twice as long.
    """
    described = CPU_INFO.read_text() if CPU_INFO.is_file() else ""
    usable = "avx2" in described and "fma" in described and "OPENBLAS_CORETYPE" not in os.environ
    return {"OPENBLAS_CORETYPE": "Haswell"} if usable else {}


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
    results: Iterable[Row | Died], cost: Mapping[str, float], say: Callable[[str], None]
) -> Iterator[Row | Died]:
    """``results`` as they are; now and then, and at the end, ``say`` hears how far they are.

    ``cost`` is that of every conformer by id, in any unit; what is left is estimated by it, at the
    rate of what is done.
    """
    total, spent, n_failed = sum(cost.values()), 0.0, 0
    start = last = time.monotonic()
    for done, found in enumerate(results, start=1):
        yield found
        row = found.row if isinstance(found, Died) else found
        spent += cost[row["conformer_id"]]
        n_failed += not row.get("converged", True)
        if time.monotonic() - last >= PROGRESS_SECONDS or done == len(cost):
            last = time.monotonic()
            hours = (last - start) / 3600
            say(
                f"{done} of {len(cost)}, {n_failed} not converged, after {hours:.2g} hours; "
                f"about {hours * (total - spent) / spent:.2g} hours left"
            )
