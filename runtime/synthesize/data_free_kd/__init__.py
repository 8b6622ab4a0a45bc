"""Data-free knowledge distillation: a student learns from a private teacher on invented images."""
