"""`synthc export --membership`: exports a study's private sets, for a pipeline that synthc does not run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.errors import SynthcError, did_you_mean
from runtime.cli.options import identify_data

if TYPE_CHECKING:
    from runtime.data.population.export import Splits

EXAMPLES = """\
  synthc export --membership splits --spec study.yaml             indices and labels of each shadow's private set
  synthc export --membership splits --spec study.yaml --images    and all images, as one array
  synthc export --membership splits --spec study.yaml --queries   and what to ask the trained models, for their logits
splits/audit-only says who is watched: keep it from the pipeline."""


def add_options(export: argparse.ArgumentParser) -> None:
    """Add `--membership` and the options that name its study."""
    export.add_argument("--membership", type=Path, metavar="DIR", help="who trains on what in the study --spec, as .npz per shadow")
    study = export.add_argument_group("the study of --membership")
    study.add_argument("--spec", type=Path, metavar="SPEC", help="the study, a YAML file; what it imports need not be there yet")
    study.add_argument("--profile", metavar="NAME", help="overlay this profile of the spec")
    study.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="sets", help="replace a value; repeatable")
    study.add_argument("--arm", metavar="NAME", help="of this arm, where arms have canaries or shadows of their own")
    study.add_argument("--images", action="store_true", help="also all images")
    study.add_argument("--queries", action="store_true", help="also the views of canaries and the test images")


def export(args: argparse.Namespace) -> None:
    """Write the files of `--membership` into its folder, and print the path of membership.json, the number of shadows and that of
    files. SynthcError without `--spec`, where trials differ (see `_find_splits`), and where the folder is of another study or
    cannot be written; errors of the data as of `sources.load`; SpecError for a study that is not valid."""
    if args.spec is None:
        raise SynthcError("--membership: of which study? Name it with --spec study.yaml")
    from runtime.data.population.export import write

    splits = _find_splits(args)
    paths = write(args.membership, splits, images=args.images, queries=args.queries)
    shadows = f"{splits.replicates} × {splits.shadows} shadows" if splits.replicates > 1 else f"{splits.shadows} shadows"
    print(f"{paths[-1]}: {shadows} of {splits.study}, {len(paths)} files")


def _find_splits(args: argparse.Namespace) -> Splits:
    """The private sets and queries that all trials of the study, or of `--arm`, share. SynthcError where these trials differ in
    private sets, number of shadows or queries, for an unknown arm, and as of `identify_data`; SpecError for a study that is not
    valid, but imported files need not be there."""
    from compiler.check.trials import check
    from compiler.plan.lower import population_of
    from compiler.text.compose import compose
    from runtime.data.cards import make_cards
    from runtime.data.population.export import Splits

    tree = compose(args.spec, args.profile, args.sets)
    make_cards(tree)
    checked = check(tree, imported=False)
    if identify_data(checked.trials):
        checked = check(tree, imported=False)
    arms = {trial.arm_name for trial in checked.trials}
    if args.arm is not None and args.arm not in arms:
        raise SynthcError(f"--arm {args.arm}: no arm is called that; {did_you_mean(args.arm, arms)}")
    found: dict[object, Splits] = {}
    for trial in checked.trials:
        audit, population = trial.point.audit, population_of(trial)
        if args.arm in (None, trial.arm_name):
            splits = Splits(trial.study, population, audit.membership, audit.shadows, checked.header.replicates, audit.queries)
            found.setdefault((splits.id, audit.shadows, audit.queries), splits)
    if len(found) != 1:
        hint = f"choose by --arm, of {', '.join(sorted(arms))}"
        raise SynthcError(f"{args.spec}: its trials do not all have the same private sets and queries; {hint}")
    return next(iter(found.values()))
