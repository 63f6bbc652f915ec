# PID 1 of a lab node: builds the node's private file system, then reaps orphans for ever.
# Kill it from outside and the kernel kills every process of the node at once: power off.
#
# Usage: init.sh HOSTNAME DIRECTORY [VISIBLE...]    (started by ovenbird.lab.boot inside fresh namespaces)
#   DIRECTORY  keeps the node's disk: etc/ (what differs from the host's), var/lib/, var/log/
#   VISIBLE    paths below /run or /tmp that must stay visible in the node (the code itself may lie there)
# It prints its pid as the host sees it, waits for the line "go" (end of file: its maker died, so it leaves), and prints
# "ready" when the node is built. It must never write anywhere but below DIRECTORY and into the node's own mounts.
set -eu
umask 022
read -r pid _ < /proc/self/stat # /proc is still the host's
echo "$pid"
read -r word || exit 1
[ "$word" = go ] || exit 1

hostname=$1 directory=$2
shift 2
mount='mount -n -c' # -n: /run, which holds mount's own table, is replaced; -c: paths are taken as they stand
cd "$directory"     # relative paths reach the node's disk even when what lies above it has been covered

# fresh TARGET MODE [VISIBLE...]: a new tmpfs on TARGET, staged aside so that what must stay visible can be carried over.
fresh() {
    target=$1 mode=$2
    shift 2
    $mount -t tmpfs -o "mode=$mode" "lab${target##*/}" stage
    for path in "$@"; do
        case $path in "$target"/*)
            mkdir -p "stage${path#"$target"}"
            $mount --bind "$path" "stage${path#"$target"}"
            ;;
        esac
    done
    $mount --move stage "$target"
}

echo "$hostname" > /proc/sys/kernel/hostname
$mount -t proc proc /proc
$mount -t sysfs sysfs /sys
$mount -t tmpfs -o mode=1777 labshm /dev/shm
fresh /tmp 1777 "$@"
fresh /run 755 "$@"
mkdir -p /run/lock
# Only the differences from the host's /etc are the node's own. Where the kernel refuses an overlay, copy once.
if ! $mount -t overlay -o "lowerdir=/etc,upperdir=etc,workdir=etc.work" labetc /etc; then
    for path in /etc/* /etc/.[!.]*; do
        [ -e "etc/${path##*/}" ] || [ ! -e "$path" ] || cp -a "$path" etc/
    done
    $mount --bind etc /etc
fi
if [ -e volume.img ]; then # a small file system of the node's own; without it the node must not come up empty
    $mount -t ext4 -o loop volume.img var/lib
    mkdir -p var/lib/ovn var/lib/openvswitch var/lib/ovenbird var/lib/misc
fi
for path in "$@"; do # the code may also lie below /var/lib, which the node's own is about to cover
    case $path in /var/lib/*)
        mkdir -p "var/lib${path#/var/lib}"
        $mount --bind "$path" "var/lib${path#/var/lib}"
        ;;
    esac
done
$mount --bind var/log /var/log
$mount --rbind var/lib /var/lib

cd /
echo ready
exec < /dev/null > /dev/null 2>&1
while :; do
    sleep infinity &
    wait $! || :
done
