"""Text → tree: what YAML says, and what several texts say together."""

from __future__ import annotations

from compiler.text.compose import merge
from compiler.text.expand import expand
from compiler.text.nodes import parse, plain


def test_a_folded_text_has_spaces_where_its_lines_ended() -> None:
    text = 'question: >-\n  one\n  two\n\n  three\nname: "a\\tb"\nplain: one\n  two\n'
    assert plain(parse(text, "study")) == {"question": "one two\nthree", "name": "a\tb", "plain": "one two"}


def test_mappings_merge_by_name_and_lists_and_grids_replace() -> None:
    below = parse("audit: {fpr: [0.1, 0.01], z_pool: 40}\nclassifier: {lr: {grid: [0.1, 0.2]}, width: 8}", "base")
    above = parse("audit: {fpr: [0.5]}\nclassifier: {lr: {grid: [0.3]}}", "study")
    assert plain(merge(below, above)) == {"audit": {"fpr": [0.5], "z_pool": 40}, "classifier": {"lr": {"grid": [0.3]}, "width": 8}}


def test_a_merged_tree_remembers_where_each_value_was_written() -> None:
    tree = merge(parse("audit: {shadows: 8, fpr: [0.1, 0.2]}", "base"), parse("audit: {shadows: 16}", "study"))
    assert str(tree.nearest("audit", "shadows")) == "study:1:18"
    assert str(tree.nearest("audit", "fpr", 1)) == "base:1:32"
    assert str(tree.nearest("audit", "fpr", 7)) == "base:1:26"


def test_a_grid_of_one_value_within_a_value_is_called_by_that_value_and_one_of_several_by_its_name() -> None:
    labels = {
        "{e: {grid: [8.0]}, f: 1}": "e=8.0,f=1",
        "{e: {grid: [{grid: [8.0]}]}}": "e=8.0",
        "{e: {g: {grid: [8.0]}, h: 2}, f: 1}": "e=g=8.0,h=2,f=1",
        "{e: {grid: [8.0, 4.0]}, f: 1}": "e,f=1",
        "{e: 8.0, f: [1, 2]}": "e=8.0,f=[1, 2]",
    }
    for value, label in labels.items():
        first = expand(parse(f"a: {{grid: [{value}]}}", "study"))[0]
        assert [axis.value for axis in first.axes if axis.path == ("a",)] == [label]
