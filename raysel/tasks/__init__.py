"""What is learnt: data sets, shifts, splits."""
