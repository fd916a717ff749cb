"""Studies of readers: can people tell synthetic slices from real ones, and find lesions: `metsweep reader-study`."""
