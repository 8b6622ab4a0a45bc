"""The layers of the house, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imports(path: Path, *, deferred: bool = True) -> set[str]:
    """Top-level names that a file imports; without `deferred` only those that its import triggers."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not deferred and id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def passes(script: str) -> None:
    """A process of its own runs it to the end; what it exits with is the complaint."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_the_compiler_imports_pydantic_ruamel_and_the_standard_library_and_nothing_else() -> None:
    allowed = {"compiler", "pydantic", "pydantic_core", "annotated_types", "ruamel"} | set(sys.stdlib_module_names)
    strangers = {path.name: found for path in files("compiler") if (found := imports(path) - allowed)}
    assert strangers == {}


@pytest.mark.parametrize(("library", "homes"), [
    ("ray", {"cluster", "execution"}),
    ("duckdb", {"database"}),
    ("altair", {"charts", "report", "present"}),
    ("vl_convert", {"charts", "report", "present"}),
])
def test_a_library_at_the_rim_is_imported_in_its_own_room_only(library: str, homes: set[str]) -> None:
    users = {path.relative_to(ROOT / "runtime") for path in files("runtime") if library in imports(path)}
    strangers = {user for user in users if not ({user.parts[0], Path(user.parts[0]).stem} & homes)}
    assert strangers == set()


def test_no_room_is_called_utils() -> None:
    banned = {"utils", "util", "common", "helpers", "misc"}
    assert [path for folder in ("compiler", "runtime", "tests") for path in files(folder) if path.stem in banned] == []


@pytest.mark.parametrize("command", [
    "--help", "run --help", "check specs/full_study.yaml", "schema", "diff specs/smoke.yaml specs/full_study.yaml",
    "plan specs/full_study.yaml --db {db}", "plan specs/smoke.yaml --json --db {db}", "plan specs/smoke.yaml --emit trials",
    "explain specs/smoke.yaml --db {db}", "graph specs/smoke.yaml -o {svg} --db {db}",
])
def test_asking_needs_neither_torch_nor_ray(command: str, tmp_path: Path) -> None:
    words = command.format(db=tmp_path / "results.duckdb", svg=tmp_path / "plan.svg").split()
    script = (
        "import sys; from runtime.cli.main import main\n"
        f"code = 0\ntry: code = main({words!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'duckdb', 'altair', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
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
    assert [path.relative_to(ROOT) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))] == []
