# How a login is ended on the target: part of the control script and of the holder, since either may be left alone.
# D is the login's directory; it may vanish at any moment, or take nothing more. So no file of it is opened by `exec` or
# `:` alone: where that fails, POSIX has the shell end. A pid is kept with the moment of its birth, so that after a
# restart of the machine or of a container no other process is taken for ours.

# born PID: sets `born`; `-` where there is no /proc.
born() {
	born=-
	[ -r "/proc/$1/stat" ] && read -r stat <"/proc/$1/stat" || return 0
	set -- ${stat##*) }
	[ "$#" -ge 20 ] || return 0
	shift 19
	born=$1
}

# lives PID: whether it runs; what is dead and only not waited for yet does not.
lives() {
	kill -0 "$1" 2>/dev/null || return 1
	[ -r "/proc/$1/stat" ] && read -r stat <"/proc/$1/stat" || return 0
	case ${stat##*) } in [ZX]*) return 1 ;; esac
}

# ours FILE: sets p to the pid that is kept there, if that process still is what it was.
ours() {
	p= since=
	[ -s "$1" ] && read -r p since <"$1"
	case $p in '' | *[!0-9]*) return 1 ;; esac
	lives "$p" || return 1
	born "$p"
	[ "$born" = "${since:-$born}" ]
}

stop_cli() {
	[ -d "$D" ] || return 0
	printf '' >"$D/stop" # what has written no pid yet looks for it then
	[ -S "$D/tmux" ] && tmux -S "$D/tmux" kill-server 2>/dev/null
	ours "$D/pid" || return 0
	kill -TERM "-$p" 2>/dev/null || { pkill -TERM -P "$p"; kill -TERM "$p"; } 2>/dev/null
	i=0
	while kill -0 "-$p" 2>/dev/null && [ "$i" -lt 20 ]; do
		sleep 0.1 2>/dev/null || sleep 1
		i=$((i + 1))
	done
	kill -KILL "-$p" 2>/dev/null
	kill -KILL "$p" 2>/dev/null
	command -v pkill >/dev/null 2>&1 && pkill -KILL -s "$p" 2>/dev/null # groups that it made in its own session
	rm -f "$D/pid"
}

# Twice, since the opener may write into it between: into a directory that is not there any more it cannot.
remove_directory() { rm -rf "$D" 2>/dev/null || rm -rf "$D"; }

# leading COMMAND...: become it, as the leader of a session of its own, by what the target has for that. For subshells.
leading() {
	if command -v setsid >/dev/null 2>&1; then
		exec setsid "$@"
	elif python3 -c '' 2>/dev/null; then
		exec python3 -c 'import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])' "$@"
	elif perl -e '' 2>/dev/null; then
		exec perl -e 'use POSIX; POSIX::setsid(); exec @ARGV' "$@"
	fi
	trap '' HUP
	exec "$@"
}
