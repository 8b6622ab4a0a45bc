"""Every lint: what it is about, why, after whom, and where it is looked for.

After audits of published defences: Aerni, Zhang and Tramèr 2024, "Evaluations of Machine Learning Privacy Defenses are
Misleading" (CCS), for L01 to L08; for the rest the source stands beside it. What the language makes impossible by its
construction is listed here and looked for nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from compiler.lint import attacks, baselines, canaries, results, wording
from compiler.lint.study import Study, Weakness

MISLEADING = "Aerni, Zhang and Tramèr 2024 (CCS, arXiv 2404.17399)"


@dataclass(frozen=True)
class Lint:
    """One rule of rigour."""

    code: str
    severity: Literal["error", "warning"]
    title: str
    """What is wrong with a study in which it fires."""
    because: str
    source: str
    before: Callable[[Study], Iterator[Weakness]] | None = None
    """Looks at the spec."""
    after: Callable[[results.RunResults], Iterator[tuple[str, str]]] | None = None
    """Looks at the results: messages and hints."""
    built_in: str = ""
    """What of it cannot happen, and why."""


LINTS: dict[str, Lint] = {
    lint.code: lint
    for lint in (
        Lint(
            "L01",
            "error",
            "no DP-SGD baseline of matched accuracy",
            "a defence that loses to heuristic DP-SGD at equal accuracy has no case",
            MISLEADING,
            baselines.no_dp_sgd,
            results.unmatched,
        ),
        Lint(
            "L02",
            "warning",
            "the only DP-SGD baselines have a small epsilon and much lower accuracy",
            "a straw man: DP-SGD with a large epsilon is the strong empirical baseline",
            MISLEADING,
            after=results.straw_man,
        ),
        Lint(
            "L03",
            "error",
            "average-case canaries only, or a headline about them",
            "averages hide the vulnerable records: 1.3 % of clean canaries against 72.2 % of mislabeled ones for data-free "
            "distillation",
            MISLEADING,
            canaries.average_case_only,
        ),
        Lint(
            "L04",
            "error",
            "no worst-case canaries that fit the method, or one type of them for all methods",
            "which type is strongest differs by defence: mislabeled, out-of-distribution or duplicated; what only synthetic data "
            "reveals takes others than what a model reveals",
            f"{MISLEADING}; The Canary's Echo (arXiv 2502.14921)",
            canaries.unfitted_canaries,
        ),
        Lint(
            "L05",
            "error",
            "a false-positive rate below the resolution",
            "the rate allows fewer than one false positive (error), or fewer than ten for the headline (warning), so that its TPR "
            "is read at another rate",
            "Carlini et al. 2022 (arXiv 2112.03570); counts in `synthc plan`",
            attacks.unresolvable,
        ),
        Lint(
            "L06",
            "error",
            "a headline that is an average over false-positive rates",
            "the area under the curve and the accuracy of an attack say nothing about low false-positive rates, where a threat is",
            "Carlini et al. 2022 (arXiv 2112.03570)",
            attacks.average_figures,
            built_in="A headline is a TPR at a declared FPR; there is no word for another. Looked for: rates above 0.1, and claims "
            "about `auc` (warning).",
        ),
        Lint(
            "L07",
            "error",
            "generic attacks only",
            "a defence that only hides what generic scores read looks private: an attack has to fit what the paradigm releases or "
            "changes",
            MISLEADING,
            attacks.generic_attacks_only,
            built_in="The teacher of data-free distillation is always asked too.",
        ),
        Lint(
            "L08",
            "warning",
            "accuracy measured on other models than the audited ones",
            "the cost of the audited setting would be hidden",
            MISLEADING,
            built_in="Accuracy is the mean over the audited shadows themselves, which hold their canaries; a model is the last "
            "weights of its training (or their average), so nothing is chosen by test accuracy.",
        ),
        Lint(
            "L09",
            "error",
            "a coreset or distilled set without as many random private images beside it",
            "leakage and accuracy of less data must be told apart from those of the method",
            "Carlini, Feldman and Nasr 2022 (arXiv 2209.14987)",
            baselines.no_random_control,
        ),
        Lint(
            "L10",
            "error",
            "no undefended arm",
            "there is no scale for accuracy and leakage",
            "reviews of Zhao and Zhang 2025 (arXiv 2502.12976)",
            baselines.no_undefended,
        ),
        Lint(
            "L11",
            "error",
            "a synthesizer, teacher, proxy or selection that shadows share",
            "membership would not flow through the pipeline, and the audit would measure nothing",
            "Zhao and Zhang 2025 (arXiv 2502.12976)",
            built_in="The compiler makes every shadow its own proxy, teacher, generator, set and classifier; what shadows share is "
            "public: a diffusion model's `base` is trained on the public set, or was made elsewhere, and is tuned for each shadow. "
            "There is no word for sharing. What was made elsewhere and is imported is taken at its word.",
        ),
        Lint(
            "L12",
            "error",
            "members and non-members from different pools, or a z pool that overlaps",
            "a shift between distributions looks like leakage",
            "CopyMark (arXiv 2410.03640); jinhaoduan/SecMI#9",
            canaries.public_images_that_are_canaries,
            built_in="Each canary is a member of some shadows and not of others, and the z pool is dealt from the same permutation "
            "apart from canaries, test and fixed part. Looked for: images of the public set that are canaries and initialisation "
            "both (warning).",
        ),
        Lint(
            "L13",
            "error",
            "an epsilon from pooled models or determined memberships",
            "the theorems behind the bounds do not hold",
            "Steinke, Nasr and Jagielski 2023; Jälkö et al. 2026 (arXiv 2605.25819)",
            built_in="Bounds are computed on one shadow, declared in advance, with thresholds that are not chosen on the same "
            "scores, and not at all under balanced membership or for duplicated canaries.",
        ),
        Lint(
            "L14",
            "error",
            "a learned attack under balanced membership",
            "it reads from the other models how often a canary was a member, and with that whether it is one of the last",
            "derived: exactly half of the models hold each canary",
            attacks.reads_the_count,
        ),
        Lint(
            "L15",
            "warning",
            "a spread for each canary from few shadows, and no pooled one beside it",
            "such fits are unstable below about 64 models",
            "Carlini et al. 2022 (arXiv 2112.03570); privacytrustlab/ml_privacy_meter#121",
            attacks.unstable_spread,
        ),
        Lint(
            "L16",
            "error",
            "the best of several variants as the headline",
            "what is chosen after looking is biased upwards",
            MISLEADING,
            attacks.open_headline,
            results.other_headline,
            built_in="The headline is declared in the spec and read whatever the others show.",
        ),
        Lint(
            "L17",
            "error",
            "no null control",
            "there would be no evidence that the statistics are right",
            "google-deepmind/jax_privacy#270: a positive epsilon on null data",
            attacks.few_redraws,
            built_in="Every attack is also run on redrawn memberships, which no model knows. Looked for: fewer than 100 redraws.",
        ),
        Lint(
            "L18",
            "warning",
            "a guarantee that is not that of the procedure",
            "the printed epsilon is not what the whole procedure spends",
            "Papernot and Steinke 2022, on tuning (arXiv 2110.03620); aidotse/LeakPro#438",
            baselines.guarantee_of_another_procedure,
            built_in="Delta, add/remove neighbours and the accountant are part of every DP-SGD arm and stand beside its epsilon. "
            "Looked for: a delta above one in the private images, and several trainings under one guarantee.",
        ),
        Lint(
            "L19",
            "error",
            "distances to released images as the only attack",
            "the distance to the closest record does not detect leakage, and visual copies can leak little",
            "arXiv 2505.01524; Zhao and Zhang 2025 (arXiv 2502.12976)",
            attacks.distance_alone,
            built_in="`nearest` is calibrated on the shadows without the canary; a bare distance is no attack here.",
        ),
        Lint(
            "L20",
            "error",
            "shadows that are trained unlike the target",
            "the null distribution would be another one",
            "aidotse/LeakPro#269, #345, #438, #441",
            built_in="Every shadow of a trial is the target once: there is one recipe. What was made elsewhere and is imported is "
            "taken at its word.",
        ),
        Lint(
            "L21",
            "warning",
            "constants that are computed from the private set",
            "an undeclared leak, shared by all shadows",
            "derived",
            built_in="Normalisation takes fixed public constants (of images of your own: 0.5); whatever else is computed from "
            "images is computed by each shadow from its own.",
        ),
        Lint(
            "L22",
            "warning",
            "something is released, and only the final model attacked",
            "that release level is not audited",
            "The Canary's Echo (arXiv 2502.14921)",
            attacks.released_and_not_attacked,
        ),
        Lint(
            "L23",
            "warning",
            "a comparison without a paired interval",
            "the intervals of two rows do not say whether the rows differ",
            "Holm 1979",
            wording.untested_comparison,
            results.no_interval,
            built_in="Claims are tested in pairs, on the same canaries and shadows, adjusted for all pairs of a "
            "claim, and by Holm for all claims of a study; each shadow has seeds of its own, so no figure hangs on one seed.",
        ),
        Lint(
            "L24",
            "warning",
            "the wording of a guarantee for what was only measured",
            "an audit gives a lower bound on leakage, for the attacks that were tried",
            MISLEADING,
            wording.guarantees,
        ),
        Lint(
            "L25",
            "warning",
            "an attack that reads what no arm has",
            "it is never scored, and a reader may take it for passed",
            "derived",
            attacks.idle_attack,
        ),
        Lint(
            "L26",
            "error",
            "a claim that no data could decide",
            "its verdict is known before the run: undecided",
            "derived: a p-value of a bootstrap is at least 1 in as many as there are resamples",
            wording.undecidable_claim,
        ),
        Lint(
            "L27",
            "warning",
            "arms, settings or claims that changed after results were seen",
            "what is changed after looking may be changed because of what was seen: a verdict was turned round by an augmentation "
            "that one side was given",
            "this project: digits, 2026",
            after=results.changed_after_looking,
            built_in="Each claim keeps when its words were first declared, and every earlier verdict (view `claim`).",
        ),
        Lint(
            "L28",
            "warning",
            "an arm that learned next to nothing",
            "a model that knows nothing gives nothing away: accuracy at chance, or less than half as far above it as a random set "
            "of no more private images brings, makes any defence look private",
            "this project: six classes of drawn images, 2026",
            after=results.learned_nothing,
        ),
    )
}


def explain(code: str) -> list[str]:
    """Lines for people: all that is known of a lint."""
    lint = LINTS[code]
    refused = "error: the study is refused unless it silences the lint"
    lines = [f"{code}: {lint.title}", ""]
    lines.append(f"why       {lint.because}")
    lines.append(f"source    {lint.source}")
    lines.append(f"severity  {refused if lint.severity == 'error' else 'warning: told, and kept beside the results'}")
    looks = (("in the spec, before anything runs", lint.before), ("in the results, when a run ends", lint.after))
    where = [when for when, function in looks if function]
    lines.append(f"looked at {'; '.join(where) if where else 'nowhere: it cannot happen'}")
    if lint.built_in:
        lines.append(f"built in  {lint.built_in}")
    if where:
        lines.append(f'silence   allow: {{{code}: "why it does not matter here"}}; the reason is kept beside the results')
    return lines
