# What this host has of what backups and restores need: key=value lines. Reads only. TOOLS; PROGRAMS in BIN, which may be none.
echo "now=$(date +%s.%N)"
missing=
for tool in $TOOLS; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
echo "missing_tools=${missing# }"
missing=
for program in $PROGRAMS; do [ -x "$BIN/$program" ] || missing="$missing $program"; done
echo "missing_programs=${missing# }"
[ -z "$PROGRAMS" ] || [ ! -x "$BIN/postgres" ] || echo "version=$("$BIN/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')"
return 0
