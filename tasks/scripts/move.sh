# Move one part between this host and a site, and prove its hash. VERB: put, get. FILE (here), SIZE, SHA256, LIMIT_S.
# WAY: file (SITE is on this host), ssh (PASSAGE, TARGET, PORT), url (ADDRESS, HEADERS, CA). KEY: below the site.
# Several sites may be asked for one part at once: the first to bring it ends the others. TAG: the site's name.
# Ends with 0, 10 (what came is not what it should be), 11 (it is not there), 12 (the site did not do it), 13 (the
# site has other bytes under that name, which are not replaced).
umask 077
coming=$FILE.$TAG.coming
pass=$STATE/passage/$PASSAGE
reach() { # parts are encrypted already: what costs the processor least does, for each is a connection of its own
    timeout "$LIMIT_S" ssh -F none -i "$pass/key" -o UserKnownHostsFile="$pass/known_hosts" -o StrictHostKeyChecking=yes \
        -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
        -o Ciphers=^aes128-gcm@openssh.com -o KexAlgorithms=^curve25519-sha256 -o Compression=no -p "$PORT" "$TARGET" "$@"
}
fetch_url() { # the address is a secret: it goes to curl's standard input, not into the process list
    if [ -n "$CA" ]; then # under its name at once: another stream of this run may be reading it
        printf '%s\n' "$CA" >"$pass.ca.$$" && mv "$pass.ca.$$" "$pass.ca" || return 1
    fi
    { printf 'url = "%s"\nsilent\nshow-error\nfail\nconnect-timeout = 5\nmax-time = %s\n' "$ADDRESS" "$LIMIT_S"
      printf 'speed-limit = 1000\nspeed-time = 15\n'
      [ -z "$CA" ] || printf 'cacert = "%s"\n' "$pass.ca"
      printf '%s\n' "$HEADERS" | while read -r header; do [ -z "$header" ] || printf 'header = "%s"\n' "$header"; done
      "$@"; } | curl -q -K -
}
upload() { printf 'upload-file = "%s"\n' "$FILE"; }
download() { printf 'output = "%s"\n' "$coming"; }

put_here() {
    if [ ! -e "$1" ]; then
        mkdir -p "$(dirname "$1")" && cp "$FILE" "$1.$$.part" && sync "$1.$$.part" || { rm -f "$1.$$.part"; return 12; }
        sum=$(sha256sum <"$1.$$.part")
        [ "${sum%% *}" = "$SHA256" ] || { rm -f "$1.$$.part"; return 10; }
        mv -n "$1.$$.part" "$1" || return 12
        [ -e "$1.$$.part" ] || return 0
        rm -f "$1.$$.part"
    fi
    sum=$(sha256sum <"$1")
    [ "${sum%% *}" = "$SHA256" ] || return 13
}
put() {
    case "$WAY" in
    file) [ "$FILE" = "$SITE/$KEY" ] || put_here "$SITE/$KEY" ;;
    ssh) reach "put $KEY $SHA256" <"$FILE" ;;
    url) fetch_url upload ;;
    esac
}
get() {
    case "$WAY" in
    file) [ -f "$SITE/$KEY" ] || exit 11; exec cp "$SITE/$KEY" "$coming" ;;
    ssh) reach "get $KEY" >"$coming" ;;
    url) fetch_url download ;;
    esac
}
judged() { # the code of a transfer as one of ours
    case "$1-$WAY" in
    0-* | 10-ssh | 11-ssh | 11-file) return "$1" ;;
    10-file) echo "something else arrived than was sent" >&2; return 10 ;;
    13-ssh | 13-file) echo "it holds other bytes, and is not overwritten" >&2; return 13 ;;
    22-url) echo "the server refuses it" >&2; return 11 ;;
    esac
    echo "moving $KEY by $WAY ended with $1" >&2
    return 12
}

mkdir -p "$STATE/passage" "$(dirname "$FILE")" || return 12
if [ "$VERB" = put ]; then
    [ -f "$FILE" ] || { echo "there is no $FILE" >&2; return 11; }
    put
    judged $?
    return $?
fi
[ ! -e "$FILE" ] || return 0
get &
getting=$!
(while [ ! -e "$FILE" ] && kill -0 "$getting" 2>/dev/null; do sleep 0.1; done
 [ ! -e "$FILE" ] || pkill -P "$getting" 2>/dev/null; kill "$getting" 2>/dev/null) >/dev/null 2>&1 &
wait "$getting"
code=$?
if [ -e "$FILE" ]; then # another site was quicker
    rm -f "$coming"
    return 0
fi
judged "$code" || { code=$?; rm -f "$coming"; return "$code"; }
digest=$(sha256_in <"$coming")
# Without SHA256 nobody has signed for it: then age and PostgreSQL are all that prove anything.
if [ "$(stat -c %s "$coming")" != "$SIZE" ] || [ "$digest" != "${SHA256:-$digest}" ]; then
    echo "it has $(stat -c %s "$coming") bytes and SHA-256 $digest" >&2
    rm -f "$coming"
    return 10
fi
mv "$coming" "$FILE"
