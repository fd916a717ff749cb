"""Reader studies: can people distinguish synthetic slices from real slices, and find lesions: `metsweep reader-study`."""
