# A way for one host to move parts to and from a site on another, for one run and one day at most: a key that is made on the
# one and let in on the other for two commands only. Needs OpenSSH on both. PASSAGE: its name.
# On the host that moves: VERB key, show, forget. KNOWN: the other's line of known_hosts.
# On the host of the site: VERB let, ask, drop. PUBLIC: the key. LOGIN: the account. SITE, ARCHIVE, BECOME (1: its shell is root by sudo).
dir=$STATE/passage/$PASSAGE
door=$STATE/passage/$PASSAGE.sh
umask 077
keys() { echo "$(getent passwd "$LOGIN" | cut -d: -f6)/.ssh/authorized_keys"; }
edit_keys() ( # our line as $1, or none. Others let themselves in by the same file: it is whole, with all their lines, or untouched.
    flock -w 30 7 || exit 1
    file=$(keys)
    new=$file.recoverd.$$
    others() { grep -v " recoverd-$PASSAGE\$" "$1"; [ $? -le 1 ]; }
    touch "$file" && others "$file" >"$new" && { [ -z "$1" ] || printf '%s\n' "$1" >>"$new"; } && sync "$new" &&
        [ "$(others "$file" | cksum)" = "$(others "$new" | cksum)" ] && chmod 0600 "$new" && chown "$LOGIN:" "$new" && mv "$new" "$file" && exit 0
    rm -f "$new"
    echo "$file could not be written, and is as it was" >&2
    exit 1
) 7>>"$STATE/passage/keys.lock"

case "$VERB" in
key)
    mkdir -p "$dir" || return 1
    { # one key, though ways to several sites are opened at once
        flock -w 10 7 && touch "$dir/known_hosts" || return 1
        [ -f "$dir/key" ] || ssh-keygen -q -t ed25519 -N '' -C "recoverd-$PASSAGE" -f "$dir/key" || return 1
        printf '%s\n' "$KNOWN" | while read -r known; do
            grep -qxF "$known" "$dir/known_hosts" || printf '%s\n' "$known" >>"$dir/known_hosts"
        done
    } 7>>"$dir/lock" || return 1
    cat "$dir/key.pub" | sed 's/^/public=/'
    ;;
show) [ -f "$dir/key" ] && [ -s "$dir/known_hosts" ] && sed 's/^/public=/' "$dir/key.pub" ;;
forget) rm -rf "$dir" "$dir.ca" ;;
let)
    mkdir -p "$STATE/passage" "$SITE" || return 1
    [ "$BECOME" = 1 ] || chmod 0711 "$STATE/passage"
    cat >"$door.new" <<'DOOR'
# What the bearer of a passage may ask for: a file of one archive. $1: site, $2: archive, $3: what was asked.
umask 077
cd "$1" || exit 12
archive=$2
set -f
set -- $3
case "$2" in *..* | /* | *[!A-Za-z0-9._/-]* | '') echo 'no such key' >&2; exit 12 ;; "$archive"/?*) ;; *) echo 'no such archive' >&2; exit 12 ;; esac
case "$1" in
get) [ -f "$2" ] || exit 11; exec cat "$2" ;;
put) # what is there already is never replaced: whoever gets hold of this key could else spoil every backup of the site
    there() { sum=$(sha256sum <"$1"); [ "${sum%% *}" = "$2" ] && exit 0; echo 'it holds other bytes' >&2; exit 13; }
    [ ! -e "$2" ] || there "$2" "$3"
    mkdir -p "$(dirname "$2")" && cat >"$2.$$.part" || { rm -f "$2.$$.part"; exit 12; }
    if command -v openssl >/dev/null; then sum=$(openssl dgst -sha256 -r); else sum=$(sha256sum); fi <"$2.$$.part"
    [ "${sum%% *}" = "$3" ] || { rm -f "$2.$$.part"; exit 10; }
    sync "$2.$$.part" && mv -n "$2.$$.part" "$2" || exit 12
    [ ! -e "$2.$$.part" ] || { rm -f "$2.$$.part"; there "$2" "$3"; }
    ;;
*) echo 'no such command' >&2; exit 12 ;;
esac
DOOR
    [ $? = 0 ] && sync "$door.new" && mv "$door.new" "$door" || { echo "$door could not be written" >&2; return 1; }
    file=$(keys)
    mkdir -p "$(dirname "$file")" && chown "$LOGIN:" "$(dirname "$file")" || return 1
    sudo=
    [ "$BECOME" != 1 ] || sudo='sudo -n '
    until=$(date -d '+24 hours' +%Y%m%d%H%M)
    line="restrict,expiry-time=\"$until\",command=\"${sudo}/bin/sh $door $SITE $ARCHIVE \\\"\$SSH_ORIGINAL_COMMAND\\\"\" $PUBLIC"
    edit_keys "$line" || return 1
    ;;
ask) [ -f "$door" ] && grep -qF "$PUBLIC" "$(keys)" 2>/dev/null && echo "let=1" ;;
drop)
    rm -f "$door"
    file=$(keys)
    [ ! -f "$file" ] || ! grep -q " recoverd-$PASSAGE\$" "$file" && return 0
    edit_keys '' || return 1
    ;;
esac
return 0
