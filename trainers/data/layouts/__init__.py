"""Public data sets and common formats as they are downloaded: one file per layout, all behind `contract.Layout`."""
