"""Conditional GANs: networks, schedule, training and synthesis."""
