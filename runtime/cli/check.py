"""`synthc check`, `schema`, `init`: check a study, describe its language, start a new one. None of them imports torch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from compiler.errors import SpecError, SynthcError, plural
from runtime.cli.options import compile_study_of, print_notices, spec_options
from runtime.cli.results_options import add_command, write


def register(commands: Any) -> None:
    """Add the commands `check`, `schema` and `init`."""
    check = add_command(
        commands,
        "check",
        _check,
        results=False,
        parents=[spec_options(optional=True)],
        help="find every mistake in a study, and what it lacks",
        description="Compile a study and say every mistake, and what a rigorous study needs and this one lacks, with its place.\n"
        "Exit code 0 if nothing refuses the study, else 2. Lints (L01, L02, …) can be silenced in the spec, with a reason.",
        epilog="examples:\n"
        "  synthc check specs/full_study.yaml --profile fashion_mnist\n"
        "  synthc check --explain L05                      what a lint is about\n"
        "  synthc check specs/full_study.yaml --explain L04    and where it applies in this study",
    )
    check.add_argument("--explain", metavar="CODE", help="what a lint is about, why, after which paper, and how it is silenced")

    schema = add_command(
        commands,
        "schema",
        _schema,
        results=False,
        help="the language as a JSON Schema, for editors",
        description="Print the JSON Schema of a study. Editors that know it complete and check a study while it is written.",
        epilog="examples:\n  synthc schema -o schema.json\n\nA study whose first line is\n"
        "  # yaml-language-server: $schema=schema.json\nis then checked by VS Code (the YAML extension), Neovim, Emacs and others.",
    )
    schema.add_argument("-o", "--output", type=Path, metavar="FILE", help="write it there (replacing an older one)")

    init = add_command(
        commands,
        "init",
        _init,
        results=False,
        help="write a commented starter study",
        description="Write NAME.yaml, a small study with every part explained. Never overwrites a file.",
        epilog="example:\n  synthc init my_study && synthc run my_study.yaml",
    )
    init.add_argument("name", metavar="NAME", help="name of the study, and of its file")


def _check(args: argparse.Namespace) -> int:
    if args.explain is not None:
        return _explain_lint(args)
    if args.spec is None:
        raise SynthcError("name a study, as in `synthc check study.yaml`, or a lint, as in `synthc check --explain L05`")
    plan = compile_study_of(args)
    print_notices(plan)
    warned = sum(finding.silenced is None for finding in plan.lints)
    size = f"{plural(len(plan.trials), 'trial')}, {plural(len(plan.tasks), 'task')}"
    print(f"{args.spec}: {plan.header.study}: {size}, no mistakes, {plural(warned, 'warning')}")
    return 0


def _explain_lint(args: argparse.Namespace) -> int:
    from compiler.lint.catalog import LINTS, explain

    code = args.explain.upper()
    if code not in LINTS:
        listed = "\n".join(f"  {lint.code}  {lint.title}" for lint in LINTS.values())
        what = f"no lint is called {args.explain!r}; codes in words are of mistakes, which say all there is to say"
        raise SynthcError(f"{what}. There are:\n{listed}")
    print("\n".join(explain(code)))
    if args.spec is None:
        return 0
    try:
        findings: list[Any] = [finding for finding in compile_study_of(args).lints if finding.code == code]
    except SpecError as error:
        findings = [diagnostic for diagnostic in error.diagnostics if diagnostic.code == code]
        if not findings:
            raise
    print(f"\nin {args.spec}: " + ("" if findings else "silent" if LINTS[code].before else "nothing to be seen before the run"))
    for finding in findings:
        print(f"  {finding}")
    for reason in {getattr(finding, "silenced", None) for finding in findings} - {None}:
        print(f"  silenced: {reason}")
    return 0


def _schema(args: argparse.Namespace) -> int:
    from compiler.inspect.json_schema import schema_text

    write(schema_text(), args.output)
    return 0


def _init(args: argparse.Namespace) -> int:
    from importlib.resources import files

    path = Path(args.name)
    name = path.stem if path.suffix.lower() in (".yaml", ".yml") else path.name
    target = path.with_name(f"{name}.yaml")
    called = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-_.") or "study"  # what a study may be called
    text = (files("runtime.cli") / "starter.yaml").read_text(encoding="utf-8")
    plain = called.isidentifier() and called.lower() not in ("null", "true", "false")
    starter = text.replace("study: STUDY", f"study: {called}" if plain else f'study: "{called}"').replace("STUDY", name)
    try:
        with target.open("x", encoding="utf-8") as handle:
            handle.write(starter)
    except FileExistsError:
        raise SynthcError(f"{target}: already there, and nothing is overwritten; choose another name") from None
    except OSError as error:
        raise SynthcError(f"{target}: cannot be written: {error.strerror}; choose another folder") from error
    print(f"wrote {target}\nnext: synthc plan {target}   synthc run {target}   synthc schema -o schema.json (for your editor)")
    return 0
