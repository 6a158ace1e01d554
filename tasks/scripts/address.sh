# Bring a virtual address to this host (VERB=claim) or take it away (VERB=release), and tell the neighbours;
# VERB=ask only says held=1 where it is. EPOCH, ADDRESS (with prefix length), DEVICE (empty: the one whose network the
# address is in).
bare=${ADDRESS%/*}
if [ "$VERB" = ask ]; then
    holds "$bare" && echo "held=1"
    return 0
fi
guard || return $?
if [ "$VERB" = release ]; then
    ip -o addr show to "$bare" 2>/dev/null | while read -r _ device _; do ip addr del "$ADDRESS" dev "$device"; done
    return 0
fi
[ -n "$DEVICE" ] || DEVICE=$(ip -o route get "$bare" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
[ -n "$DEVICE" ] && [ "$DEVICE" != lo ] || { echo "no interface reaches the network of $ADDRESS" >&2; return 1; }
holds "$bare" || ip addr add "$ADDRESS" dev "$DEVICE" || return 1
case "$bare" in
*:*) ;; # IPv6: the kernel's own unsolicited neighbour advertisement does it
*)
    # Neighbours that hold the old hardware address learn the new one. Three frames, since one may be lost; not waited
    # for, since the first leaves at once and whether users get through is proven later.
    command -v arping >/dev/null || { echo "arping is missing: neighbours keep the old address for a minute" >&2; return 0; }
    (arping -q -U -c 3 -I "$DEVICE" "$bare" >/dev/null 2>&1 9>&- &)
    (arping -q -A -c 3 -I "$DEVICE" "$bare" >/dev/null 2>&1 9>&- &)
    ;;
esac
return 0
