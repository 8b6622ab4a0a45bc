"""What is known of images without torch: the user's files, what was read before, sizes of sets."""
