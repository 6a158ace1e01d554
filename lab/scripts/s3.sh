# The service manager of the off-site's S3 server: starts it at boot, and again when it ends.
cd /srv
while :; do
    /etc/seaweedfs/weed -logtostderr=true server -options=/etc/seaweedfs/server.conf >>/srv/weed.log 2>&1
    sleep 0.2
done
