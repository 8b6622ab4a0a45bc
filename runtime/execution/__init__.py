"""Runs the tasks of a plan: driver, ready queue, engines, workers, progress display."""
