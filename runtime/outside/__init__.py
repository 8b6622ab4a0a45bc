"""Auditing models that were trained elsewhere: a file of logits, signals or scores in, the same statistics as a study's out.

`archive` reads a file that nobody here wrote; `evidence` checks what it says; `attacks` scores it; `bounds` says which
epsilon is ruled out, or why none may be stated; `audit` puts the figures together.
Not here: training, querying, the database. An audit from outside is read, not stored.
"""
