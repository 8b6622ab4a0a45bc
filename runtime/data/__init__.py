"""Images: sources, file formats, roles of samples in a study."""
