"""Coreset selection: a subset of the private set, chosen by a rule."""
