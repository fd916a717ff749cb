"""What is known of a study: its records, how it stands, what its search drew; needs no Ray."""
