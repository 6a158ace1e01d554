"""Isolating, containing, cleaning: the nouns and the pure rules."""
