"""How to train: data, GANs, detector and evaluation in plain torch and numpy."""
