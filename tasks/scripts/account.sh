# An account of this host is locked out, or let in again. VERB: look, state, lock, release. ACCOUNT, RUN; LOGIN is the account
# that recoverd logs in with, LIMIT_S how long its processes may take to end. After account_processes.sh.
#
# What the release needs stays here, in a directory that only root reads, with the password's hash where it always was:
# one directory an account, and in it one file a run that wants it locked. The last of these runs puts everything back.
umask 077
cd / || return 1
kept=$STATE/contain/accounts/$ACCOUNT
tab=$(printf '\t')
for tool in awk usermod chage setpriv; do
    command -v "$tool" >/dev/null 2>&1 || { echo "$tool is not there, without which no account is locked here" >&2; return 1; }
done

of_passwd() { awk -F: -v name="$ACCOUNT" -v n="$1" '$1 == name { print $n; exit }' /etc/passwd; }
of_shadow() { awk -F: -v name="$ACCOUNT" -v n="$1" '$1 == name { print $n; exit }' /etc/shadow; }
saved() { sed -n "s/^$1=//p" "$kept/saved" 2>/dev/null | head -n 1; }
nologin() { for one in /usr/sbin/nologin /sbin/nologin /bin/false; do [ -x "$one" ] && echo "$one" && return; done; }
fingerprint() { printf '%s' "$1" | sha256_in; }

# Whether the account could be locked by this host at all; says why not.
is_here() {
    uid=$(of_passwd 3)
    if [ -n "$uid" ]; then return 0; fi
    if getent passwd "$ACCOUNT" >/dev/null 2>&1; then echo remote=1; else echo absent=1; fi
    return 1
}

# Where sshd looks for keys of an account, "$1", one path a line.
key_files() {
    home=$(awk -F: -v name="$1" '$1 == name { print $6; exit }' /etc/passwd)
    number=$(awk -F: -v name="$1" '$1 == name { print $3; exit }' /etc/passwd)
    patterns=$(sshd -T -C "user=$1,host=localhost,addr=127.0.0.1" 2>/dev/null | sed -n 's/^authorizedkeysfile //p')
    for pattern in ${patterns:-.ssh/authorized_keys .ssh/authorized_keys2}; do
        [ "$pattern" != none ] || continue
        case "$pattern" in /* | %h*) ;; *) pattern=%h/$pattern ;; esac
        printf '%s\n' "$pattern" | awk -v home="${home%/}" -v name="$1" -v number="$number" '{
            out = ""
            while (i = index($0, "%")) {
                c = substr($0, i + 1, 1)
                out = out substr($0, 1, i - 1) (c == "h" ? home : c == "u" ? name : c == "U" ? number : "%")
                $0 = substr($0, i + 2)
            }
            print out $0
        }'
    done
}

# Whether a file of keys, "$1", is the account's alone: a link that leads into another home must not lock that one out.
is_its_own() {
    for other in root "$LOGIN"; do
        [ "$other" != "$ACCOUNT" ] || continue
        for theirs in $(key_files "$other"); do
            if [ "$1" -ef "$theirs" ] || [ "$1" = "$theirs" ]; then return 1; fi
        done
    done
    real=$(readlink -f "${1%/*}")
    home=$(of_passwd 6)
    case "$1" in
    "$home"/*) case "$real/" in "$(readlink -f "$home")"/*) return 0 ;; esac ;;
    *) [ "$real" = "${1%/*}" ] && [ "${1##*/}" != authorized_keys ] && return 0 ;;
    esac
    return 1
}

# What starts something for the account by itself, one path a line: its crontab, its jobs of at, its user manager without a login.
starters() {
    for one in /var/spool/cron/crontabs/"$ACCOUNT" /var/spool/cron/"$ACCOUNT" /var/lib/systemd/linger/"$ACCOUNT"; do
        [ ! -f "$one" ] || echo "$one"
    done
    for jobs in /var/spool/cron/atjobs /var/spool/at; do
        [ ! -d "$jobs" ] || find "$jobs" -maxdepth 1 -type f -uid "$uid" ! -name '.*' 2>/dev/null
    done
}

# System services that run as the account; systemd would start them again as fast as they are killed.
units() {
    [ -d /run/systemd/system ] || return 0
    for pid in $(account_pids); do
        sed -n 's,^.*:/system\.slice/\(.*/\)*\([^/]*\.service\)$,\2,p' "/proc/$pid/cgroup" 2>/dev/null
    done | sort -u | while read -r unit; do
        case "$(systemctl show -p User --value "$unit" 2>/dev/null)" in "$ACCOUNT" | "$uid") echo "$unit" ;; esac
    done
}

is_shut() {
    [ "$(of_passwd 7)" = "$(nologin)" ] && [ "$(of_shadow 8)" = 0 ] || return 1
    case "$(of_shadow 2)" in '!'*) ;; *) return 1 ;; esac
}

# Move a file aside, once; "$2" is the list that it is noted in before it goes.
aside() {
    number=$(($(wc -l <"$kept/files" 2>/dev/null || echo 0) + 1))
    printf '%s\t%s\n' "$number" "$1" >>"$kept/files" && sync "$kept/files" && mv -T -- "$1" "$kept/$number"
}

look() {
    is_here || return 0
    printf 'uid=%s\nhome=%s\n' "$uid" "$(of_passwd 6)"
    awk -F: -v uid="$uid" -v name="$ACCOUNT" '$3 == uid && $1 != name { print "twin=" $1 }' /etc/passwd
    if is_root_by_sudo "$ACCOUNT"; then
        echo sudo=1
        awk -F: '$3 > 0 && $7 !~ /(nologin|false|sync)$/ { print $1 }' /etc/passwd | while read -r other; do
            if [ "$other" != "$ACCOUNT" ] && is_root_by_sudo "$other"; then echo "sudoer:$other=1"; fi
        done
    fi
    echo "processes=$(account_pids | wc -l)"
}
is_root_by_sudo() {
    command -v sudo >/dev/null 2>&1 && sudo -n -l -U "$1" 2>/dev/null | grep -q '^ *(\(ALL\|root\)[ :)]'
}

state() {
    [ ! -e "$kept/saved" ] || echo kept=1
    [ ! -e "$kept/runs/$RUN" ] || echo mine=1
    [ ! -e "$kept/releasing" ] || echo releasing=1
    for one in "$kept"/runs/*; do [ ! -e "$one" ] || echo "run:${one##*/}=1"; done
    is_here || return 0
    ! is_shut || echo shut=1
    for file in $(key_files "$ACCOUNT"); do
        if [ -e "$file" ] || [ -L "$file" ]; then if is_its_own "$file"; then echo keys=1; else echo "shared=$file"; fi; fi
    done
    [ -z "$(starters)" ] || echo starters=1
    echo "processes=$(account_pids | wc -l)"
    [ ! -e "$kept/files" ] || echo "aside=$(wc -l <"$kept/files")"
    [ ! -e "$kept/ended" ] || echo "ended=$(cat "$kept/ended")"
}

remember() {
    [ ! -e "$kept/saved" ] || return 0
    field=$(of_shadow 2)
    case "$field" in '!'*) was=locked ;; '') was=empty ;; *) was=open ;; esac
    {
        echo "shell=$(of_passwd 7)"
        echo "expiry=$(of_shadow 8)"
        echo "password=$was"
        echo "hash=$(fingerprint "${field#!}")"
    } >"$kept/saved.new" && sync "$kept/saved.new" && mv "$kept/saved.new" "$kept/saved"
}

lock() {
    guard || return $?
    is_here || return 0
    if [ "$uid" = 0 ] || [ "$ACCOUNT" = "$LOGIN" ]; then echo "$ACCOUNT must not be locked" >&2; return 1; fi
    [ ! -e "$kept/releasing" ] || { echo "a release of $ACCOUNT was broken off: it has to end first" >&2; return 1; }
    mkdir -p "$kept/runs" && remember && : >"$kept/runs/$RUN" && sync "$kept/runs/$RUN" || return 1
    chage -E 0 "$ACCOUNT" && usermod -L -s "$(nologin)" "$ACCOUNT" || return 1
    stop_units || return 1
    for file in $(starters); do aside "$file" || return 1; done
    end_processes || return 1
    first=$ended
    for file in $(key_files "$ACCOUNT"); do
        if { [ -f "$file" ] || [ -L "$file" ]; } && is_its_own "$file"; then aside "$file" || return 1; fi
    done
    for file in $(starters); do aside "$file" || return 1; done # what its processes left while they were ended
    end_processes || return 1
    [ -e "$kept/ended" ] || echo "$first" >"$kept/ended"
}

stop_units() {
    list=$(units)
    for unit in $list; do
        grep -qxF "$unit" "$kept/units" 2>/dev/null || echo "$unit" >>"$kept/units"
        mkdir -p "/etc/systemd/system/$unit.d" && (
            umask 022
            printf '# by recoverd: %s is contained\n[Unit]\nConditionPathExists=!%s\n' "$ACCOUNT" "$kept/saved" \
                >"/etc/systemd/system/$unit.d/recoverd-contain.conf"
        ) || return 1
    done
    [ -z "$list" ] || { systemctl daemon-reload && timeout 60 systemctl stop $list 9>&-; }
}

# What somebody has changed since the account was locked, which a release would overwrite.
changed() {
    [ "$(of_passwd 7)" = "$(nologin)" ] || echo "its shell is $(of_passwd 7) now"
    [ "$(of_shadow 8)" = 0 ] || echo "its day of expiry was changed"
    field=$(of_shadow 2)
    case "$field" in '!'*) [ "$(fingerprint "${field#!}")" = "$(saved hash)" ] || echo "its password was changed" ;; *) echo "its password was unlocked" ;; esac
    while IFS=$tab read -r number file; do
        if [ -e "$file" ] || [ -L "$file" ]; then echo "there is a new $file"; fi
        [ -d "${file%/*}" ] || echo "${file%/*} is gone"
        [ -e "$kept/$number" ] || [ -L "$kept/$number" ] || echo "what was kept of $file is gone"
    done <"$kept/files"
}

release() {
    guard || return $?
    [ -e "$kept/saved" ] || return 0
    is_here || { echo "the account $ACCOUNT is no longer here; what was kept of it is in $kept" >&2; return 1; }
    if [ ! -e "$kept/releasing" ]; then
        others=$(find "$kept/runs" -type f ! -name "$RUN" | wc -l)
        if [ "$others" -gt 0 ]; then rm -f "$kept/runs/$RUN"; return 0; fi
        : >>"$kept/files"
        found=$(changed | head -n 1)
        [ -z "$found" ] || { echo "$ACCOUNT was changed since it was locked: $found" >&2; return 1; }
        : >"$kept/releasing" && sync "$kept/releasing" || return 1
    fi
    while IFS=$tab read -r number file; do
        if [ -e "$kept/$number" ] || [ -L "$kept/$number" ]; then mv -nT -- "$kept/$number" "$file" || return 1; fi
    done <"$kept/files"
    usermod -s "$(saved shell)" "$ACCOUNT" || return 1
    case "$(saved password)" in
    open) case "$(of_shadow 2)" in '!'*) usermod -U "$ACCOUNT" || return 1 ;; esac ;;
    empty) passwd -q -d "$ACCOUNT" || return 1 ;;
    esac
    expiry=$(saved expiry)
    chage -E "${expiry:--1}" "$ACCOUNT" || return 1
    start_units
    rm -rf "$kept"
}

start_units() {
    [ -e "$kept/units" ] || return 0
    while read -r unit; do
        rm -f "/etc/systemd/system/$unit.d/recoverd-contain.conf"
        rmdir "/etc/systemd/system/$unit.d" 2>/dev/null
    done <"$kept/units"
    systemctl daemon-reload
    timeout 60 systemctl --no-block start $(cat "$kept/units") 9>&-
}

case "$VERB" in
look | state | lock | release) "$VERB" ;;
*) echo "no such verb: $VERB" >&2 && return 2 ;;
esac
