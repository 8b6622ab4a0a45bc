"""Methods that make a synthetic set: one file per paradigm or paper, each a function `synthesize` (see `release`)."""
