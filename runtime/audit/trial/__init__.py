"""One trial, attacked and read."""
