"""Homework 1: Bayes generators of styles and of pixels, autoencoders that find spills, variational autoencoders."""
