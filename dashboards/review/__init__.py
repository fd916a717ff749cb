"""The review of synthetic slices by people, as the paper's authors did it: `metsweep review`."""
