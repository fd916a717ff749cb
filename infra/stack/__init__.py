"""The servers of a cluster on this machine alone, for one user: `metsweep stack`."""
