"""Help texts on the JSON of `synthc plan`: the stages of `--emit`, the shape of `--json`.

Constants only, so that `synthc --help` does not import the compiler.
"""

STAGES = {
    "nodes": "the text as it was read: each value with its file, line and column",
    "tree": "the study once extends, profile and --set are merged; grids still in it",
    "trials": "each trial with every parameter resolved, defaults included",
    "tasks": "each task: id, operation, needs, and the text that its id is the hash of",
}

JSON_SHAPE = """\
{
 "study": NAME, "profile": NAME or null, "question": TEXT, "trials": N, "claims": N,
 "tasks": {"total": N, "done": N, "to_run": N, "shared": N,
           "by_kind": {KIND: N},                        all tasks of a kind
           "by_arm": {ARM: {"trials": N, "total": N, "done": N, "to_run": N, "shared": N, "core_seconds": S,
                            "peak_vram_mb": MB}}},
 "estimate": {"basis": "history" | "guess" | "both" | "nothing to run", "from_history": N tasks, "workers": N,
              "seconds": S, "core_seconds": S, "peak_memory_mb": MB, "peak_vram_mb": MB, "disk_mb": MB,
              "critical_path": {"seconds": S, "addresses": [ADDRESS]}},
 "headlines": [{"arms": [ARM], "canaries": GROUP, "fpr": RATE, "non_members": N, "false_positives": N, "verdict": TEXT}]
}
shared: tasks that several trials (of several arms) use and that are computed once.
peak_memory_mb: of all workers together. peak_vram_mb: of the task that would hold most of a GPU, if a GPU computes it (guessed)."""
