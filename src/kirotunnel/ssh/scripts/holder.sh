# kirotunnel's holder: runs the CLI's login apart from every connection, and keeps what comes of it.
#
#   sh DIR/holder LEASE_S KIND      KIND: the type of the terminal to run it on, or - for none
#
# In its directory:  run   what becomes the CLI        out   all that it printed
#                    in    a pipe for its keys         urls  what it called its opener with, a line each
#                    rc    its exit code, and the size of out; there only once both are final
#                    room* bytes that are given back where the disk is full by then: our own few are to fit
#                    gen   which connection listens, by its pipe.GEN; a line in that pipe means: look
#
# When the sign-in's time is over it ends the login, removes all this, and itself. Follows ending.sh.

D=${0%/*}
LEASE_S=$1
kind=$2

poke() { read -r gen <"$D/gen" && printf 'u\n' 1<>"$D/pipe.$gen"; }

# Whom to tell where all this is gone. The pipe is kept open for reading only: who reads it is to end when the
# connection's shell does, which alone has it open for writing.
remember() {
	read -r now <"$D/gen" && [ "$now" != "$gen" ] && [ -p "$D/pipe.$now" ] && [ -e /proc/self/fd/0 ] || return 0
	command exec 8<>"$D/pipe.$now" || return 0
	command exec 8</proc/self/fd/8 || exec 8<&-
	gen=$now
}

# A process beside the holder, so that either one's sudden end is noticed; and that somebody has removed all this.
# Its descriptor 7 is the file in which the runner says who it is, also when that has no name any more.
guard() {
	left=$LEASE_S
	gen=
	while [ "$left" -gt 0 ] && lives "$$" && [ -d "$D" ]; do
		remember
		sleep 2
		left=$((left - 2))
		set -- $(cat "$D/urls" "$D/out" 2>/dev/null | wc -c)
		[ "$1" -lt 20000000 ] || break
	done 2>/dev/null
	if [ -d "$D" ]; then
		stop_cli
		read -r now <"$D/gen" && command exec 8<>"$D/pipe.$now"
		remove_directory
		printf 'u\n' >&8
	else
		read -r runner since <&7 && lives "$runner" && born "$runner" && [ "$born" = "$since" ] && end_runner
		[ -e /proc/self/fd/8 ] && printf 'u\n' >/proc/self/fd/8
	fi
	kill -KILL "-$$" "$$"
}

end_runner() {
	kill -TERM "-$runner" "$runner"
	sleep 1
	kill -KILL "-$runner" "$runner"
	command -v pkill >/dev/null && pkill -KILL -s "$runner"
} 2>/dev/null

# 8 or 16 MiB, by the shell's unit: a CLI that prints without end fills no disk. Where something else has filled it, what
# is printed from then on is lost, and the login goes on: it can do without.
copy() {
	(ulimit -f 16384 && exec cat) >>"$D/out" 2>/dev/null && return 0
	set -- $(wc -c <"$D/out")
	[ "${1:-0}" -ge 8000000 ] || exec cat >/dev/null
	exec </dev/null # or the CLI would wait for us to read on
	printf '' >"$D/full"
	stop_cli
}

# --- ways to a terminal: one that does not get as far as the runner's pid is passed over ---

by_script() { script -q -e -f -c "exec /bin/sh $D/run" /dev/null; }

by_python() {
	python3 -c '
import os, pty, select, sys
pid, master = pty.fork()
if pid == 0:
    os.execv("/bin/sh", ["sh", sys.argv[1]])
ended = False
while True:
    ready = select.select([0, master], [], [], 0.2)[0]
    if 0 in ready:
        os.write(master, os.read(0, 4096))
    if master in ready:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        while data:
            data = data[os.write(1, data):]
    elif ended:
        break
    ended = ended or os.waitpid(pid, os.WNOHANG)[0] == pid
' "$D/run"
}

by_perl() {
	perl -e '
use Fcntl;
use POSIX;
sysopen(my $master, "/dev/ptmx", O_RDWR | O_NOCTTY) or exit 4;
my $number = pack("i", 0);
ioctl($master, 0x40045431, $number) or exit 4;  # TIOCSPTLCK
ioctl($master, 0x80045430, $number) or exit 4;  # TIOCGPTN
my $name = "/dev/pts/" . unpack("i", $number);
sysopen(my $keep, $name, O_RDWR | O_NOCTTY) or exit 4;
my $pid = fork;
defined $pid or exit 4;
unless ($pid) {
    POSIX::setsid();
    sysopen(my $slave, $name, O_RDWR) or exit 4;
    ioctl($slave, 0x540E, 0);  # TIOCSCTTY
    POSIX::dup2(fileno($slave), $_) for 0 .. 2;
    close $keep;
    close $master;
    exec "/bin/sh", $ARGV[0];
    exit 4;
}
close $keep;
my $ended = 0;
while (1) {
    my $ready = "";
    vec($ready, 0, 1) = 1;
    vec($ready, fileno($master), 1) = 1;
    select($ready, undef, undef, 0.2);
    if (vec($ready, 0, 1)) { sysread(STDIN, my $keys, 4096); syswrite($master, $keys); }
    if (vec($ready, fileno($master), 1)) {
        sysread($master, my $data, 65536) or last;
        my $done = 0;
        while ($done < length $data) { $done += syswrite(STDOUT, $data, length($data) - $done, $done) || last; }
    } elsif ($ended) { last; }
    $ended ||= waitpid($pid, WNOHANG) == $pid;
}
' "$D/run"
}

# These two are told each key by a command, and keep the output by themselves; what they run waits until they do.
by_tmux() {
	read -r _ rows _ columns <"$D/size"
	printf 'while [ ! -e %s/go ]; do sleep 0.1 2>/dev/null || sleep 1; done\nexec /bin/sh %s/run\n' "$D" "$D" >"$D/wait"
	tmux -S "$D/tmux" -f /dev/null new-session -d -x "$columns" -y "$rows" /bin/sh "$D/wait" >/dev/null || return 1
	tmux -S "$D/tmux" pipe-pane "exec cat >$D/raw" && printf '' >"$D/go"
	while keys=$(dd bs=256 count=1 2>/dev/null | od -An -v -tx1) && [ -n "$keys" ]; do
		tmux -S "$D/tmux" send-keys -H $keys
	done <>"$D/in" >/dev/null &
	while tmux -S "$D/tmux" has-session; do sleep 0.2 || sleep 1; done 2>/dev/null
	kill "$!" 2>/dev/null
}

by_screen() {
	mkdir -m 700 "$D/screen" || return 1
	printf 'logfile %s/out\nlogfile flush 0\ndeflog on\nstartup_message off\n' "$D" >"$D/screenrc"
	SCREENDIR=$D/screen
	export SCREENDIR
	while keys=$(dd bs=256 count=1 2>/dev/null | od -An -v -to1) && [ -n "$keys" ]; do
		stuffed=
		for key in $keys; do stuffed="$stuffed\\$key"; done
		screen -S held -p 0 -X stuff "$stuffed"
	done <>"$D/in" >/dev/null &
	screen -c "$D/screenrc" -S held -D -m /bin/sh "$D/run" >/dev/null
	kill "$!" 2>/dev/null
}

# --- the login ---

trap : HUP INT TERM PIPE # which its children do not inherit
born "$$"
printf '%s %s\n' "$$" "$born" >"$D/holder.pid"
printf '' >"$D/pid"
command exec 7<"$D/pid"
guard &
guard=$!
exec 7<&-
copy <"$D/raw" &
copier=$!
command exec 3<>"$D/in" 4>"$D/raw" || exit # which the guard notices
if [ "$kind" = - ]; then
	(leading /bin/sh "$D/run") </dev/null >&4 2>&1 3<&- 4>&-
else
	TERM=$kind
	export TERM
	for way in by_script by_python by_perl by_tmux by_screen; do
		"$way" <&3 >&4 2>/dev/null 3<&- 4>&-
		[ -e "$D/begun" ] && break
	done
fi
exec 3<&- 4>&-

# --- its end ---

# Something that the CLI left behind may keep its output open for ever.
(sleep 1 && kill -KILL "$copier") &
late=$!
wait "$copier"
kill "$late" 2>/dev/null
code=none
if [ -e "$D/full" ]; then
	code=full
elif [ ! -e "$D/begun" ]; then
	code=not-begun
elif [ -s "$D/code" ]; then
	read -r code <"$D/code"
fi
set -- $(wc -c <"$D/out")
rm -f "$D/room.end"
printf '%s %s\n' "$code" "$1" >"$D/rc.new" && mv "$D/rc.new" "$D/rc" && poke
rm -f "$D/pid"
wait "$guard"
