"""Language models: what is asked of them, how answers are kept, and what they cost."""
