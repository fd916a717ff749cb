"""Champions: gates, versions, aliases."""
