"""No stored file runs code; nothing leaves the machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.test_layers import ROOT, files


def calls(path: Path) -> set[str]:
    """Dotted names that a file calls."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


def test_no_pickle_is_read_from_the_store() -> None:
    risky = {"pickle.load", "pickle.loads", "torch.load", "joblib.load", "dill.loads", "marshal.loads", "eval", "exec"}
    users = {path.name: found for path in [*files("compiler"), *files("runtime")] if (found := calls(path) & risky)}
    assert users == {"cifar.py": {"pickle.loads"}}  # of the published bytes alone


def test_arrays_from_outside_are_read_without_objects() -> None:
    for path in files("runtime"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                # numpy's default refuses pickled objects; nobody here may say otherwise.
                assert not any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords), path


def test_every_line_of_the_threat_model_names_a_test_that_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    lines = [line for line in text if line.startswith("| ") and line.count("|") == 4][1:]  # the table with three columns
    known = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    for line in lines:
        named = re.findall(r"(test_\w+\.py)?(?:::(test_\w+))?", line.rsplit("|", 2)[1])
        told = [(file, name) for file, name in named if file or name]
        assert told, line
        last = ""
        for file, name in told:
            last = file or last
            assert f"def {name}(" in known[last] if name else last in known, line
