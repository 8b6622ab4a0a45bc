"""Trees → typed trials: all problems of a study at once, each at its location."""
