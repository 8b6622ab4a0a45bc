"""Queries of one release about the canaries: a classifier, a synthetic set, a generator."""
