"""Diffusion models: a denoiser is trained on the private set, and the classifier's training set is sampled from it."""
