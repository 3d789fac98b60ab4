"""`python -m llmrs_bench` is the command line."""

import sys

from llmrs_bench.cli.main import main

sys.argv[0] = "llmrs-bench"  # as manifests have it
main()
