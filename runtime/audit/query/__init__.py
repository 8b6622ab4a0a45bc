"""Asking one release about the canaries: a classifier, a set, a generator."""
