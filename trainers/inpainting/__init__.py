"""A diffusion model that draws lesions into real training slices, conditioned on boxes."""
