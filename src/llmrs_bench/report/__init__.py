"""What people and machines read: boards, verdicts, trends, and the words of each stage."""
