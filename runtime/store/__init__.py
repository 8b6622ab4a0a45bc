"""The folder of results, the truth: artifacts, commits, checkpoints, records of runs."""
