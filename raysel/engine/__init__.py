"""Ray and nothing else: connect, place and run trials."""
