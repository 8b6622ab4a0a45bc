"""A LiRA on how well a denoiser knows the noise on a canary (`query.generator`)."""

from __future__ import annotations

from compiler.language.attacks.denoising import Denoising
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.lira import Likelihood


def scorer(how: Denoising, answers: Answers, paired: bool) -> Score | None:
    """None where no denoiser was asked."""
    loss = answers.measure("denoising")
    return None if loss is None else Likelihood(loss, paired, how.variant)
