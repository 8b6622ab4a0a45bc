"""Text to plan: the compiler for privacy studies.

Imports pydantic, ruamel.yaml and the standard library, nothing else, so that `synthc check` answers at once
on a machine without a GPU, a cluster or torch.
"""
