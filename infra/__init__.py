"""Where metsweep runs: files for clusters, and the servers of a cluster on one machine (`infra.stack`)."""
