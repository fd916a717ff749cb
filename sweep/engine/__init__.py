"""Runs a plan on a Ray cluster."""
