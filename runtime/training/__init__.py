"""Trains and scores nets: batches, SGD, DP-SGD, logits, accuracy."""
