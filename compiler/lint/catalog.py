"""The catalogue of lints: texts (`catalog.json`), and the functions that find them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compiler.lint import attacks, baselines, canaries, results, wording
from compiler.lint.study import Study, Weakness

BEFORE: dict[str, Callable[[Study], Iterator[Weakness]]] = {
    "L01": baselines.no_dp_sgd,
    "L03": canaries.average_case_only,
    "L04": canaries.unfitted_canaries,
    "L05": attacks.unresolvable,
    "L06": attacks.average_figures,
    "L07": attacks.generic_attacks_only,
    "L09": baselines.no_random_control,
    "L10": baselines.no_undefended,
    "L12": canaries.public_images_that_are_canaries,
    "L14": attacks.reads_the_count,
    "L15": attacks.unstable_spread,
    "L16": attacks.open_headline,
    "L17": attacks.few_redraws,
    "L18": baselines.guarantee_of_another_procedure,
    "L19": attacks.distance_alone,
    "L22": attacks.released_and_not_attacked,
    "L23": wording.untested_comparison,
    "L24": wording.guarantees,
    "L25": attacks.idle_attack,
    "L26": wording.undecidable_claim,
    "L29": attacks.few_models,
}
"""Lint → function that finds it in the spec."""
AFTER: dict[str, Callable[[results.RunResults], Iterator[tuple[str, str]]]] = {
    "L01": results.unmatched,
    "L02": results.straw_man,
    "L16": results.other_headline,
    "L23": results.no_interval,
    "L27": results.changed_after_looking,
    "L28": results.learned_nothing,
}
"""Lint → function that finds it in results, as pairs of message and hint."""


@dataclass(frozen=True)
class Lint:
    """One lint. Without a function, the language makes the weakness impossible."""

    code: str
    severity: Literal["error", "warning"]
    title: str
    """What is wrong with a study in which it fires."""
    because: str
    source: str
    """After whom. For L01 to L08: an audit of published defences."""
    built_in: str = ""
    """What of it cannot happen, and why."""

    @property
    def before(self) -> Callable[[Study], Iterator[Weakness]] | None:
        """The function that finds it in the spec; None without one."""
        return BEFORE.get(self.code)

    @property
    def after(self) -> Callable[[results.RunResults], Iterator[tuple[str, str]]] | None:
        """The function that finds it in results; None without one."""
        return AFTER.get(self.code)


LINTS = {
    code: Lint(code, **words) for code, words in json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")).items()
}


def explain(code: str) -> list[str]:
    """Lines on a lint: title, reason, source, severity, where it looks, what cannot happen (if anything) and, if it looks anywhere,
    how to silence it. KeyError for an unknown code."""
    lint = LINTS[code]
    refused = "error: the study is refused unless it silences the lint"
    lines = [f"{code}: {lint.title}", ""]
    lines.append(f"why       {lint.because}")
    lines.append(f"source    {lint.source}")
    lines.append(f"severity  {refused if lint.severity == 'error' else 'warning: printed, and kept beside the results'}")
    looks = (("in the spec, before anything runs", lint.before), ("in the results, when a run ends", lint.after))
    where = [when for when, function in looks if function]
    lines.append(f"looked at {'; '.join(where) if where else 'nowhere: it cannot happen'}")
    if lint.built_in:
        lines.append(f"built in  {lint.built_in}")
    if where:
        lines.append(f'silence   allow: {{{code}: "why it does not matter here"}}; the reason is kept beside the results')
    return lines
