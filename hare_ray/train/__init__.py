"""Training: the order of the sequences, reading them, and the loop."""
