# The list of a set of kind "files": what its stream of tar holds. A line each beginning with `# `, as `tar -tvv` prints it with
# quoted names; below that of a file, its SHA-256 and name as `sha256sum` writes them, so that `sha256sum -c` reads the list.
# `tar` gives names in double quotes, as in C; they are compared in that form, and turned back only where a file is touched.
listing() {
    mode=$1
    shift
    tar "$mode" -P -vv --full-time --utc --numeric-owner --quoting-style=c -f - "$@"
}

# tar without what EXCLUDE says (a line each).
excluding() {
    while IFS= read -r pattern; do
        case "$pattern" in
        '') ;;
        /*) set -- --anchored --no-wildcards-match-slash "--exclude=${pattern#/}" "$@" ;;
        *) set -- --no-anchored --wildcards-match-slash "--exclude=$pattern" "$@" ;;
        esac
    done <<PATTERNS
$EXCLUDE
PATTERNS
    tar "$@"
}

quoted='
function names(line,    at) { # sets type, size, name, target (quoted, without the quotes), rest
    type = substr(line, 1, 1); split(line, word, " +"); size = word[3]
    at = match(line, /"([^"\\]|\\.)*"/); name = substr(line, at + 1, RLENGTH - 2); rest = substr(line, at)
    line = substr(line, at + RLENGTH); target = ""
    if (match(line, /"([^"\\]|\\.)*"/)) target = substr(line, RSTART + 1, RLENGTH - 2)
    sub(/\/$/, "", name)
}
'

# $1: lines of `listing`, $2: lines of sha256sum for its files, in order. Gives the list; fails where they do not fit.
make_list() {
    awk -v sums="$2" "$quoted"'
function plain(text,    out, c, n, odd) { # as sha256sum writes a name
    out = ""; odd = ""
    while (text != "") {
        c = substr(text, 1, 1)
        if (c != "\\") { out = out c; text = substr(text, 2); continue }
        c = substr(text, 2, 1)
        if (c ~ /[0-7]/) { n = substr(text, 2, 1) * 64 + substr(text, 3, 1) * 8 + substr(text, 4, 1); out = out sprintf("%c", n); text = substr(text, 5); continue }
        if (c == "\\" || c == "n") { out = out "\\" c; odd = "\\" }
        else out = out (c == "\"" ? c : sprintf("%c", index("abtnvfr", c) + 6))
        text = substr(text, 3)
    }
    return odd "\t" out
}
{
    names($0); print "# " $0
    if (type == "-") { if ((getline sum < sums) <= 0) { wrong = 1; exit }; sub(/ .*/, "", sum); sum_of[name] = sum }
    else if (type == "h" && target in sum_of) sum_of[name] = sum_of[target]
    else next
    split(plain(name), part, "\t"); text = plain(name); text = substr(text, index(text, "\t") + 1)
    print part[1] sum_of[name] "  " text
}
END { if (wrong || (getline sum < sums) > 0) exit 1 }' "$1"
}

# Names that could be written anywhere but below the directory that they are unpacked to. $1: lines of `listing`. Says the first.
check_names() {
    awk "$quoted"'
function bad(why) { print "\"" name "\" " why; failed = 1; exit 1 }
{
    names($0)
    if (name ~ /^\// || name == "" || ("/" name "/") ~ /\/\.?\.?\//) bad("would leave the directory")
    if (name in kind && (type != "d" || kind[name] != "d")) bad("stands in it twice")
    if (type == "h" && (!(target in kind) || kind[target] == "d")) bad("is a hard link to \"" target "\", which is no file of the set")
    kind[name] = type
}
END {
    if (failed) exit 1
    for (name in kind) {
        above = name
        while (sub(/\/[^\/]*$/, "", above)) if (above in kind && kind[above] != "d") bad("would be written through \"" above "\", which is no directory")
    }
}' "$1"
}

# $1: a list, $2: wanted paths, quoted, a line each; none: all. Writes, below $3: `entries` (type, name and target as formats of
# printf, quoted name; type a: a directory above something wanted), `members` (for tar -T), `helpers` (needed only to unpack), `sums`, `bytes`.
# Fails and says so where the list has no such path.
choose() {
    WANTED=$2 awk -v into="$3" "$quoted"'
function format(name) { gsub(/%/, "%%", name); gsub(/\\"/, "\"", name); return name == "" ? "." : name }
function entry(type, name) { printf "%s\t%s\t%s\t%s\n", type, format(name), format(to[name]), name > (into "/entries") }
function member(name) { gsub(/\\"/, "\"", name); sub(/^-/, "\\055", name); print name > (into "/members") }
function chosen(name,    i) {
    if (!count) return 1
    for (i = 1; i <= count; i++) if (name == want[i] || index(name, want[i] "/") == 1) { found[i] = 1; return 1 }
    return 0
}
BEGIN {
    count = split(ENVIRON["WANTED"], want, "\n")
    for (file = 1; file <= split("entries members helpers sums", out, " "); file++) printf "" > (into "/" out[file])
}
/^# / {
    names(substr($0, 3)); last = name; order[++total] = name; kind[name] = type; to[name] = target
    if (chosen(name)) { mine[name] = 1; if (type == "-") bytes += size }
    next
}
last in mine { print > (into "/sums") }
END {
    for (i = 1; i <= count; i++) if (!found[i]) { print "the set has no /" want[i]; exit 1 }
    for (name in mine) if (kind[name] == "h" && !(to[name] in mine)) helper[to[name]] = 1
    for (name in mine) { above = name; while (sub(/\/[^\/]*$/, "", above)) if (above in kind && !(above in mine)) parent[above] = 1 }
    for (i = 1; i <= total; i++) {
        name = order[i]
        if (name in mine) entry(kind[name], name)
        else if (name in parent) entry("a", name)
        if (name in helper) print name > (into "/helpers")
        if (name in mine || name in parent || name in helper) member(name)
    }
    printf "%.0f\n", bytes > (into "/bytes")
}' "$1"
}

# A name from `entries` as it is. The dot keeps a newline at its end.
named() {
    name=$(printf -- "$1.")
    name=${name%.}
}
