# Bring one table of a scratch server on this host into the live service under a new name, in one transaction; bytes go straight
# from here to there. FROM_DATABASE, COPY (SQL: its rows to standard output), TO (connection string without a password), SECRET,
# MAKE (SQL: makes the new table), LOAD (SQL: its rows from standard input). WORK, PORT, BIN, DB_USER.
# Only a copy that came to its end is committed.
cd /
rows() { as_owner env PGDATABASE="$FROM_DATABASE" "$BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$WORK/server" -p "$PORT" -U "$DB_USER" -c "$COPY"; }
into() {
    PGPASSWORD=$SECRET "$BIN/psql" -X -q -v ON_ERROR_STOP=1 -d "$TO"
}
{
    printf 'begin;\n%s;\n%s;\n' "$MAKE" "$LOAD"
    if rows; then printf '\\.\ncommit;\n'; else printf '\\.\nrollback;\nselect 1 / 0 as the_copy_broke_off;\n'; fi
} | into
