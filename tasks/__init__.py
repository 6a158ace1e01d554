"""Retryable steps, a module per thing that is touched."""
