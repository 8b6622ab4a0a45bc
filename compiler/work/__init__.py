"""The operations that a worker can compute, and which release levels an arm has."""

from typing import Literal

TaskKind = Literal["train", "synthesize", "query", "attack", "compare"]
"""Kinds of task. Here, since the command line needs it for its help, which should not wait for the models of the language."""
