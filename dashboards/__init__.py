"""Pages in the browser: a study, its slices, studies of readers, and the review of synthetic slices."""
