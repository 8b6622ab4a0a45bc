"""Coreset selection: a part of the private set, chosen by a rule."""
