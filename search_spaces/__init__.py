"""What to try: studies, fidelities and their schema."""
