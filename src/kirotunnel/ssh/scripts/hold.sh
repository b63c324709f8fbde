# kirotunnel's port holder, for servers that forward nothing back. Read by /bin/sh from its standard input, which stays
# open as long as the ports are to be held. Each port is listened on, on 127.0.0.1 as the CLI would; whoever connects is
# let go at once.
#
# Set before it: N (nonce that frames our answers), PORTS, LEASE_S (seconds after which it ends by itself).

say() { printf '\n%s %s\n' "$N" "$*"; }

# The first that works is taken. Each of these two stays until standard input ends, and fails at once if it cannot run.
python3 -c '
import os, select, signal, socket, struct, sys
nonce, lease, ports = sys.argv[1], sys.argv[2], sys.argv[3:]
signal.alarm(int(lease))
held = []
for port in ports:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", int(port)))
        listener.listen(1)
    except OSError:
        continue
    held.append(listener)
    sys.stdout.write("\n%s held %s python3\n" % (nonce, port))
sys.stdout.write("\n%s holding\n" % nonce)
sys.stdout.flush()
while True:
    ready = select.select([0] + held, [], [])[0]
    if 0 in ready and not os.read(0, 4096):
        break
    for listener in ready:
        if listener != 0:
            visitor = listener.accept()[0]
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            visitor.close()
' "$N" "$LEASE_S" $PORTS 2>/dev/null && exit 0

perl -MSocket -e '
my ($nonce, $lease, @ports) = @ARGV;
alarm $lease;
$| = 1;
my (@held, $bits);
for my $port (@ports) {
    socket(my $listener, PF_INET, SOCK_STREAM, 0) or next;
    setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($listener, sockaddr_in($port, inet_aton("127.0.0.1"))) and listen($listener, 1) or next;
    push @held, $listener;
    print "\n$nonce held $port perl\n";
}
print "\n$nonce holding\n";
vec($bits, fileno($_), 1) = 1 for (*STDIN, @held);
while (1) {
    select(my $ready = $bits, undef, undef, undef) > 0 or next;
    vec($ready, fileno(STDIN), 1) and (sysread(STDIN, my $text, 4096) or last);
    for my $listener (grep { vec($ready, fileno($_), 1) } @held) {
        accept(my $visitor, $listener) and close $visitor;
    }
}
' "$N" "$LEASE_S" $PORTS 2>/dev/null && exit 0

# The others hold one port each. The netcats, which have the same name, are told apart by their own words.
listen_on() {
	case $tool in
	socat) hold socat "TCP4-LISTEN:$1,bind=127.0.0.1,reuseaddr,fork" EXEC:false ;;
	ncat) hold ncat -l -k -e /bin/false 127.0.0.1 "$1" ;;
	openbsd) hold nc -l -k 127.0.0.1 "$1" ;;
	traditional) hold nc -l -s 127.0.0.1 -p "$1" -q 0 ;;
	busybox) hold busybox nc -l -p "$1" 127.0.0.1 ;;
	esac
}

# Without a terminal there are no process groups, so each has a guard that ends it. Some end with their first visitor,
# with code 0: then it is started anew.
hold() {
	(
		trap 'kill "$!" 2>/dev/null; exit 0' TERM
		while
			"$@" &
			wait "$!"
		do :; done
	) </dev/null >/dev/null 2>&1 &
	guards="$guards $!"
}

tool=
case $(nc -h 2>&1 </dev/null) in
*OpenBSD*) tool=openbsd ;;
*Ncat*) tool=ncat ;;
*BusyBox*) tool=busybox ;;
*v1.10*) tool=traditional ;;
esac
[ -z "$tool" ] && busybox nc --help 2>&1 | grep -q -e '-l' && tool=busybox
command -v ncat >/dev/null 2>&1 && tool=ncat
command -v socat >/dev/null 2>&1 && tool=socat
[ -n "$tool" ] || exit 1

guards=
trap 'kill $guards 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM PIPE
for port in $PORTS; do listen_on "$port"; done
(
	trap 'kill "$!" 2>/dev/null; exit 0' TERM
	sleep "$LEASE_S" &
	wait "$!"
	kill -TERM "$$"
) </dev/null >/dev/null 2>&1 &
guards="$guards $!"
# Nothing says when they listen; whoever reads this looks it up.
sleep 0.3 2>/dev/null || sleep 1
for port in $PORTS; do say held "$port" "$tool"; done
say holding
while read -r _; do :; done
