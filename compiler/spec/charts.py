"""`charts:` what a run draws when it ends: files for a paper, made from the rows that the study has by then."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from compiler.spec.base import Frozen

ChartName = Literal["tradeoff", "roc", "vulnerability", "ablation", "cost", "epsilon", "claims", "gallery"]
Theme = Literal["paper", "screen"]
Format = Literal["svg", "pdf", "png", "html", "json"]


class Chart(Frozen):
    """One chart; `roc` alone stands for `{chart: roc}`."""

    chart: ChartName
    """Which one: `synthc chart --help` says what each shows. `gallery` writes sheets of images (PNG), none of them private."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of its files, without their ending; null: the chart's own."""
    where: str = ""
    """SQL that keeps only these rows of the study, such as `arm IN ('undefended', 'dp_sgd')`; empty: all."""
    theme: Theme = "paper"
    """`paper`: the width of a column; `screen`: larger."""
    format: tuple[Format, ...] = ("svg",)
    """Which files to write."""

    @model_validator(mode="before")
    @classmethod
    def _named_alone(cls, said: Any) -> Any:
        if isinstance(said, str):
            return {"chart": said}
        # What passes through here is Python and no longer JSON, where strict mode takes a list for a tuple.
        if isinstance(said, dict) and isinstance(said.get("format"), list):
            return said | {"format": tuple(said["format"])}
        return said

    @model_validator(mode="after")
    def _is_drawn(self) -> Self:
        if not self.format:
            raise ValueError("`format` is empty: name at least one of svg, pdf, png, html, json")
        return self

    @property
    def stem(self) -> str:
        """Name of its files, without their ending."""
        return self.name or self.chart
