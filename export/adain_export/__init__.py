"""Exports networks to the formats that devices run, and checks every file against PyTorch."""
