# Put good files into the place of bad ones on a backup site that is a directory of this host, SITE. Keys are below it. VERB:
# swap (STAGED, which must have SHA256, takes the place of KEY), aside (KEY goes away, a file or a directory), drop (STAGED).
# What was there is evidence: it is moved to ASIDE and never removed. Each may be repeated after a kill at any instant.
umask 077
guard || return $?

put_aside() {
    [ -e "$SITE/$KEY" ] || return 0
    to=$SITE/$ASIDE
    number=1
    while [ -e "$to" ]; do number=$((number + 1)) to=$SITE/$ASIDE.$number; done
    mkdir -p "$(dirname "$to")" && mv "$SITE/$KEY" "$to"
}
is_right() { [ -f "$1" ] && sum=$(sha256sum <"$1") && [ "${sum%% *}" = "$SHA256" ]; }

case "$VERB" in
swap)
    if [ ! -e "$SITE/$STAGED" ]; then
        is_right "$SITE/$KEY" && return 0
        echo "$SITE/$STAGED did not come" >&2
        return 1
    fi
    is_right "$SITE/$STAGED" || { rm -f "$SITE/$STAGED"; echo "$SITE/$STAGED was changed after it came" >&2; return 1; }
    sync "$SITE/$STAGED"
    put_aside || return 1
    mkdir -p "$(dirname "$SITE/$KEY")" && mv "$SITE/$STAGED" "$SITE/$KEY" && sync "$(dirname "$SITE/$KEY")"
    ;;
aside) put_aside ;;
drop)
    rm -rf "${SITE:?}/${STAGED:?}"
    rmdir "$(dirname "$SITE/$STAGED")" 2>/dev/null
    return 0
    ;;
esac
