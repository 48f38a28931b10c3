"""Homework 2: DCGAN and the CSPup generator, and what makes adversarial training converge."""
