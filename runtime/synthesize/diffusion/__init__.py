"""Diffusion: a denoiser trained on the private set draws the training set."""
