# kirotunnel's control script. Read by /bin/sh from its standard input, which stays open as long as we care. Until the CLI
# is started, its end is the end of all that was made; from then on the login is the holder's, and waits for another
# control shell, unless it is told `bye`. Everything goes over this one channel: some servers give no second.
#
# Set before it: N (nonce that frames our answers), T (token of the login), G (number of this connection), CLI (name or
# path), OPENER, RUN and HOLDER (texts of the opener, the runner and the holder), LEASE_S, WHOAMI_S, PREPARE (always |
# signed-out | never), and the functions run_whoami, run_logout and run_version (all use $cli). Follows ending.sh.

locale=${LC_ALL-unset}
LC_ALL=C
export LC_ALL
D=
cli=
follower=
lease_pid=

say() { printf '\n%s %s\n' "$N" "$*"; }

# said KEY: say each line of the standard input. Each by itself: sed would write blocks that end in the midst of a line,
# and what another process of ours says just then would get into it.
said() {
	while IFS= read -r line || [ -n "$line" ]; do say "$1" "$line"; done
}

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

# within SECONDS COMMAND...: its exit code; 137 where it took longer and was killed. A function has to `exec` what it runs:
# else it is the shell that is killed, and whoever reads the output waits for the command all the same.
within() {
	seconds=$1
	shift
	"$@" &
	job=$!
	(alone && nap "$seconds" "$job" && { pkill -KILL -P "$job"; kill -KILL "$job"; }) </dev/null >/dev/null 2>&1 &
	watch=$!
	wait "$job"
	code=$?
	kill -TERM "$watch" 2>/dev/null
	return "$code"
}

# --- ways out ---

remove_all() {
	[ -n "$D" ] || return 0
	# It would take this for somebody else's doing, and end us before we are done: some word of an opener may yet wake it.
	[ -z "$follower" ] || kill -KILL "$follower" 2>/dev/null
	stop_cli
	ours "$D/holder.pid" && kill -KILL "-$p" "$p" 2>/dev/null
	remove_directory
	D=
}

leave() {
	trap '' HUP INT TERM PIPE
	[ -n "$lease_pid" ] && kill "$lease_pid" 2>/dev/null
	# What another shell has taken over is that one's.
	[ -n "$D" ] && read -r gen <"$D/gen" && [ "$gen" = "$G" ] || return 0
	# A CLI that runs on a terminal of the connection ends with it.
	if [ ! -d "$D/started" ] || grep -q not-begun "$D/rc" 2>/dev/null; then remove_all; fi
}

# The login is over, or given up: all of it goes.
bye() {
	trap '' HUP INT TERM PIPE
	remove_all
	say cleaned
	exit 0
}

trap leave EXIT
trap 'exit 1' HUP INT PIPE
trap bye TERM # says who cannot be heard: we wait for a command, and read nothing until that ends

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
	printf '%s\n' "$answer" | head -n 200 | said whoami
	say whoami-exit "$code"
	return "$code"
}

logout_cli() {
	answer=$(within "$WHOAMI_S" run_logout </dev/null 2>&1)
	printf '%s\n' "$answer" | head -n 200 | said logout
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
	{ within 10 run_version </dev/null 2>&1 | head -c 4000 | head -n 2 | said version; } &
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
	chmod 700 "$D" && mkdir "$D/bin" && mkfifo -m 600 "$D/pipe.$G" "$D/in" "$D/raw" || return 1
	printf '%s\n' "$T" >"$D/token" && printf '%s\n' "$G" >"$D/gen" && printf '' >"$D/urls" && printf '' >"$D/out" || return 1
	printf '%s\n' "$cli" >"$D/cli" && printf '%s' "$RUN" >"$D/run" && printf '%s' "$HOLDER" >"$D/holder" || return 1
	for moment in start page end; do printf '%032768d' 0 >"$D/room.$moment" || return 1; done
	for name in $OPENERS; do
		printf '%s' "$OPENER" >"$D/bin/$name" && chmod 700 "$D/bin/$name" || return 1
		"$D/bin/$name" --kirotunnel-check || return 1
	done
	# Copies of xdg-open that come with a CLI go by BROWSER only where no desktop browser is registered (xdg-utils 1.2).
	printf '#!/bin/sh\n' >"$D/bin/xdg-mime" && chmod 700 "$D/bin/xdg-mime" || return 1
	# We alone keep it open for writing: who reads it then ends with us, however we end.
	command exec 9<>"$D/pipe.$G" || return 1
	keep_server
}

# The server's process for this connection. Where that is lost, the next one ends it: it may not have noticed, and holds
# ports for us until it does. Dropbear's is root's, and stays.
keep_server() {
	born "$PPID"
	printf '%s %s\n' "$PPID" "$born" >"$D/server"
}

end_server() {
	ours "$D/server" && [ -r "/proc/$p/comm" ] && read -r name <"/proc/$p/comm" || return 0
	case $name in sshd*) kill "$p" 2>/dev/null ;; esac
}

# A connection that is gone without a word leaves this shell waiting; before the CLI runs, the lease ends it all instead.
start_lease() {
	(
		nap "$LEASE_S" "$$"
		read -r gen <"$D/gen" && [ "$gen" = "$G" ] && [ ! -d "$D/started" ] || exit 0
		lease_pid= follower=
		remove_all
		kill -KILL "$$" 2>/dev/null
	) </dev/null >/dev/null 2>&1 9<&- &
	lease_pid=$!
}

# --- the login ---

# start_cli LEASE_S KIND COLUMNS ROWS: once, however often it is said.
start_cli() {
	if [ ! -d "$D" ]; then
		say gone
		return 0
	fi
	if mkdir "$D/started" 2>/dev/null; then
		[ -n "$lease_pid" ] && kill "$lease_pid" 2>/dev/null
		lease_pid=
		rm -f "$D/room.start"
		printf 'rows %s cols %s\n' "$4" "$3" >"$D/size"
		(
			alone
			case $locale in unset) unset LC_ALL ;; *) LC_ALL=$locale ;; esac
			leading /bin/sh "$D/holder" "$1" "$2"
		) </dev/null >/dev/null 2>&1 &
	fi
	follow 0 0
}

# go_on DIRECTORY URLS BYTES: take over a login that another control shell began, from what is known of it already.
go_on() {
	token=
	[ -r "$1/token" ] && read -r token <"$1/token"
	if [ "$token" != "$T" ] || ! read -r before <"$1/gen"; then
		say standing gone
		return 0
	fi
	D=$1
	if ! { mkfifo -m 600 "$D/pipe.$G" && command exec 9<>"$D/pipe.$G" && printf '%s\n' "$G" >"$D/gen"; }; then
		say standing gone
		return 0
	fi
	printf 'u\n' 1<>"$D/pipe.$before" # ends the shell of the lost connection, if it still waits
	end_server
	keep_server
	if [ ! -d "$D/started" ]; then
		start_lease
		say standing ready
	elif until_begun; [ -s "$D/rc" ] || ours "$D/holder.pid"; then
		follow "$2" "$3"
		say standing held
	else
		remove_all
		say standing gone
	fi
}

# The holder was started, and may not have got as far as to say who it is: a connection can be back sooner.
until_begun() {
	tenths=0
	until [ -s "$D/rc" ] || [ -s "$D/holder.pid" ] || [ "$tenths" -ge 50 ]; do
		if sleep 0.1 2>/dev/null; then tenths=$((tenths + 1)); else sleep 1 && tenths=$((tenths + 10)); fi
	done
}

# follow URLS BYTES: say what comes of the login from there on.
follow() {
	[ -z "$follower" ] || return 0
	follow_urls "$1"
	output "$2" &
}

follow_urls() {
	urls_and_end "$1" &
	follower=$!
}

# By `exec`: dash keeps a copy of what is redirected for a function.
urls_and_end() {
	if ! command exec 8<"$D/urls" <"$D/pipe.$G"; then
		[ -d "$D" ] || say gone
		kill -KILL "$$" 2>/dev/null
		exit
	fi
	alone
	number=0 part= told=
	while :; do
		while IFS= read -r line <&8 || { part=$part$line && false; }; do
			number=$((number + 1))
			[ "$number" -le "$1" ] || say_url "$number" "$part$line"
			part=
		done
		gen=
		if [ ! -d "$D" ]; then
			say gone
			break
		fi
		read -r gen <"$D/gen"
		[ "$gen" = "$G" ] || break
		if [ -z "$told" ] && [ -s "$D/rc" ]; then
			read -r told <"$D/rc" && say exited "$told"
		fi
		read -r _ || exit 0
	done
	kill -KILL "$$" 2>/dev/null
}

# say_url NUMBER URL: a long one in pieces before it, as all that is said here has to go into the pipe whole: else what
# another process of ours says gets into its middle.
say_url() {
	if [ "${#2}" -gt 2000 ]; then
		encoding
		printf '%s' "$2" | while piece url; do :; done
		set -- "$1" ''
	fi
	say url "$1" "$2"
}

# In pieces, as a long URL; BusyBox' tail looks once a second.
output() {
	exec </dev/null
	alone
	encoding
	if tail --version 2>/dev/null | grep -q -i coreutils; then
		tail --pid="$$" -s 0.2 -c "+$(($1 + 1))" -f "$D/out" 2>/dev/null | while piece out; do :; done
		return
	fi
	command exec 7<"$D/out" || return
	[ "$1" -eq 0 ] || dd bs="$1" count=1 <&7 >/dev/null 2>&1
	while kill -0 "$$" 2>/dev/null && [ -d "$D" ]; do
		piece out <&7 || sleep 0.2 2>/dev/null || sleep 1
	done
}

encoding() {
	if [ "$(printf 'kt' | base64 2>/dev/null)" = a3Q= ]; then code=64 most=2700; else code=16 most=1200; fi
}

encoded() {
	case $code in 64) base64 ;; *) od -An -v -tx1 ;; esac
}

# piece KEY [NUMBER]: say the next of the standard input, encoded; 1 where there is none.
piece() {
	bytes=$(dd bs="$most" count=1 2>/dev/null | encoded)
	[ -n "$bytes" ] && say "$1$code" $2 $bytes
}

# typed NUMBER KEYS: pass keys on, once, however often it is said; the keys are a format of printf.
typed() {
	last=0
	[ -s "$D/typed" ] && read -r last <"$D/typed"
	if [ "$1" -gt "$last" ]; then
		printf '%s\n' "$1" >"$D/typed"
		printf "$2" 1<>"$D/in"
	fi
	say typed "$1"
}

# --- shells beside this one, on this channel: job N's input is our descriptor N + 2, so there are four ---

alone() { exec 3<&- 4<&- 5<&- 6<&- 9<&-; }

job() {
	[ -n "$D" ] || D=$(mktemp -d "${TMPDIR:-/tmp}/kirotunnel.XXXXXXXXXX") || D=
	[ -n "$D" ] && rm -f "$D/job.$1" && mkfifo -m 600 "$D/job.$1" && eval "command exec $(($1 + 2))<>\"\$D/job.\$1\"" || return 0
	(
		command exec <"$D/job.$1" || exec </dev/null
		alone
		encoding
		/bin/sh 2>/dev/null | while piece job "$1"; do :; done
		say job-ended "$1"
	) &
	say job "$1" begun
}

# job_input N FORMAT: what a job does not read fills its pipe, and whoever writes into a full one waits: not for ever.
job_input() { within 4 into_job "$@" || job_end "$1"; }

into_job() { eval "printf \"\$2\" >&$(($1 + 2))" 2>/dev/null; }

job_end() { eval "exec $(($1 + 2))<&-"; }

# resize COLUMNS ROWS
resize() {
	printf 'rows %s cols %s\n' "$2" "$1" >"$D/size"
	[ -s "$D/tty" ] && read -r tty <"$D/tty" && stty rows "$2" cols "$1" <"$tty" 2>/dev/null
}

# --- who listens ---

listeners() {
	listeners_by_ss || listeners_by_proc || listeners_by_lsof
}

listeners_by_ss() {
	rows=$(ss -ltnpH 2>/dev/null) && [ -n "$rows" ] || return 1
	printf '%s\n' "$rows" | said ss
	say listeners-by ss
}

listeners_by_proc() {
	[ -r /proc/net/tcp ] || return 1
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep ' 0A ' | said proc
	own_sockets
	say listeners-by proc
}

listeners_by_lsof() {
	rows=$(lsof -nP -iTCP -sTCP:LISTEN -F pcn 2>/dev/null) && [ -n "$rows" ] || return 1
	printf '%s\n' "$rows" | said lsof
	say listeners-by lsof
}

own_sockets() {
	for process in /proc/[0-9]*; do
		[ -r "$process/comm" ] && read -r name <"$process/comm" || continue
		case $name in *[!A-Za-z0-9._-]*) name=process ;; esac
		ls -l "$process/fd" 2>/dev/null | sed -n "s|.*socket:\[\([0-9]*\)\].*|$process \1 $name|p"
	done | said socket
}
