"""Every kind of file of a store and a database × every damage × every command: a sentence, the same rows, or the damage named.

Of the commands that write, each damage meets one, by turns; all of them with SYNTHC_FULL_MATRIX=1, in twice the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cli.main import main
from tests.conftest import Done
from tests.runtime.execution.test_faults import ROWS

FILES = {
    "mark": ".synthc/store.json",
    "lock": ".synthc/lock",
    "index": ".synthc/index.duckdb",
    "record": ".synthc/runs/*/run.json",
    "plan": ".synthc/runs/*/plan.jsonl.gz",
    "task": ".synthc/??/*/task.json",
    "outcome": ".synthc/??/*/outcome.json",
    "tensors": ".synthc/??/*/model.safetensors",
    "scores": ".synthc/??/*/scores.safetensors",
    "attempt": ".synthc/??/*/attempts/1/attempt.json",
    "log": ".synthc/??/*/attempts/1/log.txt",
    "database": "results.duckdb",
    "lock of the database": ".results.duckdb.lock",
}
DAMAGES = ("cut", "flipped", "emptied", "a folder", "mode 000", "wrong types", "gone")
WRONG = [
    None,
    [],
    {},
    "text",
    3,
    {"version": None},
    {"tasks": 3, "study": ["tiny"], "headline": 7, "trials": None, "claims": "none"},
]
READING = (
    ["status"],
    ["runs"],
    ["show", "undefended#0"],
    ["show", "{task}"],
    ["logs", "{task}"],
    ["sql", "FROM comparison"],
    ["table", "comparison"],
    ["chart", "tradeoff", "-o", "{folder}/tradeoff.json"],
    ["export", "--view", "comparison", "{folder}/comparison.csv"],
    ["plan", "{folder}/study.yaml"],
    ["explain", "{folder}/study.yaml"],
    ["report", "-o", "{folder}/report.html"],
    ["doctor", "--deep"],
    ["gc"],
)
WRITING = (["run", "{folder}/study.yaml", "--engine", "inline"], ["db", "rebuild"], ["gc", "--delete"])
NOBODY = 65534


def damage(path: Path, how: str, chance: random.Random) -> None:
    content = path.read_bytes()
    match how:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            place = chance.randrange(len(content)) if content else 0
            path.write_bytes(content[:place] + bytes([(content[place] if content else 0) ^ 4]) + content[place + 1 :])
        case "emptied":
            path.write_bytes(b"")
        case "a folder":
            path.unlink()
            path.mkdir()
            (path / "inside").touch()
        case "mode 000":
            path.chmod(0)
        case "wrong types":
            path.write_text(json.dumps(chance.choice(WRONG)))
        case "gone":
            path.unlink()


@contextlib.contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Run the block as an unprivileged user, who owns `folder`: file modes do not restrict root."""
    if os.geteuid():
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place(tiny: Done, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that any user may enter, with the records of data files that were read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(os.environ["XDG_CACHE_HOME"], folder / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    yield folder
    shutil.rmtree(folder)


def try_all(
    tiny: Done, place: Path, file: str, how: str, commands: tuple[list[str], ...], capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(f"{file} {how}")
    folder = place / "damaged"
    shutil.copytree(tiny.folder, folder)
    done = Done(folder, folder / "study.yaml")
    path = chance.choice(sorted(folder.glob(FILES[file])))
    wanted = tiny.rows(ROWS)
    task = path.parents[2].name if file in ("attempt", "log") else path.parent.name
    task = task if len(task) == 16 else tiny.rows("SELECT min(task) FROM task WHERE kind = 'attack'")[0][0]

    def said_by(words: list[str]) -> tuple[int, str]:
        words = [word.format(folder=folder, task=task) for word in words]
        code = main([*words, "--db", str(done.db)])
        said = "".join(capsys.readouterr())
        assert code in (0, 1, 2), (file, how, words, said)
        assert "mistake of synthc" not in said, (file, how, words, said)
        assert "Traceback" not in said or words[0] in ("logs", "report"), (file, how, words, said)
        return code, said

    if how == "mode 000":  # every module that is imported late: another user may not be able to read it
        for words in (*commands, WRITING[0]):
            said_by(words)
    with unprivileged(folder) if how == "mode 000" else contextlib.nullcontext():
        damage(path, how, chance)
        for words in commands:
            said_by(words)
        code, said = said_by(WRITING[0])
        if code == 0:
            assert done.rows(ROWS) == wanted, (file, how, said)
        else:
            assert path.name in said, (file, how, said)
    shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_every_damage_is_a_sentence_to_every_command(
    tiny: Done, place: Path, file: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try_all(tiny, place, file, how, READING, capsys)
    turn = (list(FILES).index(file) + DAMAGES.index(how)) % len(WRITING)
    for words in WRITING if os.environ.get("SYNTHC_FULL_MATRIX") else (WRITING[turn],):  # each on what nothing has mended yet
        try_all(tiny, place, file, how, (words,), capsys)


@pytest.mark.parametrize(
    ("file", "how"),
    [("record", "wrong types"), ("outcome", "mode 000"), ("mark", "emptied"), ("task", "a folder"), ("index", "cut")],
)
def test_some_damages_are_sentences_to_some_commands(
    tiny: Done, place: Path, file: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try_all(tiny, place, file, how, (["show", "{task}"], ["explain", "{folder}/study.yaml"], ["gc"], ["db", "rebuild"]), capsys)
