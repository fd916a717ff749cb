"""Reader studies: can people distinguish synthetic from real slices, and find lesions: `metsweep reader-study`."""
