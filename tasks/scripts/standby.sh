# The settings by which a server follows a primary. VERB: read, ask, write (of a stopped server); passfile (of any).
# CONNINFO and SLOT: whole lines for postgresql.auto.conf. PASSFILE gets PASSLINE, unless that is empty: a password does not
# stand in the connection string, which servers write to their log.
auto=$PGDATA/postgresql.auto.conf

write_passfile() {
    [ -n "$PASSLINE" ] || return 0
    rm -f "$PASSFILE.new" && (umask 077 && printf '%s\n' "$PASSLINE" >"$PASSFILE.new") &&
        chown "$OS_USER:$(id -g "$OS_USER")" "$PASSFILE.new" && mv "$PASSFILE.new" "$PASSFILE" || return 1
    as_owner test -r "$PASSFILE" || { echo "$OS_USER cannot read $PASSFILE: open its directory" >&2; return 1; }
}

case "$VERB" in
read) echo "conninfo=$(grep -E '^ *primary_conninfo *=' "$auto" 2>/dev/null | tail -n 1 | base64 -w 0)" ;;
ask)
    [ -e "$PGDATA/standby.signal" ] && [ ! -e "$PGDATA/recovery.signal" ] || return 0
    [ "$(grep -E '^ *primary_conninfo *=' "$auto" | tail -n 1)" = "$CONNINFO" ] || return 0
    [ -z "$PASSLINE" ] || [ "$(cat "$PASSFILE" 2>/dev/null)" = "$PASSLINE" ] || return 0
    [ "$(grep -E '^ *primary_slot_name *=' "$auto" | tail -n 1)" = "$SLOT" ] && echo "set=1"
    ;;
passfile)
    guard || return $?
    write_passfile || return 1
    ;;
write)
    guard || return $?
    write_passfile || return 1
    as_owner touch "$PGDATA/standby.signal" || return 1
    rm -f "$PGDATA/recovery.signal"
    # The file is written anew: pg_rewind leaves the primary's own port, slot and connection string in it.
    { grep -vE '^ *(primary_conninfo|primary_slot_name|recovery_target[a-z_]*) *=' "$auto" 2>/dev/null
      printf '%s\n%s\n' "$CONNINFO" "$SLOT"; } >"$auto.recoverd" || return 1
    chmod 0600 "$auto.recoverd" && chown "$OS_USER:$(id -g "$OS_USER")" "$auto.recoverd" && mv "$auto.recoverd" "$auto" && sync
    ;;
esac
return 0
