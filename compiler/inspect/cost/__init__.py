"""Seconds, disk and GPU memory of the tasks of a plan."""
