"""raysel: which layers of a pretrained vision model to fine-tune, and how much."""

__version__ = "0.1.0"
