"""The commands ``adain-run`` and ``adain-style``, and what every command of the house shares."""
