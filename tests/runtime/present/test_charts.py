"""Charts: one pinned spec of Vega-Lite for each (`charts/*.json`), and what they promise whatever the results."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import altair as alt
import pytest
import vl_convert

from compiler.errors import SynthcError
from runtime.present import charts
from runtime.present.charts import look, roc, scatter, vulnerability
from runtime.present.paradigms import PARADIGMS, PRINTED_NAMES

GOLDEN = Path(__file__).parent / "charts"
VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
OF_TRIALS = ("tradeoff", "roc", "vulnerability", "ablation", "cost", "epsilon", "training")
ODD = ['<script>alert("1")</script>', r"50%_of & all $x^2$ {\#} ~", "ü" * 90, "", "a\nb\tc"]


def trial(place: int = 0, **other: Any) -> dict[str, Any]:
    """A row of `comparison`, with figures that follow from `place`."""
    paradigm = PARADIGMS[place % 6]
    accuracy, leakage = 0.9 + 0.01 * (place % 7), min(1.0, 0.02 * (place + 1))
    row = {
        "study": "s",
        "profile": "",
        "arm": f"arm{place}",
        "paradigm": paradigm,
        "method": "m",
        "label": f"arm{place}",
        "trial": f"arm{place}#0",
        "axes": json.dumps({"fraction": 0.1 * (place + 1)}),
        "replicate": 0,
        "data": "digits",
        "test_accuracy": accuracy,
        "test_accuracy_low": accuracy - 0.01,
        "test_accuracy_high": accuracy + 0.01,
        "leakage": leakage,
        "leakage_low": leakage / 2,
        "leakage_high": min(1.0, leakage * 1.5),
        "leakage_n": 1024,
        "fpr": 0.01,
        "canaries": "mislabeled",
        "attack": "lira",
        "variant": "logit/pooled/1q",
        "release": "final_model",
        "leakage_note": "",
        "auc": 0.6,
        "auc_low": 0.5,
        "auc_high": 0.7,
        "epsilon": 8.0 if paradigm == "dp_sgd" else None,
        "seconds": 2.0 + place,
        "seconds_low": 1.5 + place,
        "seconds_high": 2.5 + place,
        "shadows": 16,
        "null_ok": True,
        "learned": True,
        "control": False,
        "flags": "",
    }
    return row | other


def rows_for(name: str, trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the chart's query would give for these rows of `comparison`."""
    match name:
        case "roc":
            curve = [(0.0, 0.0), (0.001, 0.1), (0.1, 0.5), (1.0, 1.0)]
            return [
                row
                | {"canaries": group, "fpr": fpr, "tpr": tpr, "low": tpr / 2, "high": tpr, "at": row["fpr"]}
                | {"headline_canaries": row["canaries"]}
                for row in trials
                for group in ("mislabeled", "clean")
                for fpr, tpr in curve
            ]
        case "vulnerability":
            return [row | {"canary": canary, "tpr": canary / 4, "low": 0.0, "high": 1.0} for row in trials for canary in range(5)]
        case "ablation":
            return [row | {"arm": "grid"} for row in trials]
        case "epsilon":
            return [
                row | {"bound": 0.5 * place, "bound_by": by, "bound_n": 128, "bound_note": "note"}
                for row in trials
                for place, by in enumerate(("epsilon_lower_steinke", "epsilon_lower_f_dp_if_gaussian"))
            ]
        case "training":
            shared = {"part": "classifier", "stage": "model"}
            return [row | shared | {"shadow": shadow, "losses": [2.3, 1.0 + shadow, 0.5]} for row in trials for shadow in (0, 1)]
        case "claims":
            return [claim(place, statement=row["label"]) for place, row in enumerate(trials)]
    return trials


def claim(place: int = 0, **other: Any) -> dict[str, Any]:
    """A row of the view `claim`."""
    return {
        "study": "s",
        "profile": "",
        "claim": f"c{place}",
        "statement": f"claim {place}",
        "test": "difference",
        "metric": "leakage",
        "effect": 0.2,
        "low": 0.1,
        "high": 0.3,
        "n": 1024,
        "margin": 0.05,
        "pairs": "all",
        "compared": 1,
        "verdict": "supported",
        "note": "",
    } | other


def drawn(name: str, rows: list[dict[str, Any]], layout: str = "column") -> dict[str, Any]:
    columns = list(rows[0]) if rows else []
    spec = charts.draw(name, columns, [list(row.values()) for row in rows], layout)
    json.dumps(spec, allow_nan=False)
    return spec


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a spec, data left out."""
    if isinstance(value, dict):
        yield value
        for key, item in value.items():
            if key not in ("values", "datasets"):
                yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def data_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found = [node["data"]["values"] for node in nodes(spec) if "values" in node.get("data", {})]
    return [row for rows in found for row in rows] + [row for rows in spec.get("datasets", {}).values() for row in rows]


def encodings(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    """Encodings of the layers with this mark."""
    return [node["encoding"] for node in nodes(spec) if "encoding" in node and node.get("mark", {}).get("type") == mark]


def subtitle(spec: dict[str, Any]) -> str:
    return " ".join(spec["title"]["subtitle"])


# One snapshot for each


@pytest.mark.parametrize("name", charts.CHARTS)
def test_the_spec_of_this_chart_is_pinned(name: str) -> None:
    # After a change that is meant: `python -m tests.runtime.present.test_charts` writes them anew; look at the diff.
    assert drawn(name, rows_for(name, [trial(place) for place in range(3)])) == json.loads((GOLDEN / f"{name}.json").read_text())


def test_every_chart_has_a_pinned_spec_and_no_spec_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*charts.CHARTS}


# What holds for all


@pytest.mark.parametrize("name", charts.CHARTS)
def test_vega_has_nothing_to_warn_of(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    # What it drops or overrides it says on the console alone: there a reader of the report would find it.
    nothing = {"leakage": None, "leakage_low": None, "leakage_high": None, "epsilon": None}
    many = [trial(place) for place in range(13)]
    for trials in ([], [trial()], [trial(0, **nothing)], many):
        vl_convert.vegalite_to_vega(drawn(name, rows_for(name, trials)), show_warnings=True, vl_version=VERSION)
    printed = capfd.readouterr()
    assert "WARN" not in printed.out + printed.err


@pytest.mark.parametrize("name", OF_TRIALS)
def test_a_paradigm_has_one_colour_and_the_legend_chooses_by_it(name: str) -> None:
    spec = drawn(name, rows_for(name, [trial(place) for place in range(6)]))
    wanted = {PRINTED_NAMES[paradigm]: color for paradigm, color in zip(PARADIGMS, look.COLORS, strict=True)}
    scales = [node["color"]["scale"] for node in nodes(spec) if isinstance(node.get("color"), dict) and "scale" in node["color"]]
    assert scales
    for scale in scales:
        assert dict(zip(scale["domain"], scale["range"], strict=True)).items() <= wanted.items()
    (param,) = [param for node in nodes(spec) for param in node.get("params", ())]
    assert (param["name"], param["bind"], param["select"]["fields"]) == ("chosen", "legend", ["Paradigm"])
    # The selection must live in a layer that has the legend, else a click finds nothing: Vega-Lite says no word about it.
    for view in param.get("views", ()):
        (layer,) = [node for node in nodes(spec) if node.get("name") == view]
        assert layer["encoding"]["color"]["field"] == "Paradigm"
    # Nor does it carry a selection through `concat` down to a layer.
    assert not any("concat" in node for node in nodes(spec))


def test_lines_of_one_panel_have_dashes_that_tell_them_apart_in_grey() -> None:
    (coloured, *_) = encodings(drawn("roc", rows_for("roc", [trial(place, paradigm="coreset") for place in range(4)])), "line")
    assert len({tuple(dash) for dash in coloured["strokeDash"]["scale"]["range"]}) == 4


@pytest.mark.parametrize("name", charts.CHARTS)
def test_a_chart_without_rows_says_so(name: str) -> None:
    spec = drawn(name, [])
    (shown,) = data_of(spec)
    assert " ".join(shown["message"].split()) == spec["description"]
    assert "nothing to draw" in spec["description"]


@pytest.mark.parametrize("name", charts.CHARTS)
def test_one_trial_or_a_hundred_with_odd_names_are_drawn(name: str) -> None:
    drawn(name, rows_for(name, [trial()]), "screen")
    drawn(name, rows_for(name, [trial(place, label=f"{ODD[place % len(ODD)]} {place}", trial=str(place)) for place in range(100)]))


@pytest.mark.parametrize("name", charts.CHARTS)
@pytest.mark.parametrize("nothing", [None, math.nan])
def test_figures_that_are_no_numbers_are_never_drawn_as_some(name: str, nothing: float | None) -> None:
    figures = "leakage leakage_low leakage_high auc epsilon seconds test_accuracy test_accuracy_low bound tpr effect".split()
    rows = [row | {key: nothing for key in figures if key in row} for row in rows_for(name, [trial(0), trial(1)])]
    if name == "roc":  # its points are counts over counts
        rows = [row | {"tpr": 0.5} for row in rows]
    drawn(name, rows)  # `allow_nan=False` inside


@pytest.mark.parametrize("name", ["tradeoff", "roc", "ablation", "cost", "claims"])
def test_figures_are_drawn_with_their_intervals(name: str) -> None:
    for count in (3, roc.MAX_BANDED_TRIALS + 1):
        spec = drawn(name, rows_for(name, [trial(place) for place in range(count)]))
        spans = encodings(spec, "rule") + encodings(spec, "area")
        ends = [(span[at]["field"], span[f"{at}2"]["field"]) for span in spans for at in "xy" if f"{at}2" in span]
        assert ends
        assert all(low.replace("low", "high") == high != low for low, high in ends)


@pytest.mark.parametrize("name", OF_TRIALS)
def test_titles_tell_the_conditions(name: str) -> None:
    text = subtitle(drawn(name, rows_for(name, [trial(0), trial(1)])))
    assert "digits, 16 shadows, mislabeled" in text
    if name != "training":  # which has no rate
        assert ("n = 128" if name == "epsilon" else "1,024 non-member scores") in text


@pytest.mark.parametrize("name", ["tradeoff", "cost", "roc"])
def test_every_point_has_a_number_that_the_key_names(name: str) -> None:
    data = data_of(drawn(name, rows_for(name, [trial(place, label=f"arm {ODD[0]} {place}") for place in (5, 1, 0)])))
    assert {row["number"] for row in data if "dx" in row} == {1, 2, 3}
    assert [row["text"] for row in data if "text" in row] == [
        f"{at + 1}\u2002arm {ODD[0]} {place}" for at, place in enumerate((0, 1, 5))
    ]
    numbered = {row["name"]: row["number"] for row in data if "dx" in row}
    assert numbered == {f"arm {ODD[0]} {place}": at + 1 for at, place in enumerate((0, 1, 5))}


@pytest.mark.parametrize("name", ["vulnerability", "epsilon"])
def test_every_row_stands_beside_its_name(name: str) -> None:
    spec = drawn(name, rows_for(name, [trial(place) for place in range(4)]))
    (names, *_) = [node["y"]["scale"]["domain"] for node in nodes(spec) if "scale" in node.get("y", {})]
    assert {f"arm{place}" for place in range(4)} <= set(names)


@pytest.mark.parametrize("name", charts.CHARTS)
@pytest.mark.parametrize("layout", ["column", "page"])
def test_in_print_no_letter_is_smaller_than_seven_points_and_a_smaller_width_is_refused(
    name: str, layout: str, tmp_path: Path
) -> None:
    rows = rows_for(name, [trial(place, label=f"a long name of an arm {place}") for place in range(17)])
    chart = charts.draw(name, list(rows[0]), [list(row.values()) for row in rows], layout)
    charts.save(chart, tmp_path / "chart.svg", width=charts.WIDTHS[layout])
    root = (tmp_path / "chart.svg").read_text()[:300]
    assert f'width="{charts.WIDTHS[layout]:.1f}pt"' in root
    with pytest.raises(SynthcError, match="letters would be smaller than 7 points; ask for"):
        charts.save(chart, tmp_path / "small.svg", width=90)
    assert not (tmp_path / "small.svg").exists()


def test_numbers_of_neighbours_neither_touch_nor_lie_on_a_point() -> None:
    assert scatter.place_numbers([(50.0, 50.0)]) == [pytest.approx((6.36, -6.36), abs=0.01)]  # beside it, off its bars
    points = [(50.0, 50.0), (56.0, 50.0), (53.0, 56.0), (50.0, 50.0)]
    offsets = scatter.place_numbers(points)
    numbers = [(x + dx, y + dy) for (x, y), (dx, dy) in zip(points, offsets, strict=True)]
    assert all(math.dist(one, other) > 8 for one, other in combinations(numbers, 2))
    assert all(math.dist(number, point) > 8 for number in numbers for point in points)


# What is not hidden


def test_what_cannot_be_resolved_stands_apart_with_a_number_and_what_cannot_be_shown_is_named() -> None:
    unclear = {"leakage": None, "leakage_low": None, "leakage_high": None}
    spec = drawn("tradeoff", [trial(0), trial(1, label="unclear", **unclear), trial(2, label="unmeasured", test_accuracy=None)])
    assert "not shown, no resolvable value: unmeasured" in subtitle(spec)
    places = {row["name"]: row["x"] for row in data_of(spec) if "leakage_n" in row}
    (axis, *_) = [node["x"]["axis"] for node in nodes(spec) if "axis" in node.get("x", {}) and node["x"]["axis"]]
    assert places["unclear"] == max(axis["values"]) > places["arm0"]
    assert "n.\u2009r." in json.loads(axis["labelExpr"].split("[round")[0]).values()
    assert "n.\u2009r.: not resolvable" in subtitle(spec)


def test_zeros_on_axes_that_have_none_stand_at_a_place_of_their_own_that_a_label_names() -> None:
    spec = drawn("roc", rows_for("roc", [trial()]))
    points = [row for row in data_of(spec) if "fpr" in row]
    assert min(row["fpr"] for row in points) == 0.0
    assert min(min(row["x"], row["y"]) for row in points) == 1 / 2048
    assert "zeros are drawn at 0.049\u00a0%" in subtitle(spec)

    spec = drawn("cost", [trial(0, seconds=0.0), trial(1, seconds=4.0)])
    assert {round(10 ** row["x"], 6) for row in data_of(spec) if "leakage_n" in row} == {2.0, 4.0}
    rows = [trial(0, leakage=0.0, leakage_low=0.0), trial(1, leakage=1.0, leakage_high=1.0), trial(2, leakage=0.5)]
    axis = scatter.odds_axis("leakage", "", rows, better=-1)
    assert axis.ticks[axis.place(0.0)] == "0"
    assert axis.place(0.0) == pytest.approx(math.log(0.5 / 1023.5))
    assert axis.place(1.0) == -axis.place(0.0)
    assert axis.place(0.5) == 0.0


def test_a_doubtful_trial_is_hollow_named_and_never_the_best() -> None:
    rows = [
        trial(0, null_ok=False, leakage=0.0, test_accuracy=1.0),
        trial(1),
        trial(2, learned=False, leakage=0.0, test_accuracy=0.17),
    ]
    for name in OF_TRIALS:
        spec = drawn(name, rows_for(name, rows))
        doubts = {row["name"]: row["doubt"] for row in data_of(spec) if "doubt" in row}
        assert {row: bool(doubt) for row, doubt in doubts.items()} == {"arm0": True, "arm1": False, "arm2": True}
        assert any(node.get("filled") is False for node in nodes(spec))
        assert "hollow: arm0 (null control failed: figures invalid)" in subtitle(spec)
        assert "hollow: arm2 (learned next to nothing: leaking little is no protection)" in subtitle(spec)
    described = scatter.describe(look.identify(rows))
    x, y = scatter.odds_axis("leakage", "", described, -1), scatter.share_axis("test_accuracy", "", described, 1)
    assert [row["name"] for row in scatter.find_front(described, x, y)] == ["arm1"]


def test_a_control_stands_apart_by_its_mark_and_its_name_and_is_never_the_best() -> None:
    rows = [
        trial(1),
        trial(5),
        trial(5, label="untuned", trial="untuned#0", control=True, learned=False, leakage=0.0, test_accuracy=1.0),
    ]
    for name in OF_TRIALS:
        text = json.dumps(drawn(name, rows_for(name, rows)))
        assert "untuned (control)" in text
        assert "hollow" not in text
    spec = drawn("tradeoff", rows)
    (scale,) = {json.dumps(node["shape"]["scale"]) for node in nodes(spec) if "shape" in node and "scale" in node["shape"]}
    assert json.loads(scale) == {"domain": ["DP-SGD", "Diffusion", "Control"], "range": ["square", "triangle-down", look.CROSSED]}
    described = scatter.describe(look.identify(rows))
    x, y = scatter.odds_axis("leakage", "", described, -1), scatter.share_axis("test_accuracy", "", described, 1)
    assert "untuned (control)" not in [row["name"] for row in scatter.find_front(described, x, y)]


def test_what_is_doubtful_and_far_below_does_not_squeeze_the_others_and_its_figure_is_said() -> None:
    rows = [trial(0), trial(1), trial(2, learned=False, test_accuracy=0.17, test_accuracy_low=0.15, test_accuracy_high=0.19)]
    described = scatter.describe(look.identify(rows))
    axis = scatter.share_axis("test_accuracy", "", described, 1)
    assert axis.domain[0] > 0.85
    assert axis.ticks[axis.of(described[2])] == "lower"
    assert axis.of(described[2], "_high") == axis.of(described[2]) < axis.of(described[0])
    assert "lower: arm2 17\u00a0%" in subtitle(drawn("tradeoff", rows))
    assert "lower" not in scatter.share_axis("test_accuracy", "", described[:2], 1).ticks.values()


@pytest.mark.parametrize("name", charts.CHARTS)
def test_studies_share_no_panel_and_no_front_goes_through_two_data_sets(name: str) -> None:
    rows = rows_for(name, [trial(0), trial(1)])
    alone = drawn(name, rows)
    both = drawn(name, [*rows, *(row | {"study": "other"} for row in rows)])
    assert [part["title"]["text"] for part in both["vconcat"]] == 2 * [alone["title"]["text"]]
    assert len({param["name"] for param in both.get("params", [])}) == len(both.get("params", []))
    further = [row | {"study": "t"} | ({"paradigm": "imported"} if "paradigm" in row else {}) for row in rows]
    picture = vl_convert.vegalite_to_svg(drawn(name, [*rows, *further]), vl_version=VERSION)
    assert name == "claims" or look.color_of("imported") in picture
    if name in ("tradeoff", "cost"):
        sets = range(charts.MAX_STUDIES + 1)
        assert len(drawn(name, [row | {"data": f"set {place}"} for place in sets for row in rows])["vconcat"]) == len(sets)
    many = [row | {"study": f"s{place}"} for place in range(charts.MAX_STUDIES + 1) for row in rows]
    with pytest.raises(SynthcError, match=r"7 studies share no chart; choose by --study, --profile, --origin\. There are: s0, s1"):
        drawn(name, many)


def test_few_roc_curves_of_a_panel_have_bands_where_the_audit_gave_them() -> None:
    rows = rows_for("roc", [trial(place, paradigm="coreset") for place in range(roc.MAX_BANDED_TRIALS)])
    few = drawn("roc", [row | ({"low": None, "high": None} if row["fpr"] == 0.1 else {}) for row in rows])
    assert {0.001, 0.1} & {row["x"] for row in data_of(few) if set(row) == {"x", "low", "high", "key", "Paradigm"}} == {0.001}
    more = drawn("roc", rows_for("roc", [trial(place, paradigm="coreset") for place in range(roc.MAX_BANDED_TRIALS + 1)]))
    assert encodings(more, "area") == []


def test_an_ablation_has_a_panel_for_each_axis_that_turns_with_numbers_in_their_order() -> None:
    axes = [json.dumps({"fraction": fraction, "init": "noise"}) for fraction in (10, 9, 0.5)]
    spec = drawn("ablation", [trial(place, arm="a", axes=text) for place, text in enumerate(axes)])
    assert len(spec["hconcat"]) == 1  # `init` never turns
    assert encodings(spec, "line")[0]["x"]["sort"] == ["0.5", "9", "10"]


@pytest.mark.parametrize("leakage", [0.02, 0.5, 1.0])
def test_names_of_lines_that_end_at_one_height_stand_above_each_other(leakage: float) -> None:
    axes = [json.dumps({"size": size, "init": init}) for size in (1, 2) for init in ("noise", "real", "public")]
    spec = drawn("ablation", [trial(place, arm="a", axes=text, leakage=leakage) for place, text in enumerate(axes)])
    ends = [row for row in data_of(spec) if "name_at" in row]
    of_one_panel = sorted(row["name_at"] for row in ends if row["at"] == "2")
    height = next(panel["height"] for row in spec["vconcat"] for panel in row.get("hconcat", [row]))
    assert len(of_one_panel) == 3
    assert all((above - below) * height >= 7 for below, above in pairwise(of_one_panel))
    assert of_one_panel[-1] <= 1


def test_an_accountants_epsilon_that_no_axis_could_hold_becomes_an_arrow() -> None:
    spec = drawn("epsilon", rows_for("epsilon", [trial(1, epsilon=27390.0), trial(7, epsilon=1.5)]))
    rows = [row for row in data_of(spec) if "beyond" in row]
    assert {row["epsilon"]: row["beyond"] for row in rows} == {27390.0: True, 1.5: False}
    top = encodings(spec, "point")[0]["x"]["scale"]["domain"][1]
    assert all(row["at"] <= top for row in rows)


def test_claims_of_different_units_do_not_share_an_axis_and_each_shows_its_margin() -> None:
    rows = [
        claim(0),
        claim(1, test="ratio", effect=2.0, low=1.5, high=2.5, margin=1.0),
        claim(2, test="equivalence"),
        claim(3, test="difference", metric="seconds", effect=40.0, low=30.0, high=50.0),
    ]
    spec = drawn("claims", rows)
    titles = [encodings(panel, "point")[0]["x"]["title"] for panel in spec["vconcat"]]
    assert titles == ["Difference, left minus right", "Ratio, left over right", "Difference in seconds"]
    ticks = [row["at"] for row in data_of(spec) if set(row) == {"place", "at"}]
    assert sorted(ticks) == [-0.05, 0.05, 0.05, 0.05, 1.0]  # an equivalence has two


def test_a_dominance_is_drawn_in_the_units_of_what_decides_it_and_says_what_that_is() -> None:
    cost = claim(0, test="dominance", decided_by="cost", effect=3.0, low=3.0, high=3.0, verdict="refuted")
    leaks = claim(1, test="dominance", decided_by="leakage", margin=None)
    spec = drawn("claims", [cost, leaks])
    titles = [encodings(panel, "point")[0]["x"]["title"] for panel in spec["vconcat"]]
    assert titles == ["Ratio, left over right", "Difference, left minus right"]
    labels = {row.get("label") for row in data_of(spec)}
    assert {"claim 0\nrefuted by cost: 3.000 [3.000, 3.000]", "claim 1\nsupported by leakage: 0.200 [0.100, 0.300]"} <= labels


def test_a_claim_without_an_effect_keeps_its_row_and_says_so() -> None:
    spec = drawn("claims", [claim(0, effect=None, low=None, high=None, n=None, verdict="undecided")])
    assert "claim 0\nundecided: no effect resolvable" in {row.get("label") for row in data_of(spec)}


def test_trials_of_several_studies_and_replicates_keep_apart() -> None:
    rows = look.identify([trial(0), trial(0, study="t", replicate=1)])
    assert [row["name"] for row in rows] == ["s arm0 #0", "t arm0 #1"]
    assert [row["number"] for row in rows] == [1, 2]
    assert len({row["key"] for row in rows}) == 2


def test_a_paradigm_without_a_fixed_colour_is_drawn_in_one_that_follows_from_its_name() -> None:
    spec = drawn("tradeoff", [trial(0, paradigm="teleportation")])
    assert encodings(spec, "point")[0]["color"]["scale"] == {"domain": ["Teleportation"], "range": [look.color_of("teleportation")]}


# What is computed


def test_the_front_is_what_comparing_all_pairs_says() -> None:
    draws = random.Random(0)
    rows = scatter.describe(
        look.identify(trial(place, leakage=draws.random(), test_accuracy=draws.random()) for place in range(40))
    )
    slow = {
        row["key"]
        for row in rows
        if not [1 for other in rows if other["leakage"] < row["leakage"] and other["test_accuracy"] > row["test_accuracy"]]
    }
    x, y = scatter.odds_axis("leakage", "", rows, -1), scatter.share_axis("test_accuracy", "", rows, 1)
    assert {row["key"] for row in scatter.find_front(rows, x, y)} == slow


def test_the_band_of_the_front_holds_every_front_that_the_intervals_allow() -> None:
    draws = random.Random(1)
    rows = []
    for place in range(12):
        leak, right = draws.random(), draws.uniform(0.3, 0.9)
        ends = {"leakage_low": 0.9 * leak, "leakage_high": min(1.0, 1.1 * leak)}
        ends |= {"test_accuracy_low": right - 0.05, "test_accuracy_high": right + 0.05}
        rows.append(trial(place, leakage=leak, test_accuracy=right, **ends))
    rows = scatter.describe(look.identify(rows))
    x, y = scatter.odds_axis("leakage", "", rows, -1), scatter.share_axis("test_accuracy", "", rows, 1)
    band = scatter.front_band(rows, x, y)
    for _ in range(200):
        world = [
            (
                draws.uniform(row["leakage_low"], row["leakage_high"]),
                draws.uniform(row["test_accuracy_low"], row["test_accuracy_high"]),
            )
            for row in rows
        ]
        at = draws.uniform(*x.domain)
        best = max((right for leak, right in world if x.place(leak) <= at), default=y.domain[0])
        corners = [corner for corner in band if corner["x"] <= at]
        low, high = (corners[-1]["y_low"], corners[-1]["y_high"]) if corners else (y.domain[0], y.domain[0])
        assert low - 1e-9 <= best <= high + 1e-9


def test_caught_canaries_are_counted_for_every_share_of_models() -> None:
    risks = [0.5, 0.0, 1.0, 0.5, 0.25, 1.0]
    counts = vulnerability.count_caught([{"tpr": risk, "name": "n", "Paradigm": "P"} for risk in risks])
    assert [(row["tpr"], row["count"]) for row in counts] == [(0.0, 1), (0.25, 1), (0.5, 2), (1.0, 2)]
    assert sum(row["share"] for row in counts) == pytest.approx(1.0)


def test_guessing_gives_a_canary_away_as_often_as_chance_has_it() -> None:
    rows = [{"fpr": 0.1, "shadows": 8}]
    draws = random.Random(0)
    caught = [sum(draws.random() < 0.1 for _ in range(4)) / 4 for _ in range(20_000)]
    for row in vulnerability.guess_counts(rows):
        assert row["share"] == pytest.approx(sum(risk == row["tpr"] for risk in caught) / len(caught), abs=0.01)
    assert vulnerability.guess_counts([{"fpr": None, "shadows": 8}]) == []


# Files


def test_every_format_is_written_and_others_are_refused(tmp_path: Path) -> None:
    rows = [trial(0, label=ODD[0], seconds=math.inf)]
    chart = charts.draw("tradeoff", list(rows[0]), [list(row.values()) for row in rows])
    for ending in charts.FORMATS:
        charts.save(chart, tmp_path / f"chart.{ending}")
        assert (tmp_path / f"chart.{ending}").stat().st_size > 500
    assert "<script>alert" not in (tmp_path / "chart.svg").read_text()
    html = (tmp_path / "chart.html").read_text()
    assert 'src="http' not in html
    with pytest.raises(SynthcError, match="endings are"):
        charts.save(chart, tmp_path / "chart.gif")
    with pytest.raises(SynthcError, match="did you mean 'tradeoff'"):
        charts.kind_of("tradeof")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for kind in charts.CHARTS:
        spec = drawn(kind, rows_for(kind, [trial(place) for place in range(3)]))
        (GOLDEN / f"{kind}.json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n")
