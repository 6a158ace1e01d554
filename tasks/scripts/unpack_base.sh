# What comes of the stream of a set of kind "base": a data directory. See unpack.sh. OWNER (its account), BIN.
tools_there() { [ -x "$BIN/pg_verifybackup" ] || { echo "$BIN/pg_verifybackup is missing" >&2; return 1; }; }

reachable() { # the server's account must get through
    chmod a+x "$WORK" "$(dirname "$WORK")" "$(dirname "$(dirname "$WORK")")"
    case "$WORK" in "$STATE"/*) chmod a+x "$STATE" ;; esac
}

take_out() {
    through tar -x -C "$INTO" --no-same-owner -f - || return 1
    "$BIN/pg_verifybackup" -q -n "$INTO" || return 1
    chown -R "$OWNER:$(id -g "$OWNER")" "$INTO"
}
