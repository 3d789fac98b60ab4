"""Recommenders trained by the tool itself: interactions in, scores of candidates out."""
