"""Weights that come with the course, and the scripts that made them."""
