"""The tables that follow Table 1, one question per file."""
