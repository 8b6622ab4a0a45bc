"""Models of Stable Diffusion's shape with random weights: taken in, tuned, drawn from, attacked; and what keeps a folder out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from compiler.compile import compile_study
from compiler.errors import SpecError, SynthcError
from runtime.database.read import query
from runtime.operations import OPERATIONS
from tests.artifacts import artifact
from tests.conftest import HANG_SECONDS, TINY, wait_until

HERE = torch.device("cpu")
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


def write_folder(folder: Path) -> Path:
    """A checkpoint with an autoencoder, a conditional U-Net, a tokenizer and a text encoder, all tiny and random."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    halves = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(3, 3, block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, **halves)
    crossed = {"down_block_types": ("CrossAttnDownBlock2D",) * 2, "up_block_types": ("CrossAttnUpBlock2D",) * 2}
    unet = UNet2DConditionModel(
        8, 4, 4, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, attention_head_dim=4, norm_num_groups=4,
        **crossed,
    )  # fmt: skip
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    text = folder / "words"
    text.mkdir(parents=True)
    (text / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (text / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(text / "vocab.json"), str(text / "merges.txt"), model_max_length=24)
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=24, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
        )
    )  # fmt: skip
    StableDiffusionPipeline(
        vae, encoder, tokenizer, unet, DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1), None, None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "model")  # fmt: skip
    return folder / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("sd"))


NAMES = "[zero, one, two, three, four, five, six, seven, eight, nine]"


def spec(at: Path, arms: str, public: str = "") -> Path:
    text = TINY.partition("arms:")[0].replace("attacks:", "attacks:\n    - {attack: denoising, signal: {grid: [loss, pia]}}")
    text = text.replace("allow: {", "allow: {L04: a test of the road, L10: a test of the road, ")
    (at / "study.yaml").write_text(f"{text}{public}\narms:\n{arms}\n")
    return at / "study.yaml"


def drawn(method: str, base: str, finetune: str = "full", more: str = "") -> str:
    denoiser = f"{{net: latent, width: 8, blocks: 1, base: {base}, finetune: {finetune}, rank: 2, epochs: 0.5, batch_size: 16}}"
    return f"{{paradigm: diffusion, method: {method}, steps: 2, multiple: 0.02, denoiser: {denoiser}{more}}}"


def computed(path: Path, tmp_path: Path) -> dict[str, Any]:
    """All tasks of shadow 0 but the classifiers, by the end of their addresses."""
    import importlib

    done, found = {}, {}
    for id, task in compile_study(path).tasks.items():
        if "#0/shadow 0/" not in task.address or task.address.endswith(("/model", "/query", "/query set")):
            continue
        module = importlib.import_module(OPERATIONS[type(task.work).__name__])
        product = module.perform(task.work, {role: done[need] for role, need in task.needs}, HERE)
        (at := tmp_path / id).mkdir()
        done[id] = artifact(at, **{stem: dict(tensors) for stem, tensors in product.files.items()})
        outcome = json.loads((at / "outcome.json").read_text()) | {"notes": dict(product.notes)}
        (at / "outcome.json").write_text(json.dumps(outcome))
        found[task.address.replace("#0/shadow 0", "")] = product
    return found


def test_a_folder_is_tuned_fully_and_by_lora_drawn_from_by_both_pipelines_and_attacked(folder: Path, tmp_path: Path) -> None:
    base = f"{{path: {folder}, resolution: 16, classes: {NAMES}}}"
    full, twins = drawn("conditional", base, more=", guidance: 2.0"), drawn("sdedit", base, "lora", ", strength: 0.5")
    arms = f"  full: {full}\n  twins: {twins}"
    found = computed(spec(tmp_path, arms), tmp_path)
    assert found["full/base"].notes["configs"]["texts"] is True
    told = found["full/base"].files["base"]["classes.weight"]
    assert len(told.unique(dim=0)) == 11  # ten prompts, and the empty one
    assert not [name for name in found["full/generator"].files["generator"] if name.startswith(("vae", "classes"))]
    assert all("lora" in name for name in found["twins/generator"].files["generator"])
    for arm in ("full", "twins"):
        images = found[f"{arm}/synthesize"].files["set"]["images"]
        assert images.shape[1:] == (1, 8, 8)
        assert images.float().std() > 0
        answers = found[f"{arm}/query generator"].files["answers"]
        assert set(answers) == {"loss", "pia"}
        assert all(values.isfinite().all() for values in answers.values())


def test_nothing_is_said_to_be_known_of_what_a_folder_was_trained_on(folder: Path, tmp_path: Path) -> None:
    base = f"{{path: {folder}, resolution: 16, classes: {NAMES}}}"
    path = spec(tmp_path, f"  drawn: {drawn('conditional', base)}", "public: {name: shapes}")
    path.write_text(path.read_text().replace("  z_pool:", "    ood: {kind: ood, count: 16}\n  z_pool:"))
    (said,) = [finding.message for finding in compile_study(path).lints if finding.code == "L12"]
    assert said == "drawn tunes a base from a folder, and whether it was trained on the ood canaries is not known"


def test_a_latent_model_is_pretrained_on_the_public_set_tuned_and_drawn_from(tmp_path: Path) -> None:
    base = "{pretrain: public, epochs: 1, autoencoder_epochs: 4, batch_size: 16}"
    path = spec(tmp_path, f"  tuned: {drawn('conditional', base)}", "public: {name: shapes, subset: 60}")
    found = computed(path, tmp_path)
    (loss,) = [metric for metric in found["tuned/base"].metrics if metric.name == "autoencoder_loss"]
    assert (loss.value or 0.0) < 1.0
    assert loss.note == "squared error of pixels in -1..1, plus 1e-06 times the KL divergence of the latents, of the last batch"
    assert "classes.weight" in found["tuned/generator"].files["generator"]
    assert found["tuned/synthesize"].files["set"]["images"].shape[1:] == (1, 8, 8)


@pytest.mark.long
def test_what_ray_resumes_after_a_kill_is_what_another_process_draws(folder: Path, tmp_path: Path) -> None:
    base = f"{{path: {folder}, resolution: 16, classes: {NAMES}}}"
    arms = f"  full: {drawn('conditional', base)}\n  twins: {drawn('sdedit', base, 'lora', ', strength: 0.5')}"
    words = [sys.executable, "-m", "runtime.cli", "run", str(spec(tmp_path, arms)), "--db"]
    by_ray, inline = tmp_path / "ray", tmp_path / "inline"
    by_ray.mkdir()
    inline.mkdir()
    killed = subprocess.Popen([*words, str(by_ray / "results.duckdb"), "--workers", "2"])
    wait_until(lambda: len(list(by_ray.glob(".synthc/*/*/outcome.json"))) >= 6, killed)
    killed.kill()
    killed.wait()
    subprocess.run([*words, str(by_ray / "results.duckdb"), "--workers", "2"], check=True, timeout=HANG_SECONDS)
    subprocess.run([*words, str(inline / "results.duckdb"), "--engine", "inline"], check=True, timeout=HANG_SECONDS)
    kept = {
        file.relative_to(inline): file
        for what in ("base", "generator", "set", "model", "answers", "scores")
        for file in inline.glob(f".synthc/*/*/{what}.safetensors")
    }
    assert len(kept) > 80
    for name, file in kept.items():
        one, other = load_file(file), load_file(by_ray / name)
        assert one.keys() == other.keys()
        for key, values in one.items():
            torch.testing.assert_close(values, other[key], rtol=1e-5, atol=1e-5)
    figures = "SELECT trial, metric, value FROM result WHERE metric NOT LIKE '%second%' AND metric NOT LIKE '%memory%' ORDER BY ALL"
    first, second = (query(at / "results.duckdb", figures)[1] for at in (by_ray, inline))
    assert [row[:2] for row in first] == [row[:2] for row in second]
    assert [row[2] for row in first] == pytest.approx([row[2] for row in second], abs=1e-5)


def _cut(folder: Path) -> None:
    file = next((folder / "unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-8])


def _pickle(folder: Path) -> None:
    next((folder / "vae").glob("*.safetensors")).rename(folder / "vae" / "weights.bin")


def _bring_code(folder: Path) -> None:
    (folder / "unet" / "my_unet.py").write_text("print('run')")


def _predict_v(folder: Path) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "v_prediction"}))


def _lay(folder: Path, widths: object) -> None:
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"block_out_channels": widths}))


def _lose_text(folder: Path) -> None:
    (folder / "text_encoder").rename(folder / "other")


def _miscount(folder: Path) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, "four"]}}).encode()
    (folder / "vae" / "more.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "model_index.json").unlink(), "has no model_index.json"),
    (_cut, r"unet/.* is cut off or damaged"),
    (_pickle, "its vae has pickled weights only, weights.bin"),
    (_bring_code, "unet/my_unet.py is code that the folder brings along"),
    (_predict_v, "it predicts v_prediction, not the noise"),
    (lambda folder: _lay(folder, 64), "its unet has 64 as `block_out_channels`; it should be a list of whole numbers"),
    (lambda folder: _lay(folder, ["8", None]), r'its unet has \["8", null\] as'),
    (lambda folder: _lay(folder, []), r"its unet has \[\] as"),
    (lambda folder: _lay(folder, [8, 1]), "matrices of rank 2 beside its layers of 1 units; a rank of 1 at most"),
    (_lose_text, "its part text_encoder is missing"),
    (_miscount, "vae/more.safetensors is cut off or damaged"),
    (lambda folder: (folder / "unet" / "lost.safetensors").symlink_to("nowhere"), "unet/lost.safetensors cannot be read: No such"),
    (lambda folder: (folder / "vae" / "held.safetensors").mkdir(), "vae/held.safetensors cannot be read: Is a directory"),
]


@pytest.mark.parametrize(("damage", "complaint"), FAULTS)
def test_what_keeps_a_folder_out_is_said_at_its_place(
    damage: Callable[[Path], object], complaint: str, folder: Path, tmp_path: Path
) -> None:
    import shutil

    damage(shutil.copytree(folder, tmp_path / "model") and tmp_path / "model")
    base = f"{{path: model, resolution: 16, classes: {NAMES}}}"
    path = spec(tmp_path, f"  tuned: {drawn('conditional', base, 'lora')}")
    with pytest.raises(SpecError, match=complaint) as raised:
        compile_study(path)
    assert [problem.location.file for problem in raised.value.diagnostics] == [str(path)]


def test_a_part_that_cannot_be_listed_and_a_link_that_leads_nowhere_cost_a_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    model = Path(shutil.copytree(folder, tmp_path / "model"))
    path = spec(tmp_path, f"  full: {drawn('conditional', f'{{path: model, resolution: 16, classes: {NAMES}}}')}")
    (model / "notes.txt").symlink_to("nowhere")
    with pytest.raises(SynthcError, match=r"model/notes.txt: cannot be read: No such file"):
        compile_study(path)
    _pickle(model)

    def refused(part: Path) -> None:
        raise PermissionError(13, "Permission denied", str(part))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(SpecError, match=r"model/vae cannot be read: Permission denied") as raised:
        compile_study(path)
    assert [problem.location.file for problem in raised.value.diagnostics] == [str(path)]


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("{path: %s, resolution: 12, classes: " + NAMES + "}", "sides of 12, which the autoencoder and its pipeline cannot halve"),
        ("{path: %s, resolution: 16, classes: [zero, one]}", "2 names for the 10 classes of digits"),
        ("{path: nowhere, resolution: 16, classes: " + NAMES + "}", "there is no folder"),
    ],
)
def test_words_that_do_not_fit_a_folder_are_refused(base: str, complaint: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=complaint):
        compile_study(spec(tmp_path, f"  full: {drawn('conditional', base.replace('%s', str(folder)))}"))


def test_where_a_folder_lies_is_no_part_of_an_id_and_its_content_is(folder: Path, tmp_path: Path) -> None:
    import shutil

    ids = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copytree(folder, tmp_path / name / "model")
        arm = drawn("conditional", f"{{path: model, resolution: 16, classes: {NAMES}}}")
        ids.append(set(compile_study(spec(tmp_path / name, f"  full: {arm}")).tasks))
    file = tmp_path / "two" / "model" / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text() + " ")
    assert ids[0] == ids[1] != set(compile_study(tmp_path / "two" / "study.yaml").tasks)
