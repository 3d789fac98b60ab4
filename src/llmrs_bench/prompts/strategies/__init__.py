"""Prompt strategies: how candidates are asked for, and how answers become scores."""
