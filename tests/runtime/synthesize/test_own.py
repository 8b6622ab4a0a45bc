"""Methods, attacks and data sets of the user's own: named in a spec, checked like ours, run like ours."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from compiler.compile import compile_study
from compiler.errors import SpecError, SynthcError
from compiler.inspect.explain import find_tasks
from compiler.language.audit import Audit
from compiler.language.datasets import CARDS
from compiler.language.plugins import PluginMethod, words_of
from compiler.plan.dag import Plan
from runtime import machine
from runtime.audit.attacks.dispatch import scorer_of
from runtime.data.images import LabeledImages
from runtime.data.plugin import read
from runtime.execution.study_run import options_to_force
from runtime.synthesize.operation import synthesize
from tests.conftest import ROOT, TINY, run_study

EXAMPLES = ROOT / "specs" / "examples"
PACKAGE = EXAMPLES / "package"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, groups: dict[str, dict[str, str]]) -> None:
    """What installing leaves for importlib.metadata, in a folder that this test alone sees."""
    info = folder / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [f"[{group}]\n" + "".join(f"{point} = {at}\n" for point, at in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(folder))
    words_of.cache_clear()


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example package, as its own pyproject.toml says; the path that a process needs to see it."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    install(tmp_path / "site", monkeypatch, project["name"], project["entry-points"])
    monkeypatch.syspath_prepend(str(PACKAGE))
    return os.pathsep.join(map(str, (ROOT, PACKAGE, tmp_path / "site")))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Makes a package `mine` whose words are the given text; its module has a name that no other test uses."""

    def make(words: str, **groups: dict[str, str]) -> str:
        module = f"mine_{abs(hash(request.node.name))}"
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / f"{module}.py").write_text("from typing import ClassVar\n" + words)
        points = {f"synthc.{group}": {point: f"{module}:{at}" for point, at in of.items()} for group, of in groups.items()}
        install(tmp_path / "mine", monkeypatch, "mine", points)
        return module

    return make


def compiled(folder: Path, text: str, *sets: str) -> Plan:
    (folder / "study.yaml").write_text(text)
    return compile_study(folder / "study.yaml", sets=sets)


def complaints(folder: Path, text: str, *sets: str) -> str:
    with pytest.raises(SpecError) as caught:
        compiled(folder, text, *sets)
    return str(caught.value).replace(f"{folder}/", "")


def with_arm(words: str) -> str:
    return TINY.split("arms:")[0] + f"arms:\n  undefended: {{paradigm: undefended}}\n  mine: {{{words}}}\n"


def with_attack(words: str) -> str:
    return TINY.replace("  fpr:", f"    - {{{words}}}\n  fpr:")


METHOD = """
from compiler.language.plugins import PluginMethod
class Mine(PluginMethod):
    revision: ClassVar[int] = {revision}
    compute: ClassVar[str] = "nowhere"
    size: int = 3
"""


# --- the examples


def test_ones_own_method_attack_and_data_set_run_like_ours(examples: str, tmp_path: Path) -> None:
    text = (EXAMPLES / "own.yaml").read_text().replace("{grid: [1.0, 2.0]}", "2.0").replace("count: 64", "count: 24")
    text = text.replace("epochs: 8", "epochs: 1").replace("noise: 0.4,", "noise: 0.4, samples: 700,")
    text = text.replace("{grid: [3, 10]}", "3").split("claims:")[0]
    text = text.replace("  fpr: [", "  resamples: 100\n  null_permutations: 10\n  fpr: [")
    done = run_study(tmp_path, text)
    methods = done.rows("SELECT arm, paradigm, method, test_accuracy > 0.1 FROM comparison ORDER BY ALL")
    assert methods[0] == ("means", "own", "synthc-examples:microaggregation", True)
    figures = done.rows(
        "SELECT DISTINCT attack, variant, metric FROM result WHERE attack LIKE '%:%' AND metric IN ('auc', 'null_auc') ORDER BY ALL"
    )
    assert figures == [("synthc-examples:modified_entropy", "temperature=2.0/1q", metric) for metric in ("auc", "null_auc")]
    assert done.rows("SELECT count(*) FROM result WHERE release = 'synthetic_set' AND metric = 'auc'") == [(2,)]
    assert done.rows("SELECT DISTINCT data FROM comparison") == [("synthc-examples:stripes",)]
    assert done.rows("SELECT versions->>'synthc-examples' FROM base.run") == [("1",)]  # as `install` says


def test_a_run_says_when_results_stay_that_other_code_of_ones_own_made(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    package(METHOD.format(revision=1).replace('"nowhere"', '"mine_code"'), methods={"m": "Mine"})
    code = tmp_path / "mine" / "mine_code.py"
    code.write_text(
        "from runtime.synthesize.release import Release\n"
        "def synthesize(how, private, needs, setting):\n    return Release(private.images[:40], private.labels[:40])\n"
    )
    machine.package_digest.cache_clear()
    text = with_arm("paradigm: own, method: 'mine:m'").replace("epochs: 3", "epochs: 1")
    done = run_study(tmp_path, text, "--only", "arm=mine")
    run_study(tmp_path, text, "--only", "arm=mine")
    assert "the code of" not in capsys.readouterr().err
    code.write_text(code.read_text() + "# changed\n")
    machine.package_digest.cache_clear()
    run_study(tmp_path, text, "--only", "arm=mine")
    said = capsys.readouterr().err
    assert "mine:m: the code of mine_code is another one than that of 8 results, which stay, such as mine#0/shadow 0/" in said
    assert "raise `revision` in its words, or compute them again: --force 'mine*/synthesize'" in said
    assert done.rows("SELECT count(*) FROM attempt JOIN task USING (task) WHERE kind = 'synthesize'") == [(8,)]
    run_study(tmp_path, text, "--only", "arm=mine", "--force", "mine*/synthesize")
    capsys.readouterr()
    run_study(tmp_path, text, "--only", "arm=mine")
    assert "the code of" not in capsys.readouterr().err


def test_a_compiled_extension_belongs_to_the_code_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := tmp_path / "compiled_method").mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for content in (b"first", b"second"):
        (folder / f"fast{EXTENSION_SUFFIXES[0]}").write_bytes(content)
        machine.package_digest.cache_clear()
        digests.append(machine.package_digest("compiled_method.fast"))
    assert digests[0] != digests[1]


def test_what_is_suggested_to_force_are_the_attacks_of_all_replicates_and_nothing_below_them(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY.replace("data:", "replicates: 12\ndata:", 1))
    plan = compile_study(tmp_path / "study.yaml")
    attacks = {task.address for task in plan.tasks.values() if task.address.startswith("coreset") and "/" not in task.address}
    assert len(attacks) == 2 * 12
    patterns = shlex.split(options_to_force(sorted(attacks)).replace("--force", ""))
    assert {task.address for pattern in patterns for task in find_tasks(plan, pattern)} == attacks


def test_the_examples_are_checked_without_torch_or_numpy(examples: str) -> None:
    script = (
        "import sys; from runtime.cli.main import main\n"
        f"code = main(['check', {str(EXAMPLES / 'own.yaml')!r}])\n"
        "sys.exit(f'loaded {heavy}' if (heavy := {'torch', 'numpy', 'ray'} & set(sys.modules)) else code)"
    )
    environment = os.environ | {"PYTHONPATH": examples}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_image_of_the_example_is_the_mean_of_enough_private_ones(examples: str) -> None:
    from synthc_examples.microaggregation import groups

    points = torch.randn(53, 4, generator=torch.Generator().manual_seed(0))
    found = list(groups(points, 5))
    assert sorted(torch.cat(found).tolist()) == list(range(53))  # a partition
    assert min(map(len, found)) >= 5
    assert list(groups(points[:4], 5)) == []


def test_the_examples_attack_is_the_papers_formula(examples: str) -> None:
    from synthc_examples.modified_entropy import modified_entropy

    logits, label = np.array([0.3, -1.2, 2.0]), 2
    p = np.exp(logits) / np.exp(logits).sum()
    naive = -(1 - p[label]) * np.log(p[label]) - sum(p[i] * np.log(1 - p[i]) for i in (0, 1))
    assert modified_entropy(logits[None, None, None], np.array([label]))[0, 0, 0] == pytest.approx(naive)


# --- identity


def test_a_revision_changes_the_ids_of_what_rests_on_it_and_no_others(
    tmp_path: Path, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = package(METHOD.format(revision=1), methods={"m": "Mine"})
    text = with_arm("paradigm: own, method: 'mine:m'")
    before = compiled(tmp_path, text)
    monkeypatch.setattr(sys.modules[module].Mine, "revision", 2)
    changed = set(compiled(tmp_path, text).tasks) ^ set(before.tasks)
    assert {task.address.split("[")[0].split("/")[0] for id, task in before.tasks.items() if id in changed} == {"mine#0"}
    assert sum(task.kind == "synthesize" for id, task in before.tasks.items() if id in changed) == 8


def test_the_revision_of_an_attack_or_a_data_set_changes_ids(
    tmp_path: Path, examples: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthc_examples.words import ModifiedEntropy, Stripes

    before = compile_study(EXAMPLES / "own.yaml")
    monkeypatch.setattr(ModifiedEntropy, "revision", 2)
    attacked = compile_study(EXAMPLES / "own.yaml")
    assert {task.kind for id, task in before.tasks.items() if id not in attacked.tasks} == {"attack", "compare"}
    monkeypatch.setattr(Stripes, "revision", 2)
    assert not set(before.tasks) & set(compile_study(EXAMPLES / "own.yaml").tasks)


def test_words_of_ones_own_enter_ids_and_survive_being_written_down(examples: str, tmp_path: Path) -> None:
    text = with_attack("attack: 'synthc-examples:modified_entropy', temperature: 2.5")
    plan = compiled(tmp_path, text)
    answers = {plan.tasks[trial.answer].text for trial in plan.trials}
    assert all('"temperature":2.5' in text for text in answers)
    audit = plan.trials[0].trial.point.audit
    again = Audit.model_validate_json(audit.model_dump_json())
    assert again.attacks == audit.attacks
    assert "temperature" in type(again.attacks[-1]).model_fields


# --- complaints


def test_words_are_judged_as_if_they_were_ours_each_at_its_place(examples: str, tmp_path: Path) -> None:
    said = complaints(tmp_path, with_arm("paradigm: own, method: 'synthc-examples:microaggregation', group_sise: 3"))
    assert "study.yaml:21:69: no field is called 'group_sise'; did you mean 'group_size'?" in said
    assert "`group_size` is missing; fields here: group_size, method, paradigm, released" in said
    said = complaints(tmp_path, with_arm("paradigm: own, method: 'synthc-examples:microaggregation', group_size: {grid: [3, 1]}"))
    assert said == "study.yaml:21:92: `group_size` is 1; it should be greater than 1 [wrong-value]"
    said = complaints(tmp_path, with_attack("attack: 'synthc-examples:modified_entropy', temperature: hot"))
    assert said == 'study.yaml:14:65: `temperature` is "hot"; it should be a number [wrong-value]'
    said = complaints(tmp_path, TINY.replace("digits,", "'synthc-examples:stripes', angels: 4,"))
    assert "study.yaml:4:41: no field is called 'angels'; did you mean 'angles'?" in said


def test_the_paradigm_of_ones_own_needs_a_name_with_a_package(examples: str, tmp_path: Path) -> None:
    said = complaints(tmp_path, with_arm("paradigm: own, method: microaggregation"))
    assert said == 'study.yaml:21:33: the method of paradigm own is "microaggregation"; name it as package:name [own-method]'
    said = complaints(tmp_path, with_arm("paradigm: coreset, method: 'synthc-examples:microaggregation', group_size: 3"))
    assert said.startswith('study.yaml:21:20: `paradigm` is "coreset"')


def test_a_name_that_nobody_offers_is_met_with_those_that_are_offered(examples: str, tmp_path: Path) -> None:
    said = complaints(tmp_path, with_arm("paradigm: own, method: 'synthc-examples:microagregation'"))
    assert "no method is called 'synthc-examples:microagregation'; did you mean 'synthc-examples:microaggregation'?" in said
    said = complaints(tmp_path, TINY.replace("digits,", "'elsewhere:stripes',"))
    assert "no data set is called 'elsewhere:stripes'; did you mean 'synthc-examples:stripes'?" in said


def test_a_package_is_loaded_only_when_a_spec_names_it(tmp_path: Path, package: Any) -> None:
    package("raise RuntimeError('loaded')", methods={"m": "Mine"})
    compiled(tmp_path, TINY)
    said = complaints(tmp_path, with_arm("paradigm: own, method: 'mine:m'"))
    assert said == "study.yaml:21:33: 'mine:m' cannot be loaded: RuntimeError: loaded; mend the package [own-method]"


BARE_METHOD = "from compiler.language.plugins import PluginMethod\nclass Mine(PluginMethod): pass"
NEEDS_GENERATOR = "    @property\n    def needs(self):\n        return 'proxy', 'generator'"
BAD_WORDS = {
    "Mine = 3": "'mine:m' is 3; the entry point should name a subclass of compiler.language.plugins.PluginMethod",
    BARE_METHOD: "'mine:m' does not say where it is computed",
    METHOD.format(revision=1).replace("int = 3", "list[int] = [1]"): "'mine:m' has words that no id can rest on: unhashable",
    METHOD.format(revision=1) + NEEDS_GENERATOR: "'mine:m' needs generator; a method of your own can have: proxy",
}


@pytest.mark.parametrize("words", BAD_WORDS)
def test_words_that_break_the_contract_are_refused_when_a_spec_is_checked(tmp_path: Path, package: Any, words: str) -> None:
    package(words, methods={"m": "Mine"})
    assert BAD_WORDS[words] in complaints(tmp_path, with_arm("paradigm: own, method: 'mine:m'"))


@pytest.mark.parametrize("reads", ["()", "('final',)", "'final_model'", "('final_model', ['teacher'])", "None"])
def test_an_attack_that_reads_no_release_level_is_refused(tmp_path: Path, package: Any, reads: str) -> None:
    words = "from compiler.language.plugins import PluginAttack\nclass Mine(PluginAttack):\n    compute: ClassVar = 'nowhere'\n"
    package(f"{words}    reads: ClassVar = {reads}\n", attacks={"a": "Mine"})
    said = complaints(tmp_path, with_attack("attack: 'mine:a'"))
    assert "study.yaml:14:16: 'mine:a' reads " in said
    assert "a tuple of at least one of final_model, labels_only, synthetic_set" in said


def test_words_that_import_torch_are_refused(tmp_path: Path, package: Any) -> None:
    (tmp_path / "torch.py").write_text("")  # stands for the real one, which takes seconds
    package("import torch\n" + METHOD.format(revision=1), methods={"m": "Mine"})
    (tmp_path / "study.yaml").write_text(with_arm("paradigm: own, method: 'mine:m', size: {grid: [1, 2]}"))
    command = [sys.executable, "-m", "runtime.cli", "check", str(tmp_path / "study.yaml")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT, tmp_path / "mine")))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("'mine:m' imports torch when a spec is checked; its words should need pydantic") == 1  # of two trials
    assert "Traceback" not in done.stderr


def test_a_card_that_cannot_be_one_is_refused_at_its_place(tmp_path: Path, package: Any) -> None:
    words = (
        "from compiler.language.plugins import PluginData\nfrom compiler.language.datasets import Card\nclass Mine(PluginData):\n"
        "    compute: ClassVar[str] = 'nowhere'\n    n: int = 0\n    @property\n    def card(self):\n"
        "        wrong = {'classes': 1}, {'classes': '10'}, {'mean': 0.5}, {'std': 0.5}, {'mean': ('0.5',)}, {'std': (0.5, 0.5)}\n"
        "        return replace(Card('x', 100 // self.n, 0, 10, (1, 8, 8), (0.5,), (0.5,), '', ''), **wrong[self.n - 1])\n"
    )
    package("from dataclasses import replace\n" + words, datasets={"d": "Mine"})
    text = TINY.replace("digits,", "'mine:d', n: 1,")
    for n in range(1, 7):
        assert "study.yaml:4:14: mine:d: its card is Card(" in complaints(tmp_path, text.replace("n: 1", f"n: {n}"))
    said = complaints(tmp_path, text.replace("n: 1", "n: 0"))
    assert "study.yaml:4:14: mine:d: its card cannot be made: ZeroDivisionError" in said


def test_a_preset_stands_for_fields_that_fit_a_data_set_of_ones_own(tmp_path: Path, package: Any) -> None:
    words = (
        "from compiler.language.plugins import PluginData\nfrom compiler.language.datasets import Card\nclass Mine(PluginData):\n"
        "    compute: ClassVar[str] = 'nowhere'\n    @property\n    def card(self):\n"
        "        return Card('x', 4000, 0, 10, (3, 32, 32), (0.5,) * 3, (0.5,) * 3, '', '', flips=True)\n"
    )
    package(words, datasets={"d": "Mine"})
    recipe = next(line for line in TINY.splitlines() if line.startswith("classifier:"))
    plan = compiled(tmp_path, TINY.replace("digits,", "'mine:d',").replace(recipe, "classifier: {preset: memorising}"))
    classifier = plan.trials[0].trial.point.classifier
    assert (classifier.net, classifier.epochs, classifier.augment.flip) == ("wrn", 200, True)


# --- what the user's code gives


def test_a_headline_and_a_claim_can_rest_on_an_attack_of_ones_own(examples: str, tmp_path: Path) -> None:
    text = with_attack("attack: 'synthc-examples:modified_entropy'")
    text = text.replace("headline: {attack: lira", "headline: {attack: 'synthc-examples:modified_entropy'")
    text += "claims:\n  c: {text: t, test: difference, left: {arm: undefended}, right: {method: random}}\n"
    plan = compiled(tmp_path, text)
    assert plan.tasks[plan.claims[0].task].work.left.variant == "temperature=1.0/1q"  # type: ignore[union-attr]
    twice = text.replace("  fpr:", "    - {attack: 'synthc-examples:modified_entropy', temperature: 2.0}\n  fpr:")
    assert "2 attacks are what the headline declares" in complaints(tmp_path, twice)


def release(**changed: Any) -> Any:
    from runtime.synthesize.release import Release

    whole = {"images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8), "labels": torch.tensor([0, 1, 2, 3])}
    return Release(**(whole | changed))


WRONG_RELEASES = {
    "a Tensor; it should be a runtime.synthesize.release.Release": lambda: torch.zeros(3),
    "images have the shape (4, 8, 8); it should be n × 1 × 8 × 8": lambda: release(images=torch.zeros(4, 8, 8)),
    "images are torch.float64; they should be uint8, or float32": lambda: release(images=torch.zeros(4, 1, 8, 8).double()),
    "images hold a grey level that is 255.0": lambda: release(images=torch.full((4, 1, 8, 8), 255.0)),
    "not a number, or infinite": lambda: release(images=torch.full((4, 1, 8, 8), torch.nan)),
    "labels[3] is 10; from 0 to 9 is wanted": lambda: release(labels=torch.tensor([0, 1, 2, 10])),
    "they should be 4 int64": lambda: release(labels=torch.tensor([0, 1, 2])),
    "labels[0] are no probabilities": lambda: release(labels=torch.ones(4, 10)),
    "`from_private_images` is False, and the release has origins": lambda: release(origins=torch.tensor([0, 1, 2, 3])),
    "`gives_student` is False, and the release has a student": lambda: release(student={}),
}


@pytest.mark.parametrize("complaint", WRONG_RELEASES)
def test_a_release_that_is_none_is_an_error_that_names_the_package(monkeypatch: pytest.MonkeyPatch, complaint: str) -> None:
    module = SimpleNamespace(synthesize=lambda how, private, needs, setting: WRONG_RELEASES[complaint]())
    monkeypatch.setitem(sys.modules, "nowhere", module)
    with pytest.raises(ValueError, match=r"^mine:m: ") as caught:
        synthesize(HOW, PRIVATE, {}, SimpleNamespace(card=CARDS["digits"]))  # type: ignore[arg-type]
    assert complaint in str(caught.value)


class Mine(PluginMethod):
    compute: ClassVar[str] = "nowhere"


HOW = Mine(paradigm="own", method="mine:m")
PRIVATE = LabeledImages(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6))


def test_a_method_gets_a_copy_that_it_may_spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(how: Any, private: LabeledImages, needs: Any, setting: Any) -> Any:
        private.images.fill_(255)
        private.labels.zero_()
        return release()

    monkeypatch.setitem(sys.modules, "nowhere", SimpleNamespace(synthesize=spoil))
    synthesize(HOW, PRIVATE, {}, SimpleNamespace(card=CARDS["digits"]))  # type: ignore[arg-type]
    assert PRIVATE.images.max() == 0
    assert PRIVATE.labels.max() == 5


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        (np.zeros((3, 2)), "scores have the shape (3, 2); it should be canary × shadow, (2, 3)"),
        (np.array([[0.0, np.inf, 0.0], [0.0, 0.0, 0.0]]), "a score is infinite"),
    ],
)
def test_scores_that_are_none_are_an_error_that_names_the_package(
    monkeypatch: pytest.MonkeyPatch, scores: np.ndarray, complaint: str
) -> None:
    module = SimpleNamespace(scorer=lambda how, said, paired: lambda member: scores)
    monkeypatch.setitem(sys.modules, "nowhere", module)
    how: Any = SimpleNamespace(attack="mine:a", compute="nowhere", reads=("final_model",))
    score = scorer_of(how, SimpleNamespace(release="final_model"), True)  # type: ignore[arg-type]
    assert score is not None
    with pytest.raises(ValueError, match=r"^mine:a: ") as caught:
        score(np.zeros((2, 3), dtype=bool))
    assert complaint in str(caught.value)


def test_images_that_are_not_what_their_card_says_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    how: Any = SimpleNamespace(name="mine:d", compute="nowhere", path=None)
    monkeypatch.setitem(sys.modules, "nowhere", SimpleNamespace(read=lambda how: (PRIVATE, None)))
    with pytest.raises(SynthcError, match="mine:d: its pool has 6 images, its card says 1797"):
        read(how, CARDS["digits"])
    with pytest.raises(SynthcError, match=r"its images have the digest [0-9a-f]{16}, its card says 0123456789abcdef"):
        read(how, replace(CARDS["digits"], samples=6, digest="0123456789abcdef"))
