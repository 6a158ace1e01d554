"""The procedures, one a file, with their decisions as pure functions beside them."""
