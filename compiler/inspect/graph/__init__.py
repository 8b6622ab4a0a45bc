"""The plan as a folded graph, and its drawings."""
