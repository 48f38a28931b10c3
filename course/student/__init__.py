"""The student's way through a homework."""
