"""Models of the task `click`: whether a user will like an item."""
