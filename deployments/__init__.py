"""How runs start: the catalogue, one `start()` for every trigger, the warm runner, the reconciler."""
