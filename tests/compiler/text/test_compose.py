"""Text → tree: what YAML says, and what several texts say together."""

from __future__ import annotations

from compiler.text.compose import merge
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
