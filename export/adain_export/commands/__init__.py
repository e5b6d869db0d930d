"""``adain-export TARGET``: one file a target, and what they share."""
