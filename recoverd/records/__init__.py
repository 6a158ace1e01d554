"""Fixing data records: what is asked for, what a plan of a fix is, and the rules that it goes by. Pure, nothing here asks a server."""
