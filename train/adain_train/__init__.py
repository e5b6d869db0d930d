"""The trainer: data, losses, loop, the networks that are trained, and their evaluation."""
