"""Dataset distillation: a few learned images that stand for the private set."""
