"""One file per paradigm: the words of its methods, what each needs, and what it costs."""
