"""What a person sees while a study runs: a live display on a terminal, plain lines elsewhere.

Not here: what is recorded (`store`), what each task printed (its log).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from compiler.plan.dag import Task
from runtime.outcome import Outcome

PLAIN_EVERY = 10.0
"""Seconds between lines where there is no terminal."""


class Display:
    """Counts outcomes by kind and shows them; a context manager. `slots` dispatches run at the same time."""

    def __init__(self, todo: Mapping[str, Task], stream: TextIO | None = None) -> None:
        self.console = Console(file=stream or sys.stderr, highlight=False)
        self.total = Counter(task.kind for task in todo.values())
        self.done: Counter[str] = Counter()
        self.failed = self.blocked = 0
        self.flying: Mapping[str, Task] = {}
        self.started = self._said = time.monotonic()
        self._spent: dict[str, list[float]] = {}
        self._left = Counter(task.operation for task in todo.values())
        columns = TextColumn("{task.description:<11}"), BarColumn(bar_width=30), MofNCompleteColumn()
        self._bars = Progress(*columns, console=self.console)
        self._rows = {kind: self._bars.add_task(kind, total=count) for kind, count in self.total.items()}
        self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def more(self, todo: Mapping[str, Task]) -> None:
        """Further tasks than those known at the beginning."""
        self._left.update(task.operation for task in todo.values())
        self.total.update(task.kind for task in todo.values())
        for kind, count in self.total.items():
            if kind not in self._rows:
                self._rows[kind] = self._bars.add_task(kind)
            self._bars.update(self._rows[kind], total=count)

    def heard(self, task: Task, outcome: Outcome) -> None:
        """Count an outcome; say what failed for good."""
        if outcome.notes.get("tried_again"):
            return
        self._left[task.operation] -= 1
        match outcome.status:
            case "done":
                self.done[task.kind] += 1
                self._spent.setdefault(task.operation, []).append(outcome.provenance.seconds if outcome.provenance else 0.0)
                self._bars.update(self._rows[task.kind], completed=self.done[task.kind])
            case "failed" if outcome.error_kind == "corrupt":
                self.total[task.kind] -= 1   # it comes again
                self.say(f"damaged: {outcome.error}")
            case "failed":
                self.failed += 1
                self.say(f"failed: {task.address} ({task.operation}): {outcome.error}\n        log: {outcome.log}")
            case "blocked":
                self.blocked += 1

    def say(self, line: str) -> None:
        """A line that stays, above the live display."""
        self.console.print(Text(line), soft_wrap=True)

    def beat(self, flying: Mapping[str, Task]) -> None:
        self.flying = flying
        now = time.monotonic()
        if not self.console.is_terminal and now - self._said >= PLAIN_EVERY:
            self._said = now
            self.say(self.line())

    def line(self) -> str:
        counts = ", ".join(f"{kind} {self.done[kind]}/{self.total[kind]}" for kind in self.total)
        trouble = f", {self.failed} failed, {self.blocked} blocked" if self.failed else ""
        return f"{_clock(time.monotonic() - self.started)}  {counts}{trouble}, {self._time_left()}"

    def _time_left(self) -> str:
        spent = sum(sum(seconds) for seconds in self._spent.values())
        if not spent:
            return "time left unknown"
        means = {operation: sum(seconds) / len(seconds) for operation, seconds in self._spent.items()}
        typical = spent / sum(map(len, self._spent.values()))
        left = sum(count * means.get(operation, typical) for operation, count in self._left.items())
        return f"about {_clock(left * (time.monotonic() - self.started) / spent)} left"

    def _render(self) -> Group:
        running = Text("\n".join(f"  {task.operation:<24} {task.address}" for task in list(self.flying.values())[:8]), style="dim")
        return Group(self._bars, Text(self.line()), running)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
