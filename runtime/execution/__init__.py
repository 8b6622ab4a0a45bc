"""Keeps Ray busy with whatever the plan says is ready."""
