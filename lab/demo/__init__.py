"""`make demo`: a primary dies for real, an alert leads to a failover, and everything said about it was measured.

__main__   the command line: what is asked for, how it ends
acts       what happens, in order
stage      what runs meanwhile, and how all of it is taken down
serving    `recoverd serve` and `recoverd …` as a user starts them
live       a run as it happens, a line a step
report     what was measured, in words and as JSON
screen     the terminal
"""
