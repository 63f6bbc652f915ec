# A lab of 3 central nodes, 2 gateways and 2 computes the way people script it by hand: one step after the other, stock daemons,
# until three members serve both databases and four chassis are registered. Prints the seconds that took.
# It must run as PID 1 of fresh network, mount and PID namespaces (bench/lab_up.py sees to it): its end takes everything along.
set -eu
began=$(date +%s.%N)
mount -t tmpfs peer /run
mkdir -p /run/netns
ip link set lo up
ip link add underlay type bridge forward_delay 0
ip link set underlay up

number=0
for node in c1 c2 c3 g1 g2 n1 n2; do
    number=$((number + 1))
    ip netns add $node
    ip link add u-$node type veth peer name eth0 netns $node
    ip link set u-$node master underlay up
    ip -n $node link set lo up
    ip -n $node link set eth0 up
    ip -n $node address add 10.99.0.$number/24 dev eth0
    ip netns exec $node ethtool -K eth0 tx off > /dev/null
    mkdir -p /run/$node
done

# in NODE COMMAND...: with the node's network and run directory
in_node() {
    node=$1
    shift
    OVS_RUNDIR=/run/$node OVN_RUNDIR=/run/$node OVS_LOGDIR=/run/$node OVN_LOGDIR=/run/$node ip netns exec $node "$@"
}

NB=tcp:10.99.0.1:6641,tcp:10.99.0.2:6641,tcp:10.99.0.3:6641
SB=tcp:10.99.0.1:6642,tcp:10.99.0.2:6642,tcp:10.99.0.3:6642
for number in 1 2 3; do
    for database in nb:OVN_Northbound:6641:6643 sb:OVN_Southbound:6642:6644; do
        IFS=: read -r short name client raft <<EOF
$database
EOF
        file=/run/c$number/$short.db
        if [ $number = 1 ]; then
            ovsdb-tool create-cluster $file /usr/share/ovn/ovn-$short.ovsschema tcp:10.99.0.1:$raft
        else
            ovsdb-tool join-cluster $file $name tcp:10.99.0.$number:$raft tcp:10.99.0.1:$raft
        fi
        in_node c$number ovsdb-server $file --remote=punix:/run/c$number/$short.sock \
            --remote=ptcp:$client:0.0.0.0 --unixctl=/run/c$number/$short.ctl --pidfile=/run/c$number/$short.pid --detach \
            --log-file=/run/c$number/$short.log -vconsole:off
        in_node c$number ovsdb-client --timeout=30 wait unix:/run/c$number/$short.sock $name connected
    done
done
for number in 1 2 3; do
    in_node c$number ovn-northd --ovnnb-db=$NB --ovnsb-db=$SB --pidfile --detach --log-file -vconsole:off
done

number=3
for node in g1 g2 n1 n2; do
    number=$((number + 1))
    ovsdb-tool create /run/$node/conf.db /usr/share/openvswitch/vswitch.ovsschema
    in_node $node ovsdb-server /run/$node/conf.db --remote=punix:/run/$node/db.sock --pidfile --detach --log-file -vconsole:off
    in_node $node ovs-vsctl --no-wait init
    in_node $node ovs-vswitchd --pidfile --detach --log-file -vconsole:off
    in_node $node ovs-vsctl --timeout=30 set Open_vSwitch . external_ids:system-id=$node external_ids:ovn-remote=\"$SB\" \
        external_ids:ovn-encap-type=geneve external_ids:ovn-encap-ip=10.99.0.$number \
        external_ids:ovn-bridge-datapath-type=netdev \
        -- add-br br-phy -- set Bridge br-phy datapath_type=netdev -- add-port br-phy eth0
    ip -n $node address flush dev eth0
    ip -n $node address add 10.99.0.$number/24 dev br-phy
    ip -n $node link set br-phy up
    in_node $node ovn-controller unix:/run/$node/db.sock --pidfile --detach --log-file -vconsole:off
done

for try in $(seq 300); do
    registered=$(in_node c1 ovn-sbctl --timeout=10 --db=$SB --bare --columns=name list Chassis | grep -c . || :)
    [ "$registered" = 4 ] && break
    sleep 0.1
done
[ "$registered" = 4 ] || { echo "only $registered of 4 chassis registered" >&2; exit 1; }
echo "$began $(date +%s.%N)" | awk '{ printf "%.3f\n", $2 - $1 }'
