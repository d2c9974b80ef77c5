"""What happened in a sweep: events in a database, and the state folded from them."""
