# The records of saved WAL that are about rows, sequences and commits, into a file. RUN, TIMELINE, START, END, MOST_LINES, LIMIT_S.
dir=$STATE/salvage/$SERVICE/$RUN
TZ=UTC
export TZ
as_owner timeout "$LIMIT_S" "$BIN/pg_waldump" -p "$dir/wal" -t "$TIMELINE" -s "$START" 2>/dev/null |
    grep -E '^rmgr: (Heap|Heap2|Transaction|Sequence) ' | head -n "$MOST_LINES" | cut -c1-2000 >"$dir/records-$TIMELINE"
echo "file=$dir/records-$TIMELINE"
echo "lines=$(wc -l <"$dir/records-$TIMELINE")"
return 0
