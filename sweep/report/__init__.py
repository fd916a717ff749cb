"""What a study found: tables, statistics, pictures."""
