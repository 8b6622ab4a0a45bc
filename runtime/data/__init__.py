"""Images: where they come from, and who of them is private."""
