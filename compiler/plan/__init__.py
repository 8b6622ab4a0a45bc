"""Trials → tasks: lowering, the DAG, and the part of it that `--only` selects."""
