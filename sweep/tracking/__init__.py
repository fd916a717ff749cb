"""MLflow kept in step with the store."""
