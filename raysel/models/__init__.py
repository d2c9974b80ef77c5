"""What is tuned: models by name, their weights, and their partition into layers."""
