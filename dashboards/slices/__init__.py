"""The slice browser: slices of a study, what its arms find on them, and their places in a t-SNE."""
