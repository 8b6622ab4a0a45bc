"""A method, an attack and a data set of one's own for synthc. `words` says what a spec may say; each has a module that computes."""
