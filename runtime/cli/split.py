"""`synthc split DATA -o DIR`: draws members, holdout and test set at random before anything is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, plural
from runtime.cli.results_options import add_command

if TYPE_CHECKING:
    from fractions import Fraction


def register(commands: Any) -> None:
    """Add the command `split` with its options."""
    split = add_command(
        commands,
        "split",
        _split,
        results=False,
        help="set a holdout aside by lot, before anything is trained",
        description="Split images into members (train on these alone), a holdout and a test set (train on neither), by lot. Later\n"
        "`synthc judge` says what a set made from the members gives away: only what was set aside before can tell.\n"
        "The lot is drawn from the images themselves: drawing again gives the same parts. Equal images stay together.",
        epilog="examples:\n"
        "  synthc split photos/ -o split --test 0.1 --holdout 0.3      folders of images by class, likewise after it\n"
        "  synthc split scans.parquet -o split --unit patient --coins  one patient's images never stand on both sides\n"
        "  synthc split photos.npz -o split --unit people.csv          lines `row,person`\n"
        "then train on split/members, make a set, and\n"
        "  synthc judge made/ --members split/members --holdout split/holdout --test split/test",
    )
    option = split.add_argument
    option("data", metavar="DATA", help="an .npz, a folder of images by class, a .parquet file, or a known data set")
    option("-o", "--output", type=Path, required=True, metavar="DIR", help="a new folder for the parts and split.json")
    option("--coins", action="store_true", help="members and holdout by a fair coin for each unit: allows bounds on epsilon")
    option("--holdout", metavar="SIZE", help="a share, or a number of units (default: 0.3; with --coins half of what is left)")
    option("--test", default="0.1", metavar="SIZE", help="likewise, for the test set (default: 0.1; 0 for none)")
    option("--stratify", action="store_true", help="give each part its share of each class")
    option(
        "--unit", metavar="FILE|COLUMN", help="what belongs together: a column of Parquet, an array of an .npz, lines `image,unit`"
    )
    option("--image", default="image", metavar="COLUMN", help="of Parquet: bytes of the images (default: image)")
    option("--label", default="label", metavar="COLUMN", help="of Parquet: whole numbers or names (default: label)")


def _split(args: argparse.Namespace) -> int:
    if args.coins and args.holdout:
        raise SynthcError(f"--coins --holdout {args.holdout}: coins give half of what is left to the holdout; give one of them")
    from runtime.data.image_set import read_image_set
    from runtime.judge.split import PARTS, Design, write_split

    design = Design(args.coins, _size("--holdout", args.holdout or "0.3"), _size("--test", args.test), args.stratify)
    data = read_image_set(args.data, image=args.image, label=args.label, unit=args.unit)
    split = write_split(data, design, args.output, args.unit)
    how = "by fair coins" if args.coins else "by exact sizes"
    print(f"{args.output}: {plural(len(data), 'image')} of {args.data} in {plural(sum(split.units.values()), 'unit')}, {how}")
    for part in PARTS:
        print(f"  {part:<8} {split.images[part]:>8,} images in {split.units[part]:,} units")
    if split.merged:
        print(f"{plural(split.merged, 'image')} equal to another of {args.data}: they stay together in one unit")
    print("Train on the members alone: no choice, no constant and no checkpoint may come from the holdout or the test set.")
    return 0


def _size(option: str, text: str) -> Fraction | int:
    from fractions import Fraction

    try:
        size = Fraction(text)
    except (ValueError, ZeroDivisionError):
        size = Fraction(-1)
    if text.isdecimal():
        return int(text)
    if not 0 < size < 1:
        raise SynthcError(f"{option} {text}: wanted is a share between 0 and 1, such as 0.3, or a number of units")
    return size
