"""Training the nets: batches, SGD, DP-SGD, scoring."""
