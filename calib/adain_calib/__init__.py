"""The calibrator: pairs of content and style, what enters each convolution on them, and the ranges for int8."""
