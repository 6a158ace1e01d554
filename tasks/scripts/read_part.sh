# A part of a file, packed, as one line of text: works the same with and without sudo. FILE, SKIP and COUNT in MiB.
[ -r "$FILE" ] || { echo "there is no file $FILE" >&2; return 1; }
dd if="$FILE" bs=1M skip="$SKIP" count="$COUNT" status=none | gzip -1 -c | base64 -w 0
return 0
