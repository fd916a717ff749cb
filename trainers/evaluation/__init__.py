"""Matching of detections to lesions and the figures made from it."""
