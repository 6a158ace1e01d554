# Copy WAL files of the stopped server to a directory of this run, and say their SHA-256. RUN, SEGMENTS, NEED_KB.
# A real copy, no hard link: pg_rewind writes into the files that are there.
guard || return $?
dir=$STATE/salvage/$SERVICE/$RUN
mkdir -p "$dir/wal" || return 1
chmod 0711 "$STATE/salvage" "$STATE/salvage/$SERVICE"
free_kb=$(df -Pk "$dir" | awk 'NR==2{print $4}')
[ "$free_kb" -gt "$NEED_KB" ] || { echo "$dir has $free_kb KiB free, and $NEED_KB are needed" >&2; return 1; }
for name in $SEGMENTS; do
    [ -f "$PGDATA/pg_wal/$name" ] || { echo "missing:$name=1"; continue; }
    cp --reflink=auto "$PGDATA/pg_wal/$name" "$dir/wal/$name.part" && mv "$dir/wal/$name.part" "$dir/wal/$name" || return 1
    echo "sha256:$name=$(sha256sum <"$dir/wal/$name" | cut -d' ' -f1)"
done
cp "$PGDATA"/pg_wal/*.history "$dir/wal/" 2>/dev/null
chown -R "$OS_USER" "$dir" && chmod -R u=rwX,go= "$dir" && sync
echo "directory=$dir"
return 0
