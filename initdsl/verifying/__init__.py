"""Whether a network or a checkpoint is what its rules say."""
