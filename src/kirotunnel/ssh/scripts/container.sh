# kirotunnel's question to container engines. Read by /bin/sh from its standard input, on the host of the container.
# It changes nothing.
#
# Set before it: N (nonce that frames our answers), ENGINES (names or absolute paths), SUDO (empty, or `sudo -n`),
# NAME and FORMAT for a container; for a pod ENGINES is kubectl, and PODS has the words of each reading, one a line.

LC_ALL=C
export LC_ALL

say() { printf '\n%s %s\n' "$N" "$*"; }

# A session without a login shell has a short PATH; Docker Desktop, Rancher Desktop and Homebrew install beside it.
find_program() {
	case $1 in /*) found=$1 ;; *) found=$(command -v "$1" 2>/dev/null) ;; esac
	for dir in /usr/local/bin /usr/bin /snap/bin /opt/homebrew/bin "$HOME/.rd/bin" "$HOME/.docker/bin" "$HOME/bin"; do
		case $found in /*) break ;; esac
		found=$dir/$1
		[ -x "$found" ] || found=
	done
	[ -n "$found" ] && [ -x "$found" ]
}

# tell ENGINE INDEX CODE WORDS: the last words are what matters.
tell() {
	printf '%s\n' "$4" | tail -n 12 | cut -c 1-2000 | sed "s/^/$N words /"
	say answer "$1 $2 $3 $found"
}

# asked COMMAND...: its output and exit code. It is killed when our input ends: nobody is there any more then, and an
# engine whose service hangs would stay for good.
asked() {
	"$@" </dev/null 3<&- &
	job=$!
	(
		while read -r _; do :; done
		kill -KILL "$job"
	) <&3 >/dev/null 2>&1 &
	watch=$!
	wait "$job"
	code=$?
	kill -KILL "$watch" 2>/dev/null
	return "$code"
}

ask_all() {
	for engine in $ENGINES; do
		find_program "$engine" || continue
		short=${engine##*/}
		say asking "$short"
		if [ "$short" = kubectl ]; then
			index=0
			printf '%s\n' "$PODS" | while read -r words; do
				said=$(asked "$found" get pod $words --request-timeout=15s -o "$FORMAT" 2>&1)
				tell "$short" "$index" "$?" "$said"
				index=$((index + 1))
			done
			continue
		fi
		said=$(asked $SUDO "$found" container inspect --format "$FORMAT" "$NAME" 2>&1)
		code=$?
		tell "$short" 0 "$code" "$said"
		case $said in *"${FORMAT%%\{*}running"*) break ;; esac
		say names "$(asked $SUDO "$found" ps --format '{{.Names}}' 2>/dev/null | head -n 200 | tr '\n' ' ')"
	done
	say done
}

# From here on our input is for the watchers: there must be nothing behind this line.
exec 3<&0
ask_all; exit
