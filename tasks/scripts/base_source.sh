# Where the stream of a set of kind "base" comes from: pg_basebackup. See take.sh. SOURCE (connection string without a
# password), SECRET, NEED_KB.
source_check() { need_kb=$NEED_KB; }

source_stream() {
    PGPASSWORD=$SECRET
    export PGPASSWORD
    as_owner "$BIN/pg_basebackup" -d "$SOURCE" -D - -F tar -X fetch -c fast --no-password --manifest-checksums=SHA256 -v -l "recoverd $SET" 2>"$job/said"
}

source_end() { :; }

source_facts() {
    sed -n 's/.*write-ahead log start point: \([0-9A-F/]*\) on timeline \([0-9]*\)$/start=\1\ntimeline=\2/p; s/.*write-ahead log end point: \([0-9A-F/]*\)$/end=\1/p' "$job/said" 2>/dev/null
}
