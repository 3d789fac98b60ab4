"""How good is a language model as a recommender, next to a properly trained SASRec, and what does it cost?"""

__version__ = "0.1.0"
