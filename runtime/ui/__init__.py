"""A local web page on a study during and after a run. It reads the published database and the store, and writes nothing."""
