"""Lesions of training slices, and a placebo, drawn into other training slices: synthetic slices without a network."""
