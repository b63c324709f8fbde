# kirotunnel's control script. Read by /bin/sh from its standard input, which stays open as long as we care:
# at its end, or when the connection is gone, the shell ends, and with it everything that it started.
#
# Set before it: N (nonce that frames our answers), CLI (name or path), OPENER (the opener's text), RUN (the runner's text),
# LEASE_S, WHOAMI_S, PREPARE (always | signed-out | never), and the functions run_whoami, run_logout and run_version (all use
# $cli).

LC_ALL=C
export LC_ALL
D=
cli=
cat_pid=
lease_pid=

say() { printf '\n%s %s\n' "$N" "$*"; }

# nap SECONDS PID: in a subshell of its own: 0 when the time is over, 1 when that process is gone; TERM ends it.
# In slices: a TERM that reaches a dash just forked is lost (seen with 0.5.12), and one long sleep would live on.
nap() {
	trap 'kill "$slice" 2>/dev/null; exit 0' TERM
	left=$1
	while [ "$left" -gt 0 ]; do
		kill -0 "$2" 2>/dev/null || return 1
		sleep 2 &
		slice=$!
		wait "$slice"
		left=$((left - 2))
	done
	trap '' TERM
}

# within SECONDS COMMAND...: its exit code; 137 where it took longer and was killed.
within() {
	seconds=$1
	shift
	"$@" &
	job=$!
	(nap "$seconds" "$job" && kill -KILL "$job") </dev/null >/dev/null 2>&1 &
	watch=$!
	wait "$job"
	code=$?
	kill -TERM "$watch" 2>/dev/null
	return "$code"
}

# --- ways out ---

stop_cli() {
	p=
	[ -n "$D" ] && [ -s "$D/pid" ] && read -r p <"$D/pid"
	case $p in '' | *[!0-9]*) return 0 ;; esac
	kill -TERM "-$p" 2>/dev/null
	kill -TERM "$p" 2>/dev/null
	i=0
	while kill -0 "$p" 2>/dev/null && [ "$i" -lt 20 ]; do
		sleep 0.1 2>/dev/null || sleep 1
		i=$((i + 1))
	done
	kill -KILL "-$p" 2>/dev/null
	kill -KILL "$p" 2>/dev/null
	rm -f "$D/pid"
}

cleanup() {
	trap '' HUP INT TERM PIPE
	stop_cli
	[ -n "$cat_pid" ] && kill -KILL "$cat_pid" 2>/dev/null
	[ -n "$lease_pid" ] && kill "$lease_pid" 2>/dev/null
	[ -n "$D" ] && rm -rf "$D"
	D=
}

trap cleanup EXIT
trap 'exit 1' HUP INT TERM PIPE

# --- looking around ---

# An absolute path, or nothing. A login shell's own words may come before it, so its last line counts.
look_in_login_shell() {
	case $CLI in *[!A-Za-z0-9._+-]*) return 0 ;; esac
	case ${SHELL##*/} in
	csh | tcsh) within 10 "$SHELL" -c "which $CLI" ;;
	*) within 10 "${SHELL:-/bin/sh}" -lc "command -v $CLI" ;;
	esac </dev/null 2>/dev/null | tail -n 1
}

find_cli() {
	case $CLI in
	/*) found=$CLI ;;
	'~/'*) found=$HOME/${CLI#'~/'} ;;
	*/*) found=$HOME/$CLI ;;
	*)
		found=$(command -v "$CLI" 2>/dev/null)
		for dir in "$HOME/.local/bin" /usr/local/bin /usr/bin "$HOME/bin" "$HOME/.cargo/bin" /opt/homebrew/bin; do
			case $found in /*) break ;; esac
			[ -f "$dir/$CLI" ] && [ -x "$dir/$CLI" ] && found=$dir/$CLI
		done
		case $found in /*) ;; *) found=$(look_in_login_shell) ;; esac
		;;
	esac
	case $found in /*) [ -f "$found" ] && [ -x "$found" ] && cli=$found ;; esac
}

whoami_cli() {
	answer=$(within "$WHOAMI_S" run_whoami </dev/null 2>/dev/null)
	code=$?
	printf '\n%s\n' "$answer" | head -n 200 | sed "s/^/$N whoami /"
	say whoami-exit "$code"
	return "$code"
}

logout_cli() {
	answer=$(within "$WHOAMI_S" run_logout </dev/null 2>&1)
	printf '\n%s\n' "$answer" | head -n 200 | sed "s/^/$N logout /"
}

look_around() {
	say os "$(uname -s 2>/dev/null)"
	[ -r /proc/sys/kernel/osrelease ] && read -r kernel </proc/sys/kernel/osrelease && say kernel "$kernel"
	say user "$(id -un 2>/dev/null)"
	say home "$HOME"
	cd "$HOME" 2>/dev/null || cd /
	find_cli
	[ -n "$cli" ] || return 0
	say cli "$cli"
	{ run_version </dev/null 2>&1 | head -n 2 | sed "s/^/$N version /"; } &
	version_pid=$!
	whoami_cli
	signed_in=$?
	wait "$version_pid"
	case $PREPARE in
	always) prepare ;;
	signed-out) [ "$signed_in" -eq 0 ] || prepare ;;
	esac
}

# --- a place for the opener ---

# /tmp may be mounted noexec, home may be full or read-only: take the first place where the opener really runs.
prepare() {
	for base in "${TMPDIR:-/tmp}" "${XDG_RUNTIME_DIR:-/tmp}" "$HOME/.cache" "$HOME" /var/tmp; do
		# The path goes through login shells of every kind, so only characters that none of them interprets.
		case $base in *[!A-Za-z0-9._/@+-]* | [!/]*) continue ;; esac
		[ -d "$base" ] && [ -w "$base" ] || continue
		D=$(mktemp -d "$base/kirotunnel.XXXXXXXXXX" 2>/dev/null) || { D= && continue; }
		if furnish 2>/dev/null; then
			start_lease
			say dir "$D"
			return 0
		fi
		rm -rf "$D"
		D=
	done
}

furnish() {
	chmod 700 "$D" && mkdir "$D/bin" && mkfifo -m 600 "$D/pipe" || return 1
	printf '%s\n' "$N" >"$D/nonce" && printf '%s\n' "$cli" >"$D/cli" && printf '%s' "$RUN" >"$D/run" || return 1
	for name in $OPENERS; do
		printf '%s' "$OPENER" >"$D/bin/$name" && chmod 700 "$D/bin/$name" || return 1
		"$D/bin/$name" --kirotunnel-check || return 1
	done
	# Opened for both, a pipe never blocks and never ends: the CLI waits for its opener, so the opener must not wait for us.
	exec 9<>"$D/pipe"
	cat <&9 &
	cat_pid=$!
}

# A connection that is gone without a word leaves this shell waiting; the lease ends it all in our place.
start_lease() {
	(
		nap "$LEASE_S" "$$"
		[ -d "$D" ] || exit 0
		lease_pid=
		cleanup
		kill -KILL "$$" 2>/dev/null
	) </dev/null >/dev/null 2>&1 9<&- &
	lease_pid=$!
}

# --- who listens ---

listeners() {
	listeners_by_ss || listeners_by_proc || listeners_by_lsof
}

listeners_by_ss() {
	rows=$(ss -ltnpH 2>/dev/null) && [ -n "$rows" ] || return 1
	printf '\n%s\n' "$rows" | sed "s/^/$N ss /"
	say listeners-by ss
}

listeners_by_proc() {
	[ -r /proc/net/tcp ] || return 1
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep ' 0A ' | sed "s/^/$N proc /"
	own_sockets
	say listeners-by proc
}

listeners_by_lsof() {
	rows=$(lsof -nP -iTCP -sTCP:LISTEN -F pcn 2>/dev/null) && [ -n "$rows" ] || return 1
	printf '\n%s\n' "$rows" | sed "s/^/$N lsof /"
	say listeners-by lsof
}

own_sockets() {
	for process in /proc/[0-9]*; do
		[ -r "$process/comm" ] && read -r name <"$process/comm" || continue
		case $name in *[!A-Za-z0-9._-]*) name=process ;; esac
		ls -l "$process/fd" 2>/dev/null | sed -n "s|.*socket:\[\([0-9]*\)\].*|$N socket $process \1 $name|p"
	done
}
