# Decrypt small files that recoverd has read from a site, such as a timeline's history; nothing is written on this host.
# FILES: a line each: name, tab, base64 of the encrypted file. IDENTITY (age, a secret). Gives a line each: name, tab, base64.
one() { # the identity goes through a descriptor: it is in no file and in no process list
    printf '%s\n' "$IDENTITY" | age -d -i /dev/fd/3 3<&0 <&4 # a here-document would be a file in some shells
} 4<&0
for tool in age zstd base64; do command -v "$tool" >/dev/null || { echo "the command $tool is missing" >&2; return 1; }; done
tab=$(printf '\t')
printf '%s\n' "$FILES" | while IFS="$tab" read -r name content; do
    [ -n "$name" ] || continue
    plain=$(printf %s "$content" | base64 -d | { one; } | zstd -q -d | base64 -w 0)
    printf '%s\t%s\n' "$name" "$plain"
done
