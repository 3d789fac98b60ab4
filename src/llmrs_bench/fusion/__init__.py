"""One ranking out of several runs: by reciprocal rank, by standardised scores, by learned weights, by hindsight."""
