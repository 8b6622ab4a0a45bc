"""Asking one release about the canaries: a classifier for logits, a set for distances, a generator for its loss."""
