"""The database: an index of the store, which can be rebuilt from it. The only package that imports duckdb.

The driver alone writes to `<store>/index.duckdb`. Readers use a copy, `results.duckdb`, which publishing replaces atomically, so
that neither waits for the other. Tables and views that a user adds to the published file are kept.
Not here: tensors (`artifacts`), the meaning of the numbers.
"""
