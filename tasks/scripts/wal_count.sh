# Commits in a stretch of WAL and its last whole record, without starting anything. TIMELINE (decimal), START, SEGMENT
# (the file that START is in), WAL, LIMIT_S.
TZ=UTC
export TZ
# The point where the timelines part may be the beginning of a file that was never written: then nothing was. pg_waldump
# would wait 5 s for the file.
if [ ! -e "$WAL/$SEGMENT" ] && ! ls "$WAL" | grep -E '^[0-9A-F]{24}$' | grep "^${SEGMENT%????????????????}" | awk -v first="$SEGMENT" '$0 > first { found = 1 } END { exit !found }'; then
    echo "absent=1"
    return 0
fi
as_owner timeout "$LIMIT_S" "$BIN/pg_waldump" -p "$WAL" -t "$TIMELINE" -s "$START" 2>&1 | awk '
    /^rmgr: / { records++; last = $0; if ($2 == "Transaction" && /desc: COMMIT/) commits++; next }
    { said = $0 }
    END { print "records=" records + 0; print "commits=" commits + 0; print "last=" substr(last, 1, 160); print "said=" said }'
return 0
