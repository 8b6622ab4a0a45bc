"""Paradigm `diffusion`: a generator trained on the private set draws the training set (methods.md section 8)."""

from __future__ import annotations
