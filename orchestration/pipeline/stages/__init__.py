"""The stages of an attempt, one module each."""
