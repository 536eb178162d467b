#!/bin/sh
# Takes a pair through every fault that BatonMQ knows and keeps the reports, for a nightly job or
# before an upgrade. Exit code 0: everything acknowledged arrived, in order, and nothing twice.
#
#   examples/drill.sh                    a pair of its own, on a temporary directory
#   examples/drill.sh /mnt/efs/drill     a pair of its own, on the storage that you want to know
#
# To drill a pair that runs already, with its own supervisor to start what was killed:
#
#   baton drill --url 'failover:(tcp://a:61616,tcp://b:61616)' \
#       --status http://a:8161,http://b:8161 \
#       --fault kill --fault-command 'ssh "$BATON_ACTIVE" systemctl kill -s KILL baton'
set -eu

baton=${BATON:-baton}
reports=${REPORTS:-drill-$(date +%Y-%m-%dT%H:%M:%S)}
rounds=${ROUNDS:-9}
backlog=${BACKLOG:-10000}

set -- ${1:+--directory "$1"}

exec "$baton" drill "$@" \
    --fault kill,term,stop \
    --rounds "$rounds" \
    --backlog "$backlog" --verify-backlog \
    --report "$reports"
