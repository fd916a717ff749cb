"""The report of a study: tables, statistics, pictures."""
