"""The report of a cohort: counts, lesions, intensities, pictures, and what to look at first."""
