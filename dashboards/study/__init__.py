"""The pages of studies: `metsweep dashboard`."""
