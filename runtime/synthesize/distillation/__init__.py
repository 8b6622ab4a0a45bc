"""Dataset distillation: a few learned images as a training set in place of the private set."""
