"""`allow:` which lints a study silences, and why. The lints themselves are in `compiler.lint`."""

from typing import Annotated, Literal

from pydantic import AfterValidator

LintCode = Literal[
    "L01",
    "L02",
    "L03",
    "L04",
    "L05",
    "L06",
    "L07",
    "L08",
    "L09",
    "L10",
    "L11",
    "L12",
    "L13",
    "L14",
    "L15",
    "L16",
    "L17",
    "L18",
    "L19",
    "L20",
    "L21",
    "L22",
    "L23",
    "L24",
    "L25",
    "L26",
    "L27",
    "L28",
    "L29",
]


def _in_words(reason: str) -> str:
    """The reason unchanged; ValueError for fewer than two words."""
    if len(reason.split()) < 2:
        raise ValueError("a silenced lint needs a reason in words: readers find it beside the results")
    return reason


Reason = Annotated[str, AfterValidator(_in_words)]
"""Why a lint does not matter to this study."""
