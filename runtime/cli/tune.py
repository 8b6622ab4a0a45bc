"""`synthc tune`: selects settings by accuracy on validation images, with equally many tries for every arm."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, plural
from runtime.cli.options import identify_data, spec_options
from runtime.cli.results_options import add_command, store_of
from runtime.cli.run import compute, engine_options
from runtime.outcome import Diverged

if TYPE_CHECKING:
    from compiler.plan.tuning import Try, Tuning


def register(commands: Any) -> None:
    parser = add_command(
        commands,
        "tune",
        _tune,
        parents=[spec_options()],
        help="choose settings on validation images",
        description="Train every arm of `tune:` with each of its settings, as many for every arm, measure accuracy on the images\n"
        "that `data.validation` sets aside, and write SPEC.tuned.yaml, which extends the study by the best of each arm.\n"
        "No test image and no canary has a say, and nothing of it gets into the study's results: its store is STORE.tune.",
        epilog="examples:\n  synthc tune specs/full_study.yaml\n  synthc run specs/full_study.tuned.yaml",
    )
    engine_options(parser)


@dataclass(frozen=True)
class Tried:
    """The result of one try of an arm's settings."""

    of: Try
    accuracies: Sequence[float]
    """Accuracy on the validation images, one for each trial and shadow; empty where a task of the try is not done, since one
    diverged."""
    seconds: float
    """Seconds of all tasks that the try needs."""

    @property
    def score(self) -> float:
        """Mean accuracy, rounded, so that of equal tries the first in the spec is kept; minus infinity without accuracies."""
        return round(sum(self.accuracies) / len(self.accuracies), 9) if self.accuracies else -math.inf


def _tune(args: argparse.Namespace) -> int:
    from compiler.plan.tuning import tune
    from compiler.text.compose import compose, sources
    from runtime.data.cards import make_cards
    from runtime.store.artifacts import lock_store

    tree = compose(args.spec, args.profile, args.sets)
    make_cards(tree)
    tuning = tune(tree)
    if identify_data(trial.trial for trial in tuning.plan.trials):
        tuning = tune(tree)
    store = store_of(args)
    store = store.with_name(f"{store.name}.tune")
    texts = sources(args.spec)
    origin = {"spec": str(args.spec), "spec_text": texts[str(args.spec)], "texts": texts, "argv": sys.argv[1:]}
    with lock_store(store):
        from runtime.database.index import Index
        from runtime.execution.study_run import Scope, StudyRun

        with contextlib.closing(Index.open(store)) as index, contextlib.ExitStack() as signals:
            study = StudyRun(tuning.plan, store, index, (store / "tune.duckdb").absolute(), origin, Scope(tuning.answers))
            status = compute(study, args, signals) if study.todo else "done"
            study.close(status)
            missing = study.count_missing()
    failures = study.failures | {tuning.plan.tasks[task].address: error for task, error in study.given_up.items()}
    for address, error in failures.items():
        print(f"{address}: {error}", file=sys.stderr)
    diverged = failures and all(error.startswith(Diverged.__name__) for error in failures.values())
    if status == "interrupted" or (missing and not diverged):
        mend = "change the settings that failed, under `tune:`" if failures else "run the same command again to go on"
        print(f"missing: {plural(missing, 'task')}, so no setting is chosen; {mend}", file=sys.stderr)
        return 130 if status == "interrupted" else 1
    found = [_read(one, tuning, store) for one in tuning.tries]
    for arm in dict.fromkeys(one.of.arm for one in found):
        if not any(one.accuracies for one in found if one.of.arm == arm):
            print(f"{args.spec}: every try of {arm} diverged; lower its rates under `tune`", file=sys.stderr)
            return 1
    target = args.spec.with_name(f"{args.spec.stem}.tuned.yaml")
    if target.exists() and not target.read_text(encoding="utf-8").startswith(HEAD):
        raise SynthcError(f"{target} is there and was not written by `synthc tune`; move it away")
    table = _tabulate(found)
    target.write_text(_spec(args, found, table), encoding="utf-8")
    print("\n".join(table))
    print(f"wrote {target}: synthc run {target}", file=sys.stderr)
    return 0


def _read(one: Try, tuning: Tuning, store: Path) -> Tried:
    from runtime.store.artifacts import Artifact, folder_of, is_done

    done = all(is_done(store, task) for task in one.tasks)
    accuracies = [Artifact(folder_of(store, task)).metric("test_accuracy") for task in one.tasks] if done else []
    needed = tuning.plan.to_run(lambda id: False, one.tasks)
    seconds = [Artifact(folder_of(store, id)).outcome["provenance"]["seconds"] for id in needed if is_done(store, id)]
    return Tried(one, [value for value in accuracies if value is not None], sum(seconds))


HEAD = "# Chosen by `synthc tune`"


def _tabulate(found: Sequence[Tried]) -> list[str]:
    """Lines of a plain-text table of each arm's tries, those of the highest accuracy first; arms in the order of `found`.

    Columns: number of tries and seconds of the arm, mean accuracy and its standard error (0 for a single value; `diverged` in their
    place without one), settings as JSON.
    """
    from compiler.text.nodes import plain

    arms: dict[str, list[Tried]] = {}
    for one in found:
        arms.setdefault(one.of.arm, []).append(one)
    wide = max(len(arm) for arm in arms) + 2
    lines = [f"{'arm':<{wide}}{'tries':>6}{'seconds':>9}{'accuracy':>10}{'± se':>8}  settings"]
    for arm, tried in arms.items():
        for place, one in enumerate(sorted(tried, key=lambda one: -one.score)):
            n = len(one.accuracies)
            spread = (sum((value - one.score) ** 2 for value in one.accuracies) / max(n - 1, 1) / max(n, 1)) ** 0.5
            measured = f"{one.score:>10.2%}{spread:>8.2%}" if n else f"{'diverged':>10}{'':>8}"
            whose = (
                f"{arm:<{wide}}{len(tried):>6}{sum(other.seconds for other in tried):>9.0f}" if place == 0 else " " * (wide + 15)
            )
            lines.append(f"{whose}{measured}  {json.dumps(plain(one.of.overlay), ensure_ascii=False)}")
    return lines


def _spec(args: argparse.Namespace, found: Sequence[Tried], table: Sequence[str]) -> str:
    """Text of a study that extends the tuned one, which must lie in the same folder, with the settings of each arm's try of the
    highest accuracy, of equal ones the first (under the profile, if one is given), after the table as a comment."""
    from compiler.text.nodes import plain

    best: dict[str, Tried] = {}
    for one in found:
        if one.of.arm not in best or one.score > best[one.of.arm].score:
            best[one.of.arm] = one
    chosen: Mapping[str, Any] = {arm: plain(one.of.overlay) for arm, one in best.items()}
    lines = [f"    {json.dumps(arm)}: {json.dumps(words, ensure_ascii=False)}" for arm, words in chosen.items()]
    if args.profile:
        lines = ["profiles:", f"  {json.dumps(args.profile)}:", "   arms:", *lines]
    else:
        lines = ["arms:", *(line[2:] for line in lines)]
    head = [f"{HEAD} {args.spec.name}: by accuracy on the validation images, the best of each arm first.", "#"]
    return "\n".join([*head, *(f"# {line}" for line in table), f"extends: {json.dumps(args.spec.name)}", *lines, ""])
