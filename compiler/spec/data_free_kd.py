"""Paradigm `data_free_kd`: a student learns from a private teacher on invented images (methods.md section 7)."""

from __future__ import annotations
