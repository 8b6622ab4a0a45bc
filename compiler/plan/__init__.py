"""Lowers trials to tasks: the DAG, and the part of it that `--only` selects."""
