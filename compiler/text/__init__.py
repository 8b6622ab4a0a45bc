"""YAML text → one placed tree: nodes, composition, expansion of grids."""
