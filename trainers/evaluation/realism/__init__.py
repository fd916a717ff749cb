"""How real synthetic slices look, whether they hold what they were asked for, and whether they leak patients."""
