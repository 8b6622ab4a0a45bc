"""Placed trees → typed trials: all complaints of a study at once, each at its place."""
