"""What happens to a vassal: its events, their history, and the journal entries about both."""
