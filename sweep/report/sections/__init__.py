"""What follows Table 1, one question a file."""
