#!/bin/sh
# udhcpc calls this with what a DHCP server offered (busybox: networking/udhcp); it configures $interface of the namespace it runs in.
case $1 in
bound | renew)
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    ip address replace "$ip/${mask:-32}" dev "$interface"
    for gateway in $router; do
        ip route replace default via "$gateway" dev "$interface"
        break
    done
    ;;
esac
