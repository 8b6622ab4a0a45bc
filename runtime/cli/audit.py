"""`synthc audit FILE`: the attacks and statistics of a study, on a file about models that the user trained."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, did_you_mean
from compiler.text.escape import plain, visible
from runtime.cli.results_options import store_of

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from compiler.work.operations import AuditSettings
    from runtime.audit.external.audit_file import Report
    from runtime.audit.statistics.roc import RateReading
    from runtime.outcome import Metric

DESIGNS = ("auto", "pairs", "balanced", "bernoulli")


def register(commands: Any) -> None:
    """Add the command `audit` with its options."""
    audit = commands.add_parser(
        "audit",
        help="attack models trained elsewhere",
        description="Run the attacks and statistics of a study on an .npz file from outside. It holds one of\n"
        "  logits   shadows × samples × views × classes, with labels (samples); for rmia also z_logits and z_labels\n"
        "  signal   shadows × samples, higher = more confident in the label\n"
        "  scores   shadows × samples, higher = more likely a member: only the statistics run\n"
        "and member (shadows × samples): true where the shadow was trained on the sample. Every shadow is the target once.",
        epilog="examples:\n"
        "  synthc audit models.npz\n"
        "  synthc audit models.npz --attack lira --attack label_only --fpr 0.001 --fpr 0.01 --json\n"
        "  synthc audit models.npz --design bernoulli --variant student_t --queries 1\n"
        "  synthc audit one_run.npz --one-run --guesses 100 100 --confidence 0.95 --delta 1e-5\n"
        '  synthc audit models.npz --db results.duckdb && synthc sql "FROM comparison"\n'
        "making a file:\n"
        "  numpy.savez('models.npz', logits=logits, labels=labels, member=member)\n"
        "attacks: threshold, reference, calibrated, lira, lira_offline, rmia, label_only, scores",
    )
    option = audit.add_argument
    option("file", type=Path, metavar="FILE", help="the .npz file; nothing in it is unpickled")
    option("--attack", action="append", metavar="NAME", help="an attack, repeatable (default: all that apply)")
    option("--fpr", action="append", metavar="RATE", help="read the TPR here, repeatable (default: 0.001, 0.01, 0.1)")
    option("--design", default="auto", metavar="NAME", help=f"how membership was drawn: {', '.join(DESIGNS)} (default: auto)")
    option("--signal", default="logit", metavar="NAME", help="read from logits: logit (default) or hinge")
    option("--variant", default="pooled", metavar="NAME", help="LiRA's spread: pooled (default), per_example, student_t")
    option("--queries", metavar="N", help="use the first N views (default: all)")
    option("--confidence", default="0.95", metavar="C", help="of every interval and bound (default: 0.95)")
    option("--delta", default="1e-5", metavar="D", help="at which epsilon lower bounds are stated (default: 1e-5)")
    option("--one-run", action="store_true", help="the one shadow's members were drawn by independent fair coins")
    option("--guesses", nargs=2, metavar=("K+", "K-"), help="call so many members and non-members (default: a quarter each)")
    option(
        "--thresholds",
        default="preset",
        metavar="HOW",
        help="numbers of guesses: preset (default), split (chosen on half the samples), bonferroni (a grid, corrected), "
        "multisplit (the median of many splits, corrected)",
    )
    option("--resamples", metavar="N", help="of the bootstrap (default: 1000, for large files fewer)")
    option(
        "--interval",
        default="two_way",
        metavar="HOW",
        help="what a resample draws: two_way (default), samples and shadows; canaries, samples with all their shadows",
    )
    option("--redraws", metavar="N", help="of the null control (default: 100, for large files fewer)")
    option("--limit", default="4", metavar="GIB", help="refuse arrays that declare more than this together (default: 4)")
    option("--json", action="store_true", help="print JSON instead of a table")
    option("--db", type=Path, metavar="FILE", help="also keep the result as a study of its own, in this database")
    option("--store", type=Path, metavar="DIR", help="with --db: the store (default: .synthc beside the database)")
    option("--study", metavar="NAME", help="with --db: what the study is called (default: the file's name)")
    audit.set_defaults(handler=_audit)


def _audit(args: argparse.Namespace) -> int:
    report, settings = audit_as_asked(args)
    if args.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    else:
        show(args.file, report, settings)
    return 0


def audit_as_asked(args: argparse.Namespace, arrays: dict[str, np.ndarray] | None = None) -> tuple[Report, AuditSettings]:
    """Audit the file that the arguments name, or `arrays` in its place; returns the report and the settings. With `--db` the result
    is also stored and published, with errors as of `store_audit.audit_and_store`. SynthcError for arguments or arrays that are not
    valid, and where memory does not suffice."""
    from runtime.audit.external.audit_file import audit
    from runtime.audit.external.evidence import check, read_evidence

    settings = _settings(args)
    limit = _number("--limit", args.limit, 0, math.inf, "a number of GiB above 0")
    if args.db is None and (args.store or args.study):
        raise SynthcError("--store and --study say how a result is kept; give --db FILE with them")
    try:
        evidence = read_evidence(args.file, int(limit * 2**30)) if arrays is None else check(arrays, str(args.file))
        if args.db is None:
            report = audit(evidence, settings)
        else:
            from runtime.cli.store_audit import audit_and_store

            argv = sys.argv[1:] if sys.argv[1:2] == ["audit"] else ["audit", str(args.file)]
            where: dict[str, Any] = {"store": store_of(args), "target": args.db.absolute()}
            report = audit_and_store(evidence, settings, file=args.file, study=args.study, argv=argv, **where)
    except MemoryError as error:
        raise SynthcError(f"{args.file}: needs more memory than is free here; try --queries 1, or fewer samples") from error
    return report, settings


def _settings(args: argparse.Namespace) -> AuditSettings:
    """The audit's settings from the arguments; SynthcError for values that are not valid, given twice, or exclude each other."""
    from compiler.work.operations import AuditSettings
    from runtime.audit.external.file_attacks import ATTACKS, ONLY_IN_STUDIES
    from runtime.audit.statistics.one_run import STRATEGIES

    for name in args.attack or ():
        if (seen := ONLY_IN_STUDIES.get(name)) is not None:
            what = f"it looks at {seen}, which no such file holds"
            raise SynthcError(f"--attack {name}: {what}; a study of paradigm `imported` has it")
        _one_of("--attack", name, ATTACKS)
    _one_of("--design", args.design, DESIGNS)
    _one_of("--signal", args.signal, ("logit", "hinge"))
    _one_of("--variant", args.variant, ("pooled", "per_example", "student_t"))
    _one_of("--thresholds", args.thresholds, STRATEGIES)
    _one_of("--interval", args.interval, ("canaries", "two_way"))
    rates = tuple(args.fpr or AuditSettings.fpr)
    read: dict[str, str] = {}
    for text in rates:
        rate = _number("--fpr", text, 0, 1, "a rate between 0 and 1, such as 0.01")
        name = f"{rate:g}"  # as the metrics are called
        if name in read:
            raise SynthcError(f"--fpr {read[name]} --fpr {text}: one rate twice; drop one of them")
        read[name] = text
    for name in args.attack or ():
        if args.attack.count(name) > 1:
            raise SynthcError(f"--attack {name}: it is named twice; drop one of them")
    guesses = None
    if args.guesses:
        if args.thresholds != "preset":
            both = f"--guesses {' '.join(args.guesses)} and --thresholds {args.thresholds}"
            raise SynthcError(f"{both}: the second chooses what the first sets; give one of them")
        plus, minus = (_count("--guesses", text, least=0) for text in args.guesses)
        if not plus + minus:
            raise SynthcError("--guesses 0 0: no guess rules nothing out; at least one is needed")
        guesses = (plus, minus)
    return AuditSettings(
        tried=tuple(args.attack or ()),
        fpr=rates,
        membership=args.design,
        signal=args.signal,
        variant=args.variant,
        views=None if args.queries is None else _count("--queries", args.queries),
        confidence=_number("--confidence", args.confidence, 0.5, 1, "a share between 0.5 and 1, such as 0.95"),
        delta=_number("--delta", args.delta, 0, 1, "0 or a number below 1, such as 1e-5", or_zero=True),
        guesses=guesses,
        thresholds=args.thresholds,
        one_run=args.one_run,
        resamples=None if args.resamples is None else _count("--resamples", args.resamples, least=100),
        interval=args.interval,
        null_permutations=None if args.redraws is None else _count("--redraws", args.redraws, least=10),
    )


def _one_of(option: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise SynthcError(f"{option} {word}: {did_you_mean(word, known)}")


def _number(option: str, text: str, above: float, below: float, wanted: str, or_zero: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if or_zero and value == 0:
        return 0.0  # also for -0.0
    if not above < value < below:
        raise SynthcError(f"{option} {text}: wanted is {wanted}")
    return value


def _count(option: str, text: str, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise SynthcError(f"{option} {text}: wanted is a whole number from {least} on")
    return int(text)


def show(file: Path, report: Report, settings: AuditSettings) -> None:
    """Print the report on standard output: a table with what its columns mean, and notes. `file` is its name in the first line."""
    from rich.console import Console
    from rich.markup import escape

    from runtime.audit.external.audit_file import notes

    console = Console(highlight=False, file=plain(sys.stdout))
    if not console.is_terminal:
        console.width = 160  # a pipe has no width; 80 columns would wrap every row
    console.print(
        f"{escape(visible(str(file)))}: {report.n_shadows:,} shadows × {report.n_samples:,} samples, membership: {report.design}"
    )
    console.print(_table(report, settings))
    console.print(
        f"Intervals: {settings.confidence:.0%}, bootstrap over {report.drawn}, {report.resamples:,} resamples. "
        "In brackets: the FPR at which the TPR was read. Null AUC: the same attack on redrawn membership, centre and spread; p: "
        "share of redraws that show as much."
    )
    console.print(
        f"ε: values below this are ruled out at confidence {settings.confidence:g}, delta {settings.delta:g}"
        f"{', for shadow 0' if report.n_shadows > 1 else ''}; it is never the ε of the models. Steinke's holds whatever the "
        "mechanism; f-DP and mu-GDP only if its trade-off is Gaussian, else they may exceed the true epsilon."
    )
    for line in (*notes(report), *_unread(report), *_refusals(report)):
        console.print(f"- {escape(visible(line))}")


def _table(report: Report, settings: AuditSettings) -> Table:
    from rich.table import Table

    from runtime.present.numbers import format_interval

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("attack")
    for head in ("AUC", *(f"TPR at {text}" for text in settings.fpr), "null AUC", "p"):
        table.add_column(head, justify="right")
    stated = (summary.epsilon_lower.items() for summary in report.attacks.values())
    bounds = list(dict.fromkeys(name for items in stated for name, bound in items if bound.value is not None))
    for name in bounds:
        table.add_column(f"ε {BOUND_NAMES[name]}", justify="right")
    for attack, summary in report.attacks.items():
        ruled_out = [summary.epsilon_lower[name].value for name in bounds]
        table.add_row(
            attack,
            format_interval(summary.auc.value, summary.auc.low, summary.auc.high),
            *(_rate(rate, summary.readings[text]) for text, rate in summary.tpr.items()),
            format_interval(summary.null_auc.value, summary.null_auc.low, summary.null_auc.high),
            f"{summary.permutation_p:.3g}",
            *("" if value is None else f"{value:.2f}" for value in ruled_out),
        )
    return table


BOUND_NAMES = {
    "steinke": "(Steinke)", "f_dp_if_gaussian": "if Gaussian (f-DP)",
    "clopper_pearson": "(Clopper-Pearson)", "mu_gdp_if_gaussian": "if Gaussian (mu-GDP)",
}  # fmt: skip


def _rate(rate: Metric, reading: RateReading) -> str:
    """The TPR in % with its interval, and the FPR at which it was read, as text; `not resolvable` without a value, with the number
    of non-members (n0) where they are too few."""
    from runtime.present.numbers import format_interval

    if rate.value is None:
        return "not resolvable" if reading.by_lot is not None else f"not resolvable, n0 {reading.non_members:,}"
    at = f" ({100 * reading.realised_fpr:.2g} %)" if reading.realised_fpr is not None else ""
    return format_interval(rate.value, rate.low, rate.high, ".1f", 100, " %") + at


def _unread(report: Report) -> Iterator[str]:
    """Yield a sentence for each TPR of an attack that is not resolvable because of tied scores, or that a tie has moved to a lower
    FPR."""
    for attack, summary in report.attacks.items():
        for text, rate in summary.tpr.items():
            by_lot = summary.readings[text].by_lot
            if by_lot is not None and rate.note and by_lot != rate.value:
                yield f"{attack}, TPR at {text}: {rate.note}"


def _refusals(report: Report) -> list[str]:
    """One line per reason for which a bound on epsilon has no value, with the names of the bounds concerned, over all attacks."""
    why: dict[str, dict[str, None]] = {}
    for summary in report.attacks.values():
        for name, bound in summary.epsilon_lower.items():
            if bound.value is None:
                why.setdefault(bound.note, {})[name] = None
    return [f"no ε {', '.join(BOUND_NAMES[name] for name in names)}: {reason}" for reason, names in why.items()]
