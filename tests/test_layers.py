"""The order of the packages, checked by all imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

COMPILER = "errors fingerprint < text < language < data < work < check < plan < power < lint inspect < compile"
RUNTIME = (
    "machine outcome seeds < store < database < data execution < training present < synthesize ui < audit < judge < "
    "operations < cli"
)

MODULE = re.compile(r"(compiler|runtime)(\.[a-z_]\w*)+")


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    """Every module of both trees, by its dotted name."""
    return {name_of(path): path for folder in ("compiler", "runtime") for path in files(folder)}


def module_named(dotted: str) -> str | None:
    """The longest beginning of a dotted name that is a module of ours; a folder that only holds others is none."""
    while dotted and dotted not in modules():
        dotted = dotted.rpartition(".")[0]
    return dotted if "." in dotted else None


def names_in(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever the import stands, and those in strings that are the name of a module."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE.fullmatch(node.value):
            yield node.value


@cache
def arrows() -> dict[str, set[str]]:
    """Module → modules of ours that it names."""
    return {
        name: {target for dotted in names_in(path) if (target := module_named(dotted)) and target != name}
        for name, path in modules().items()
    }


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def floors() -> dict[str, int]:
    """Room → floor, from the two lines above; all of the runtime stands above all of the compiler."""
    levels = [
        [f"{tree}.{room}" for room in level.split()]
        for tree, line in (("compiler", COMPILER), ("runtime", RUNTIME))
        for level in line.split("<")
    ]
    return {room: height for height, level in enumerate(levels) for room in level}


def test_the_order_of_rooms_names_every_room() -> None:
    assert {room_of(module) for module in modules() if "." in module} == set(floors())


def test_a_room_imports_lower_rooms_only() -> None:
    floor = floors()
    wrong = {
        f"{source} → {target}"
        for source, targets in arrows().items()
        for target in targets
        if "." in source and room_of(source) != room_of(target) and floor[room_of(source)] <= floor[room_of(target)]
    }
    assert wrong == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_rooms_stay_few_and_small() -> None:
    tracked = subprocess.run(["git", "ls-files", "compiler", "runtime"], capture_output=True, text=True, cwd=ROOT, check=False)
    if tracked.returncode:
        pytest.skip("no git checkout")
    entries: dict[str, set[str]] = {}
    for path in map(Path, tracked.stdout.split()):
        for parent in list(path.parents)[:-1]:
            below = path.relative_to(parent).parts[0]
            if below != "__init__.py":
                entries.setdefault(parent.as_posix(), set()).add(below)
    loose = {folder: sorted(name for name in entries[folder] if name.endswith(".py")) for folder in ("compiler", "runtime")}
    assert len(loose["compiler"]) <= 3, loose
    assert len(loose["runtime"]) <= 4, loose
    assert {folder: len(names) for folder, names in entries.items() if len(names) > (22 if folder == "runtime/cli" else 15)} == {}
    between = {(room_of(source), room_of(target)) for source, targets in arrows().items() for target in targets if "." in source}
    tops = {(a if a.startswith("runtime") else "compiler", b if b.startswith("runtime") else "compiler") for a, b in between}
    assert len({(a, b) for a, b in tops if a != b}) <= 75


def imported(path: Path, *, deferred: bool = True) -> set[str]:
    """Top-level names that a file imports; without `deferred` only those that its import triggers."""
    tree = parsed(path)
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if not deferred and id(node) in later:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def passes(script: str) -> None:
    """Run a script in a new process; fails with what it prints on stderr unless it exits with 0."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_the_compiler_imports_pydantic_ruamel_and_the_standard_library_and_nothing_else() -> None:
    allowed = {"compiler", "pydantic", "pydantic_core", "annotated_types", "ruamel"} | set(sys.stdlib_module_names)
    others = {path.name: names for path in files("compiler") if (names := imported(path) - allowed)}
    assert others == {}


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("ray", {"runtime.execution.cluster"}),
        ("duckdb", {"runtime.database"}),
        ("altair", {"runtime.present.charts", "runtime.present.report"}),
        ("vl_convert", {"runtime.present.charts", "runtime.present.report"}),
    ],
)
def test_a_library_at_the_rim_is_imported_in_its_own_room_only(library: str, homes: set[str]) -> None:
    users = {name for name, path in modules().items() if library in imported(path)}
    assert {user for user in users if not any(f"{user}.".startswith(f"{home}.") for home in homes)} == set()


def test_no_room_is_called_utils() -> None:
    banned = {"utils", "util", "common", "helpers", "misc"}
    assert [path for folder in ("compiler", "runtime", "tests") for path in files(folder) if path.stem in banned] == []


def test_asking_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    commands = (
        "--help",
        "run --help",
        "check specs/full_study.yaml",
        "schema",
        "diff specs/smoke.yaml specs/full_study.yaml",
        "plan specs/full_study.yaml --db {db}",
        "plan specs/smoke.yaml --json --db {db}",
        "plan specs/smoke.yaml --emit trials",
        "explain specs/smoke.yaml --db {db}",
        "graph specs/smoke.yaml -o {svg} --db {db}",
    )
    words = [command.format(db=tmp_path / "results.duckdb", svg=tmp_path / "plan.svg").split() for command in commands]
    script = (
        "import sys; from runtime.cli.main import main\n"
        f"for command in {words!r}:\n"
        "    code = 0\n    try: code = main(command)\n    except SystemExit: pass\n"
        "    heavy = {'torch', 'ray', 'duckdb', 'altair', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "    if code or heavy: sys.exit(f'{command}: {code}, imported {heavy}')\n"
    )
    passes(script)


def test_help_waits_for_no_compiler() -> None:
    script = (
        "import sys; from runtime.cli.main import main\n"
        "try: main(['plan', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'pydantic', 'ruamel', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    passes(script)


def test_importing_the_compiler_builds_no_validator() -> None:
    # A third of the time that the import would take, and `synthc --help` needs none.
    script = (
        "import sys; import compiler.compile; from compiler.language.base import Frozen\n"
        "def below(kind): return [kind, *(found for sub in kind.__subclasses__() for found in below(sub))]\n"
        "built = [kind.__name__ for kind in below(Frozen) if kind is not Frozen and kind.__pydantic_complete__]\n"
        "sys.exit(f'built {built}' if built else 0)"
    )
    passes(script)


def test_every_module_says_what_it_is_for() -> None:
    modules = [*files("compiler"), *files("runtime")]
    assert [path.relative_to(ROOT) for path in modules if not ast.get_docstring(parsed(path))] == []
