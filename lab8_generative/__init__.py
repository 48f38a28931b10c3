"""Lab 8: an image set of one's own, a generative model of it, and an interpolation between two images."""
