# A connection to the target's own A:P on standard input and output, for servers that forbid forwarding.
#
# Set before it: N (nonce), A (127.0.0.1 or ::1), P (port). The first that is here and works is taken; what is known to
# lose the end of an answer, or never to end (`nc -N`, `curl telnet://`), is not. `N connected TOOL` comes before the
# first byte; from there on no other is tried, however it ends: the listener would be visited twice.

# curl carries no bytes, but a request: it is read here, and the answer comes as it was given. All of it goes by curl's
# standard input, as arguments are for everybody to see; in its quotes only these two signs mean anything.
by_curl() {
	cr=$(printf '\r') length=0
	read -r method target _ || return 0
	case $A in *:*) host="[$A]" ;; *) host=$A ;; esac
	{
		printf '%s\n' "request = \"$method\"" "url = \"http://$host:$P$(quoted "$target")\""
		while IFS= read -r line && [ -n "${line%"$cr"}" ]; do
			line=${line%"$cr"}
			case $line in [Cc]ontent-[Ll]ength:*) length=${line##*[!0-9]} ;; esac
			printf 'header = "%s"\n' "$(quoted "$line")"
		done
		[ "${length:-0}" -eq 0 ] || printf 'data-binary = "%s"\n' "$(quoted "$(dd bs=1 count="$length" 2>/dev/null)")"
	} | curl -q -s -i -N --raw -g --path-as-is --max-redirs 0 --noproxy '*' --connect-timeout 10 -K -
}

quoted() { printf '%s' "$1" | sed 's/[\\"]/\\&/g'; }

bridge() {
	if command -v python3 >/dev/null 2>&1; then
		python3 -c '
import os, select, socket, sys
port, nonce, address = int(sys.argv[1]), sys.argv[2], sys.argv[3]
try:
    sock = socket.create_connection((address, port), 10)
except OSError:
    print("\n%s refused" % nonce, flush=True)
    sys.exit(3)
sock.settimeout(None)
print("\n%s connected python3" % nonce, flush=True)
try:
    while True:
        ready = select.select([0, sock], [], [])[0]
        if sock in ready:
            data = sock.recv(65536)
            if not data:
                break
            while data:
                data = data[os.write(1, data):]
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            sock.sendall(data)
except OSError:
    pass  # one of both sides is gone
' "$P" "$N" "$A" && return 0
		[ $? -eq 3 ] && return 3
	fi
	if command -v perl >/dev/null 2>&1; then
		perl -e '
use Socket;
my ($port, $nonce, $address) = @ARGV;
$| = 1;
$SIG{PIPE} = "IGNORE";
my $six = $address =~ /:/;
socket(my $sock, $six ? PF_INET6 : PF_INET, SOCK_STREAM, getprotobyname("tcp") || 6) or exit 4;
my $where = $six ? pack_sockaddr_in6($port, "\0" x 15 . "\1") : sockaddr_in($port, inet_aton($address));
unless (connect($sock, $where)) { print "\n$nonce refused\n"; exit 3; }
print "\n$nonce connected perl\n";
while (1) {
    my $ready = "";
    vec($ready, 0, 1) = 1;
    vec($ready, fileno($sock), 1) = 1;
    select($ready, undef, undef, undef);
    if (vec($ready, fileno($sock), 1)) { sysread($sock, my $data, 65536) or last; syswrite(STDOUT, $data) or last; }
    if (vec($ready, 0, 1)) { sysread(STDIN, my $data, 65536) or last; syswrite($sock, $data) or last; }
}
' "$P" "$N" "$A" && return 0
		[ $? -eq 3 ] && return 3
	fi
	if command -v bash >/dev/null 2>&1; then
		bash -c '
exec 3<>"/dev/tcp/$3/$1" || exit 3
printf "\n%s connected bash\n" "$2"
exec 4<&0
cat <&4 >&3 &
cat <&3
kill "$!"
exit 0
' bash "$P" "$N" "$A" 2>/dev/null && return 0
		printf '\n%s refused\n' "$N"
		return 3
	fi
	if command -v socat >/dev/null 2>&1; then
		printf '\n%s connected socat\n' "$N"
		case $A in *:*) socat - "TCP6:[$A]:$P" ;; *) socat - "TCP4:$A:$P" ;; esac
	elif command -v ncat >/dev/null 2>&1; then
		printf '\n%s connected ncat\n' "$N"
		ncat "$A" "$P"
	elif command -v nc >/dev/null 2>&1; then
		printf '\n%s connected nc\n' "$N"
		nc "$A" "$P"
	elif command -v busybox >/dev/null 2>&1; then
		printf '\n%s connected busybox\n' "$N"
		busybox nc "$A" "$P"
	elif command -v curl >/dev/null 2>&1; then
		printf '\n%s connected curl\n' "$N"
		by_curl
	else
		printf '\n%s nothing\n' "$N"
	fi
}

# In one line: bash and zsh read no further than that, and what comes next is the request.
bridge 2>/dev/null; exit
