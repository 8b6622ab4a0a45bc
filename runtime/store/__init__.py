"""The store, the folder that holds all results: artifacts, commits, checkpoints, records of runs."""
