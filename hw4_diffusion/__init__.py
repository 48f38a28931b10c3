"""Homework 4: diffusion models."""
