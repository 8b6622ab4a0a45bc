"""The compiler for privacy studies: YAML text to a plan of tasks.

Imports pydantic, ruamel.yaml and the standard library, nothing else, so that `synthc check` answers at once
on a machine without a GPU, a cluster or torch.
"""
