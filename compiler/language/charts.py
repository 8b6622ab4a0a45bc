"""`charts:` the charts that a run writes when it ends, as files, from the rows that the study has by then."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from compiler.language.base import Frozen
from compiler.language.claims import Selector

ChartName = Literal["tradeoff", "roc", "vulnerability", "ablation", "cost", "epsilon", "training", "claims", "gallery"]
Theme = Literal["paper", "screen"]
Format = Literal["svg", "pdf", "png", "html", "json"]


class Chart(Frozen):
    """One chart; `roc` alone stands for `{chart: roc}`."""

    chart: ChartName
    """Which one: `synthc chart --help` says what each shows. `gallery` writes sheets of images (PNG), none of them private."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    """Name of its files, without their ending; null: the chart's own."""
    of: Selector = Field(default_factory=dict)
    """Which trials it shows, by the words of claims: `{arm: [undefended, dp_sgd]}`; empty: all. Claims are always shown all."""
    theme: Theme = "paper"
    """`paper`: the width of a column; `screen`: larger."""
    format: tuple[Format, ...] = ("svg",)
    """Which files to write."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        """A chart's fields: `{chart: NAME}` for a name alone, a copy with lists as tuples of a mapping; any other value
        unchanged."""
        if isinstance(value, str):
            return {"chart": value}
        # After this validator pydantic validates Python objects, where strict mode refuses a list for a tuple; in JSON it does not.
        return _tuples(value) if isinstance(value, dict) else value

    def faults(self) -> Iterator[str]:
        if not self.format:
            yield "`format` is empty: name at least one of svg, pdf, png, html, json"
        if self.of and self.chart == "claims":
            yield "`of` chooses trials, and a claim is about several: leave it out"

    @property
    def stem(self) -> str:
        """Name of its files, without their ending."""
        return self.name or self.chart


def _tuples(value: dict[str, Any]) -> dict[str, Any]:
    """A copy of the mapping in which values that are lists are tuples, in nested mappings too; what a list holds stays as it is."""
    return {
        name: tuple(item) if isinstance(item, list) else _tuples(item) if isinstance(item, dict) else item
        for name, item in value.items()
    }
