"""The operations that a worker can compute, and which release levels an arm has."""

from typing import Literal

TaskKind = Literal["train", "synthesize", "query", "attack", "compare"]
"""Kinds of task. Defined here, since the command line's help needs it without importing the models of the language."""
