"""Backups and restores on a lab with three sites: how long they take, and what memory they need."""
