# The addresses of this host that others may know.
ip -o addr show scope global 2>/dev/null | awk '$3 ~ /^inet6?$/ { split($4, a, "/"); print "own:" a[1] "=1" }'
