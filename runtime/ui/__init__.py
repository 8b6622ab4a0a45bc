"""A local page on a study while it runs, and after. Reads the published database and the store; writes nothing."""
