"""The display of a running study: live on a terminal, plain lines elsewhere.

Not here: records of the run (`study_run`), the output of each task (its log).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from compiler.plan.dag import Task
from compiler.text.escape import Visible, plain, visible
from runtime.execution.time_left import TimeLeft
from runtime.execution.worker import Dispatch
from runtime.outcome import Outcome

LINE_INTERVAL_SECONDS = 10.0
"""Time between two lines of progress where the output is no terminal."""

MAX_TASKS_SHOWN = 8


class Display:
    """Counts and shows done tasks by kind, and failed and blocked tasks, of the tasks `todo` (id → task), on `stream` (by default
    standard error). In a `with` block on a terminal the display is live, and what is printed elsewhere goes through it; at the
    end of the block a line is printed on each error with which several tasks failed."""

    def __init__(self, todo: Mapping[str, Task], stream: TextIO | None = None) -> None:
        self.console = Console(file=plain(stream or sys.stderr), highlight=False)
        self.total = Counter(task.kind for task in todo.values())
        self.done: Counter[str] = Counter()
        self.failed = self.blocked = 0
        self._alike: Counter[str] = Counter()
        self._todo = dict(todo)
        self._running: tuple[Task, ...] = ()
        self.started = self._printed_at = time.monotonic()
        self._time_left = TimeLeft(todo)
        self._left = ""
        columns = TextColumn("{task.description:<11}"), BarColumn(bar_width=30), MofNCompleteColumn()
        self._bars = Progress(*columns, console=self.console)
        self._rows = {kind: self._bars.add_task(kind, total=count) for kind, count in self.total.items()}
        self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
            # What is printed meanwhile goes through rich, too, past the streams of before.
            sys.stdout, sys.stderr = Visible(sys.stdout), Visible(sys.stderr)
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        for what, count in self._alike.items():
            if count > 1:
                self.print_line(f"{count - 1} more failed so: {what}; `synthc status` and `synthc logs` say which")

    def add_tasks(self, todo: Mapping[str, Task]) -> None:
        """Add tasks to the totals of their kinds and to the time left."""
        self._todo |= todo
        self._time_left.add(todo)
        self.total.update(task.kind for task in todo.values())
        for kind, count in self.total.items():
            if kind not in self._rows:
                self._rows[kind] = self._bars.add_task(kind)
            self._bars.update(self._rows[kind], total=count)

    def on_outcome(self, task: Task, outcome: Outcome) -> None:
        """Count an outcome, unless the task will be tried again. A task that failed since an artifact is damaged is not counted as
        failed, but taken out of the total of its kind. Prints a line on it, and on the first of the failures with equal errors."""
        if outcome.notes.get("tried_again"):
            return
        made = outcome.provenance if outcome.status == "done" else None
        self._time_left.end(task.id, made.seconds if made else None, (made.host, made.pid) if made else None)
        match outcome.status:
            case "done":
                self.done[task.kind] += 1
                self._bars.update(self._rows[task.kind], completed=self.done[task.kind])
            case "failed" if outcome.error_kind == "corrupt":
                self.total[task.kind] -= 1  # it is computed again and counted by `add_tasks`
                self.print_line(f"damaged: {outcome.error}")
            case "failed":
                self.failed += 1
                self._alike[str(outcome.error)] += 1
                if self._alike[str(outcome.error)] == 1:
                    self.print_line(f"failed: {task.address} ({task.operation}): {outcome.error}\n        log: {outcome.log}")
            case "blocked":
                self.blocked += 1

    def print_line(self, line: str) -> None:
        """Print a permanent line, above the live display where there is one; hostile characters are escaped."""
        self.console.print(Text(visible(line)), soft_wrap=True)

    def on_tick(self, in_flight: Mapping[Dispatch, float]) -> dict[str, Any]:
        """Show these tasks as running, and the time left; where the output is no terminal, print a line if ten seconds have passed.
        `in_flight`: dispatch → when it was submitted, by `time.monotonic`.

        Returns the same for other displays: ids of the tasks `running`, seconds `left`, and whether these are `guessed` (no task of
        this run was measured yet).
        """
        self._running = tuple(self._todo[request.task] for dispatch in in_flight for request in dispatch)
        groups = {tuple(request.task for request in dispatch): began for dispatch, began in in_flight.items()}
        left, guessed = self._time_left.estimate(groups), not self._time_left.measured
        self._left = f", about {_format_clock(left)} left" + (" (guessed)" if guessed else "")
        now = time.monotonic()
        if not self.console.is_terminal and now - self._printed_at >= LINE_INTERVAL_SECONDS:
            self._printed_at = now
            self.print_line(self._status())
        return {"running": [task.id for task in self._running], "left": left, "guessed": guessed}

    def _status(self) -> str:
        counts = ", ".join(f"{kind} {self.done[kind]}/{self.total[kind]}" for kind in self.total)
        trouble = f", {self.failed} failed, {self.blocked} blocked" if self.failed else ""
        return f"{_format_clock(time.monotonic() - self.started)}  {counts}{trouble}{self._left}"

    def _render(self) -> Group:
        shown = self._running[:MAX_TASKS_SHOWN]
        running = Text(visible("\n".join(f"  {task.operation:<24} {task.address}" for task in shown)), style="dim")
        return Group(self._bars, Text(self._status()), running)


def _format_clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
