"""The calibrator's room: pairs, activation ranges, Q/DQ. Nothing is here yet; docs/roadmap.md says what comes."""
