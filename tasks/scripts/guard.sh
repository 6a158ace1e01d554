# Only the epoch guard: for changes that go on over SQL. EPOCH.
guard || return $?
