# What comes of the stream of a set of kind "base": a data directory. See unpack.sh. OWNER (its account), BIN.
# Each file is hashed while those after it are unpacked: at the end the hashes only have to be held against the set's manifest.
tools_there() { [ -x "$BIN/pg_verifybackup" ] || { echo "$BIN/pg_verifybackup is missing" >&2; return 1; }; }

reachable() { # the server's account must get through
    chmod a+x "$WORK" "$(dirname "$WORK")" "$(dirname "$(dirname "$WORK")")"
    case "$WORK" in "$STATE"/*) chmod a+x "$STATE" ;; esac
}

take_out() {
    { through tar -x -vv --numeric-owner --no-same-owner -C "$INTO" -f -; echo $? >"$job/code.all"; } |
        (cd "$INTO" && hash_what_is_whole) >"$job/sums"
    [ "$(cat "$job/code.all")" = 0 ] && is_verified && chown -R "$OWNER:$(id -g "$OWNER")" "$INTO"
}

# tar names a file before it writes it, so what it named before is whole. A program for each would cost more than the hashing:
# many small files are hashed at once, and a large one does not wait for others.
hash_what_is_whole() {
    set --
    whole='' bytes=0 size=0
    while read -r mode _ next _ _ name; do
        [ -z "$whole" ] || { set -- "$@" "$whole"; bytes=$((bytes + size)); }
        case "$mode" in -*) whole=$name size=$next ;; *) whole='' ;; esac
        [ $# -lt 200 ] && [ "$bytes" -lt 16777216 ] || { hashes_of "$@"; set --; bytes=0; }
    done
    [ -z "$whole" ] || set -- "$@" "$whole"
    [ $# = 0 ] || hashes_of "$@"
}

hashes_of() { if command -v openssl >/dev/null; then openssl dgst -sha256 -r "$@"; else sha256sum "$@"; fi; } 2>/dev/null

# pg_verifybackup proves the manifest, and that every file is there with its size, and nothing else. Where a hash is missing or
# wrong, for a name that tar and the manifest write in different ways or for a file that is damaged, it reads all of them itself.
is_verified() {
    if awk "$compare" "$job/sums" "$INTO/backup_manifest"; then
        "$BIN/pg_verifybackup" -q -n -s "$INTO"
    else
        "$BIN/pg_verifybackup" -q -n "$INTO"
    fi
}

# Lines `HASH *NAME`, and those of a manifest: { "Path": "NAME", …, "Checksum-Algorithm": "SHA256", "Checksum": "HASH" },
compare='
    FNR == NR { hash[substr($0, 67)] = substr($0, 1, 64); next }
    /^\{ "(Encoded-)?Path": / {
        files++
        name = $0; sub(/^\{ "Path": "/, "", name); sub(/", "Size": .*$/, "", name)
        sum = $0; if (!sub(/^.*"Checksum-Algorithm": "SHA256", "Checksum": "/, "", sum)) sum = "none"
        sub(/".*$/, "", sum)
        if (name ~ /\\/ || length(sum) != 64 || hash[name] != sum) { bad = 1; exit }
    }
    END { exit bad || !files }
'
