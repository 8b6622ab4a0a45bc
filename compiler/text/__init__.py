"""YAML text → one tree of nodes with locations; composition, expansion of grids."""
