# A backup site that is a directory on this host. SITE (its path), KEY (below it); VERB:
# list, hash (reads every byte; of NAMES alone where there are some), read, write (CONTENT in base64, once), remove (a directory of a set), room.
# Lines of list and hash: bytes, tab, SHA-256 or -, tab, path below SITE.
umask 077
case "$VERB" in
list)
    [ -d "$SITE/$KEY" ] || return 0
    find "$SITE/$KEY" -type f ! -name '*.part' -printf '%s\t-\t%P\n'
    ;;
hash)
    [ -d "$SITE/$KEY" ] || return 0
    cd "$SITE/$KEY" || return 1
    { [ -z "$NAMES" ] && find . -type f ! -name '*.part' -printf '%P\n' || printf '%s\n' "$NAMES"; } | while read -r name; do
        [ -f "$name" ] || continue
        digest=$(sha256_in <"$name") && printf '%s\t%s\t%s\n' "$(stat -c %s "$name")" "$digest" "$name"
    done
    ;;
read)
    [ -f "$SITE/$KEY" ] || { echo "there is no $SITE/$KEY" >&2; return 2; }
    [ "$(stat -c %s "$SITE/$KEY")" -le "$MOST_BYTES" ] || { echo "$SITE/$KEY is larger than $MOST_BYTES bytes" >&2; return 3; }
    base64 -w 0 <"$SITE/$KEY"
    ;;
write)
    mkdir -p "$(dirname "$SITE/$KEY")" || return 1
    printf %s "$CONTENT" | base64 -d >"$SITE/$KEY.$$.part" || { rm -f "$SITE/$KEY.$$.part"; return 1; }
    if [ -e "$SITE/$KEY" ]; then
        cmp -s "$SITE/$KEY" "$SITE/$KEY.$$.part"
        same=$?
        rm -f "$SITE/$KEY.$$.part"
        [ "$same" = 0 ] || { echo "$SITE/$KEY holds other bytes" >&2; return 4; }
        return 0
    fi
    sync "$SITE/$KEY.$$.part" && mv "$SITE/$KEY.$$.part" "$SITE/$KEY"
    ;;
remove) rm -rf "${SITE:?}/${KEY:?}" ;;
room)
    place=$SITE
    while [ ! -d "$place" ] && [ "$place" != / ]; do place=$(dirname "$place"); done
    [ -w "$place" ] && echo "writable=1"
    echo "now=$(date +%s.%N)"
    df -Pk "$place" | awk 'NR==2{print "free_kb=" $4}'
    ;;
esac
