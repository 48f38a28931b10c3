"""Homework 1: Bayes generators of styles and pixels, spill-finding autoencoders, variational autoencoders."""
