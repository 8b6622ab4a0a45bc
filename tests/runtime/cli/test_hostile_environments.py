"""Every command in every environment that a machine may have: sentences and documented exit codes, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.cli.main import main
from tests.conftest import ROOT, Done

pytestmark = pytest.mark.long

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "ascii, strict": {"PYTHONIOENCODING": "ascii:strict"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "cp437": {"PYTHONIOENCODING": "cp437"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "utf-16": {"PYTHONIOENCODING": "utf-16"},
    "no utf-8 mode": {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    "posix locale": {"LC_ALL": "POSIX"},
    "unknown locale": {"LC_ALL": "xx_YY.UTF-8"},
    "no TMPDIR": {"TMPDIR": "/nowhere/at/all"},
    "TMPDIR is a file": {"TMPDIR": "/etc/passwd"},
    "TMPDIR is long": {"TMPDIR": "/tmp/" + "x" * 150},
    "no HOME": {"HOME": ""},
    "HOME is nowhere": {"HOME": "/nowhere"},
    "HOME is a file": {"HOME": "/etc/passwd"},
    "cache is a file": {"XDG_CACHE_HOME": "/etc/passwd"},
    "cache is nowhere": {"XDG_CACHE_HOME": "/proc/nowhere"},
    "data root is a file": {"SYNTHC_DATA": "/etc/passwd"},
    "data root is nowhere": {"SYNTHC_DATA": "/proc/nowhere"},
    "proxies": {"http_proxy": "http://127.0.0.1:9", "https_proxy": "nonsense", "ALL_PROXY": "socks5://127.0.0.1:9"},
    "proxy with a password": {"HTTP_PROXY": "http://user:p%40ss@[::1]:99999"},
    "RAY_ADDRESS": {"RAY_ADDRESS": "127.0.0.1:1"},
    "RAY_ADDRESS is nonsense": {"RAY_ADDRESS": "ray://"},
    "RAY_AUTH_TOKEN": {"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "disabled"},
    "RAY_TMPDIR": {"RAY_TMPDIR": "/nowhere"},
    "narrow": {"COLUMNS": "1"},
    "no width": {"COLUMNS": "0", "LINES": "0"},
    "wide": {"COLUMNS": "100000"},
    "dumb terminal": {"TERM": "dumb", "NO_COLOR": "1"},
    "forced colours": {"FORCE_COLOR": "1", "TERM": "xterm-256color"},
    "no PATH": {"PATH": ""},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "hash seed": {"PYTHONHASHSEED": "12345"},
    "warnings": {"PYTHONWARNINGS": "default"},
    "no threads": {"OMP_NUM_THREADS": "0"},
    "nonsense threads": {"OMP_NUM_THREADS": "many"},
    "no GPU": {"CUDA_VISIBLE_DEVICES": ""},
    "nonsense GPU": {"CUDA_VISIBLE_DEVICES": "17,x"},
}


def limit(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


PREPARATIONS: dict[str, Callable[[], object]] = {
    "umask 000": lambda: os.umask(0o000),
    "umask 777": lambda: os.umask(0o777),
    "few files": limit(resource.RLIMIT_NOFILE, 64),
    "small files": limit(resource.RLIMIT_FSIZE, 1 << 20),
    "little stack": limit(resource.RLIMIT_STACK, 1 << 20),
    "no core": limit(resource.RLIMIT_CORE, 0),
}
OUTPUTS = ("/dev/full", "/dev/null")

SCRIPT = """
import json, sys, io, contextlib
from runtime.cli.main import main
for words in json.loads(sys.argv[1]):
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    sys.stderr.write(f"\\n### {code} {words[0]}\\n")
"""


def commands(done: Done) -> list[list[str]]:
    spec, db = str(done.spec), ["--db", str(done.db)]
    return [
        ["check", spec],
        ["check", str(done.folder / "nowhere.yaml")],
        ["plan", spec, *db],
        ["graph", spec, "-o", str(done.folder / "graph.svg")],
        ["diff", spec, spec],
        ["status", *db],
        ["show", "undefended#0", *db],
        ["sql", "SELECT 'größe →', * FROM comparison", *db],
        ["sql", ";", *db],
        ["table", "comparison", *db],
        ["chart", "tradeoff", "-o", str(done.folder / "chart.svg"), *db],
        ["report", "-o", str(done.folder / "report.html"), *db],
        ["export", "--view", "comparison", str(done.folder / "rows.csv"), *db],
        ["data", "list"],
        ["doctor", *db],
        ["gc", *db],
        ["bundle", "-o", str(done.folder / "tiny.zip"), *db],
        ["db", "rebuild", *db],
        ["db", "merge", str(done.folder / "nowhere.zip"), *db],
        ["data", "verify"],
        ["split", str(done.folder / "nowhere"), "-o", str(done.folder / "split")],
        ["judge", "nowhere.npz", "--members", "nowhere.npz", "--holdout", "nowhere.npz"],
        ["tune", str(done.folder / "nowhere.yaml")],
        ["run", spec, "--engine", "inline", *db],
        ["audit", str(done.folder / "nowhere.npz")],
    ]


def judged(done: Done, out: str = "", env: dict[str, str] | None = None, prepare: Callable[[], object] | None = None) -> None:
    """Run all commands in that environment, then check exit codes, messages, and that the results are unchanged."""
    before = rows(done)
    words = [sys.executable, "-c", SCRIPT, json.dumps(commands(done))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | (env or {})
    with open(out or os.devnull, "w") as target:
        ended = subprocess.run(
            words, cwd=done.folder, env=environment, stdout=target, stderr=subprocess.PIPE, preexec_fn=prepare, timeout=900
        )
    said = ended.stderr.decode("utf-16" if "utf-16" in environment.get("PYTHONIOENCODING", "") else "utf-8", errors="replace")
    assert "Traceback" not in said, said[-3000:]
    assert "a mistake of synthc's" not in said, said[-3000:]
    codes = [line.split()[1] for line in said.splitlines() if line.startswith("### ")]
    assert len(codes) == len(commands(done)), said[-3000:]
    assert set(codes) <= {"0", "1", "2"}, said[-3000:]
    for path in (done.folder, *done.folder.rglob("*")):  # an umask of 777 makes files that nobody reads
        path.chmod(0o700)
    assert main(["run", str(done.spec), "--engine", "inline", "--db", str(done.db)]) == 0
    assert rows(done) == before


def rows(done: Done) -> list[tuple[object, ...]]:
    return (
        done.rows("SELECT * EXCLUDE (run) FROM comparison ORDER BY ALL")
        if "run" in columns(done)
        else done.rows("FROM comparison ORDER BY ALL")
    )


def columns(done: Done) -> set[str]:
    return {name for (name,) in done.rows("SELECT column_name FROM (DESCRIBE comparison)")}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_command_says_a_sentence_in_this_environment_and_loses_nothing(copy: Done, name: str) -> None:
    judged(copy, env=ENVIRONMENTS[name])


@pytest.mark.parametrize("name", PREPARATIONS)
def test_every_command_says_a_sentence_under_this_limit_and_loses_nothing(copy: Done, name: str) -> None:
    judged(copy, prepare=PREPARATIONS[name])


@pytest.mark.parametrize("out", OUTPUTS)
def test_every_command_ends_although_its_output_goes_nowhere(copy: Done, out: str) -> None:
    judged(copy, out)


def test_every_command_runs_from_the_root_and_beside_a_deleted_cache(copy: Done, tmp_path: Path) -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
    judged(copy, env={"XDG_CACHE_HOME": str(tmp_path / "new")})
