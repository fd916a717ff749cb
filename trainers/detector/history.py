"""What the history of a detector run calls its figures; imports no torch, for who only reads them."""

SENSITIVITY, FPS = "validation/sensitivity", "validation/fps_per_slice"
"""What the history calls an evaluation's figures; their thresholds are the config's `selection_confidence` and
`selection_iou`."""

KEPT = "kept_"
"""Prefix of the same figures of the weights that are kept so far, in what a run reports of its progress."""
