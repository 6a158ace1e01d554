# Words of command lines that look like a secret, masked: a filter of lines.
masked() {
    sed -E -e 's/(-{0,2}[A-Za-z0-9_.]*([Pp]ass(word|wd|phrase)?|PASS(WORD|WD)?|[Ss]ecret|SECRET|[Tt]oken|TOKEN|[Aa]pi[_-]?[Kk]ey|API_?KEY)[A-Za-z0-9_]*[= :]+)("[^"]*"|[^ ,;&]+)/\1***/g' \
        -e 's#([A-Za-z][A-Za-z0-9+.-]*://[^ :/@]*:)[^ @]+@#\1***@#g'
}
