"""The trainer's room: data, losses, loop and evaluation. Nothing is here yet; docs/roadmap.md says what comes."""
