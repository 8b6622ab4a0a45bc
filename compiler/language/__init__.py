"""The language: one file per top-level key of a study. Immutable, strict pydantic models; a docstring under every field.

A spec is validated against these models after its grids are expanded, so every field has a plain type: no "int or grid".
"""
