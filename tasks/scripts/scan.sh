# Files of this host are held against ClamAV's signatures; nothing is changed. PATHS, one a line; DATABASE, a file or directory of
# signatures, or empty: where freshclam puts them; LIMIT_S, how long it may take.
#
# The list of files is made here and not by clamscan: names with a line break in them could say what they want in its output. Such
# files are counted, and not scanned. Network file systems are left to the hosts that they belong to, unless PATHS names one.
umask 077
cd / || return 1
work=$STATE/scan.$$
tab=$(printf '\t')
nl='
'
command -v clamscan >/dev/null 2>&1 || { echo no_clamav=1; return 0; }
database=${DATABASE:-/var/lib/clamav}

# By which signatures: the version that the official ones have, else what the files are; and the day of the newest of them.
signatures() {
    said=$(clamscan --version --database="$database" 2>/dev/null | head -n 1)
    rest=${said#ClamAV }
    echo "engine=${rest%%/*}"
    files=$(find "$database" -maxdepth 1 -type f \( -name '*.c[lvu]d' -o -name '*.hs[bu]' -o -name '*.hd[bu]' -o -name '*.nd[bu]' \
        -o -name '*.ld[bu]' -o -name '*.md[bu]' -o -name '*.ms[bu]' -o -name '*.yar' -o -name '*.yara' -o -name '*.cdb' \) 2>/dev/null | sort)
    [ -n "$files" ] || { echo no_database=1; return 0; }
    case "$rest" in
    */*/*) version=${rest#*/} && echo "database=${version%%/*}" ;;
    *) echo "database=sha256:$(printf '%s\n' "$files" | while read -r one; do cat "$one"; done | sha256_in | cut -c 1-16)" ;;
    esac
    printf '%s\n' "$files" | while read -r one; do stat -c 'database_at=%Y' "$one"; done | sort | tail -n 1
}

list() {
    printf '%s\n' "$PATHS" | while read -r path; do
        [ -z "$path" ] || [ -e "$path" ] || { echo "missing=$path"; continue; }
        find "$path" \( -fstype proc -o -fstype sysfs -o -fstype devtmpfs -o -fstype devpts -o -fstype cgroup2 -o -fstype cgroup \
            -o -fstype bpf -o -fstype tracefs -o -fstype debugfs -o -fstype securityfs -o -fstype configfs -o -fstype mqueue \
            -o -path "$STATE" -o -name .recoverd-quarantine \
            -o \( \( -fstype nfs -o -fstype nfs4 -o -fstype cifs -o -fstype smb3 -o -fstype 9p -o -fstype fuse.sshfs \) ! -path "$path" \) \
            \) -prune -o -type f -size +0 \( -path "*$nl*" -printf 'odd=1\n' -o -fprint "$work/part" \) 2>/dev/null
        cat "$work/part" >>"$work/list" 2>/dev/null
    done
}

scan() {
    mkdir -p "$work" || return 1
    : >"$work/list"
    signatures
    list >"$work/said"
    grep '^missing=' "$work/said"
    echo "odd=$(grep -c '^odd=' "$work/said")"
    echo "files=$(wc -l <"$work/list")"
    if [ ! -s "$work/list" ]; then return 0; fi
    timeout -k 10 "$LIMIT_S" nice -n 10 clamscan --database="$database" --alert-exceeds-max=yes --max-filesize=2000M \
        --max-scansize=2000M --stdout --infected --file-list="$work/list" >"$work/out" 2>"$work/err"
    echo "code=$?"
    awk -F ': *' '$1 == "Known viruses" { print "signatures=" $2 } $1 == "Scanned files" { print "scanned=" $2 }' "$work/out"
    grep -q 'Infected files:' "$work/out" && echo through=1
    sed -n 's/ FOUND$//p' "$work/out" | awk '{
        for (i = length($0); i > 0 && substr($0, i, 2) != ": "; i--);
        print "found\t" substr($0, i + 2) "\t" substr($0, 1, i - 1)
    }'
    # A file that went away meanwhile is nothing to wonder at; one that is there and could not be read is.
    sed -n "s/^WARNING: \(.*\): Can't access file.*/\1/p; s/^\(.*\): .* ERROR$/\1/p" "$work/out" "$work/err" | sort -u | while IFS= read -r file; do
        [ ! -e "$file" ] || printf 'unread\t\t%s\n' "$file"
    done
    grep -m 1 -h 'ERROR' "$work/err" "$work/out" | sed 's/^/error=/'
    return 0
}

case "$VERB" in
look) signatures ;;
scan) scan; code=$?; rm -rf "$work"; return $code ;;
*) echo "no such verb: $VERB" >&2 && return 2 ;;
esac
