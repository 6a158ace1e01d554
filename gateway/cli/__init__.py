"""The `recoverd` command: a thin front of what the layers below do. One module a group of commands.

Heavy packages are imported inside the commands, so that `recoverd version` answers at once.
"""
