"""One computation at a time, first come, first served, for all visitors of a process.

PyTorch uses all cores for one picture, so that two at once would only slow each other down
and take twice the memory. Nothing here needs Streamlit.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from course_lib.upscaling import Cancelled, Progress

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
LOGGER = logging.getLogger(__name__)

Report = Callable[[Progress | str], None]  # told the progress, or in words what is being done
Work = Callable[[Report], Any]


class QueueFull(Exception):
    """As many jobs as allowed are waiting already."""


class Job:
    """One visitor's computation, made by :meth:`JobQueue.submit`.

    ``state`` is one of the constants above; ``progress`` is what the work has reported last;
    ``result`` is what it returned, ``error`` what it raised.
    """

    def __init__(self, work: Work, is_present: Callable[[], bool], now: float):
        self.work: Work | None = work
        self.is_present, self.last_seen = is_present, now
        self.state = WAITING
        self.progress: Progress | str | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.stopping = False
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen: the job is done, failed or cancelled."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended; return whether it has."""
        return self._ended.wait(timeout)

    def end(self, state: str, result: Any = None, error: BaseException | None = None) -> None:
        """Note how the job ended, and let go of all that it held for its work."""
        # Neither the work nor a traceback may keep pictures and tensors alive.
        self.work, self.result = None, result
        self.error = error.with_traceback(None) if error else None
        self.state = state
        self._ended.set()


class JobQueue:
    """A bounded queue, served in order by a single thread.

    ``most_waiting`` jobs may wait while one runs. A job whose visitor has been away for
    ``grace`` seconds is cancelled, whether it runs or waits; ``clock`` tells the time.
    """

    def __init__(
        self,
        most_waiting: int = 9,
        grace: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.most_waiting, self.grace, self.clock = most_waiting, grace, clock
        self._lock = threading.RLock()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._serving = False

    def submit(self, work: Work, is_present: Callable[[], bool] = lambda: True) -> Job:
        """Queue ``work``, which gets a function that it has to tell its progress.

        That function raises :class:`~course_lib.upscaling.Cancelled` where the work shall
        stop. ``is_present`` tells from any thread whether the visitor is still there. Raises
        :class:`QueueFull`.
        """
        with self._lock:
            self.drop_absent()
            if len(self._waiting) >= self.most_waiting:
                raise QueueFull
            job = Job(work, is_present, self.clock())
            self._waiting.append(job)
            if not self._serving:
                self._serving = True
                threading.Thread(target=self._serve, name="jobs", daemon=True).start()
            return job

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue; one that runs stops when it next tells its progress."""
        with self._lock:
            job.stopping = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.end(CANCELLED)

    def ahead(self, job: Job) -> int:
        """Return how many jobs come before this one: 0 for the one that runs."""
        with self._lock:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def drop_absent(self) -> None:
        """Cancel the jobs whose visitors have left."""
        with self._lock:
            now = self.clock()
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                if job.is_present():
                    job.last_seen = now
                elif now - job.last_seen > self.grace:
                    self.cancel(job)

    def _serve(self) -> None:
        while job := self._next():
            self._run(job)

    def _next(self) -> Job | None:
        with self._lock:
            self._running = None
            self.drop_absent()
            if self._waiting:
                self._running = self._waiting.popleft()
                self._running.state = RUNNING
            else:  # under the lock, so that no job is submitted to a thread that ends
                self._serving = False
            return self._running

    def _run(self, job: Job) -> None:
        def report(progress: Progress | str) -> None:
            job.progress = progress
            self.drop_absent()
            if job.stopping:
                raise Cancelled

        try:
            result = job.work(report)
        except Cancelled:
            job.end(CANCELLED)
        except BaseException as error:  # whatever it is, the next in the queue has a turn
            LOGGER.exception("A job failed")
            job.end(FAILED, error=error)
        else:
            job.end(DONE, result)
