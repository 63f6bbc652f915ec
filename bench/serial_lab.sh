#!/bin/sh
# The peer of the `lab_up` benchmark: the same seven nodes and daemons as a person would script them, one after the other,
# with the stock tools. Runs in namespaces of its own (unshare); prints the seconds until all chassis have their tunnels.
# Argument: the Ovenbird schema file (its database is started here, too, so that both start the same daemons).
set -eu
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare -n -m -p -i --fork --kill-child --mount-proc sh "$0" "$@"
fi
ovenbird_schema=$1
start=$(date +%s%N)
mount --make-rprivate /
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add underlay type bridge
ip link set underlay up
ip link add outside type bridge
ip link set outside up

in_node() { node=$1; shift; OVS_RUNDIR=/run/$node OVN_RUNDIR=/run/$node OVS_LOGDIR=/run/$node OVN_LOGDIR=/run/$node OVS_DBDIR=/run/$node ip netns exec "$node" "$@"; }
daemon() { node=$1; name=$2; shift 2; in_node "$node" "$@" --detach --monitor --no-chdir --pidfile="/run/$node/$name.pid" --log-file="/run/$node/$name.log" -vconsole:off; }

index=0
for node in c1 c2 c3 g1 g2 n1 n2; do
    index=$((index + 1))
    mkdir -p "/run/$node"
    ip netns add $node
    ip -n $node link set lo up
    ip link add u$node type veth peer name eth0 netns $node
    ip link set u$node master underlay up
    ip netns exec $node ethtool -K eth0 tx off > /dev/null
    ethtool -K u$node tx off > /dev/null
    case $node in c*) ip -n $node addr add 10.99.0.$index/24 dev eth0; esac
    ip -n $node link set eth0 up
done

server() { # node index database schema client-port raft-port
    file=/run/$1/$3.db
    if [ "$1" = c1 ]; then
        ovsdb-tool create-cluster "$file" "$4" tcp:10.99.0.1:$6
    else
        ovsdb-tool join-cluster "$file" "$3" tcp:10.99.0.$2:$6 tcp:10.99.0.1:$6
    fi
    daemon "$1" "$3" ovsdb-server "$file" --remote=ptcp:$5:0.0.0.0 --remote=punix:/run/$1/$3.sock --unixctl=/run/$1/$3.ctl
}
nb=tcp:10.99.0.1:6641,tcp:10.99.0.2:6641,tcp:10.99.0.3:6641
sb=tcp:10.99.0.1:6642,tcp:10.99.0.2:6642,tcp:10.99.0.3:6642
for index in 1 2 3; do
    server c$index $index OVN_Northbound /usr/share/ovn/ovn-nb.ovsschema 6641 6643
    server c$index $index OVN_Southbound /usr/share/ovn/ovn-sb.ovsschema 6642 6644
    server c$index $index Ovenbird "$ovenbird_schema" 6661 6663
    daemon c$index ovn-northd ovn-northd --ovnnb-db=$nb --ovnsb-db=$sb --unixctl=/run/c$index/ovn-northd.ctl
done
index=3
for node in g1 g2 n1 n2; do
    index=$((index + 1))
    ip link add x$node type veth peer name eth1 netns $node
    ip link set x$node master outside up
    ip -n $node link set eth1 up
    ovsdb-tool create /run/$node/conf.db /usr/share/openvswitch/vswitch.ovsschema
    daemon $node conf ovsdb-server /run/$node/conf.db --remote=punix:/run/$node/db.sock --unixctl=/run/$node/conf.ctl
    in_node $node ovs-vsctl --no-wait init
    daemon $node ovs-vswitchd ovs-vswitchd --disable-system unix:/run/$node/db.sock --unixctl=/run/$node/vswitchd.ctl
    in_node $node ovs-vsctl --no-wait set open . external_ids:system-id=$node external_ids:ovn-remote="$sb" \
        external_ids:ovn-encap-type=geneve external_ids:ovn-encap-ip=10.99.0.$index external_ids:ovn-bridge-mappings=ext:br-ext \
        external_ids:ovn-bridge-datapath-type=netdev
    in_node $node ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev fail-mode=secure
    in_node $node ovs-vsctl add-br br-ext -- set bridge br-ext datapath_type=netdev -- add-port br-ext eth1
    mac=$(ip netns exec $node cat /sys/class/net/eth0/address)
    in_node $node ovs-vsctl add-br br-phy -- set bridge br-phy datapath_type=netdev other_config:hwaddr=$mac -- add-port br-phy eth0
    ip -n $node addr add 10.99.0.$index/24 dev br-phy
    ip -n $node link set br-phy up
    daemon $node ovn-controller ovn-controller unix:/run/$node/db.sock
done
tries=0
while :; do
    ready=yes
    for node in g1 g2 n1 n2; do
        [ "$(in_node $node ovs-vsctl --bare --columns=name find interface type=geneve | grep -c .)" = 3 ] || ready=no
    done
    [ $ready = yes ] && break
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { echo "the serial lab is not ready after $tries looks" >&2; exit 1; }
    sleep 0.05
done
awk "BEGIN { print ($(date +%s%N) - $start) / 1e9 }"
