# Questions of `kirotunnel doctor`, asked in the control shell after look_around. They change nothing and connect to no
# callback port.
#
# Set before it: HOSTS (words `https://HOST[:PORT]` or http), DATA (the CLI's data directory below the home directory).

first_existing() {
	case $1 in / | '') printf /; return ;; esac
	if [ -e "$1" ]; then printf %s "$1"; else first_existing "${1%/*}"; fi
}

can_write() {
	place=$(first_existing "$1")
	[ -w "$place" ] && say writable "$2 yes" || say writable "$2 no"
}

# Whether a service answers at all. What it answers does not matter, nor does a proxy's refusal of the root page.
reach_one() {
	if command -v curl >/dev/null 2>&1; then
		curl -s -o /dev/null --connect-timeout 4 -m 6 "$1/" 2>/dev/null
		case $? in 0) answer=yes ;; 6) answer=name ;; 35 | 51 | 58 | 60 | 77) answer=tls ;; *) answer=no ;; esac
	elif command -v bash >/dev/null 2>&1 && [ -z "$https_proxy$HTTPS_PROXY" ]; then
		address=${1#*://}
		case $1 in http:*) port=80 ;; *) port=443 ;; esac
		case $address in *:*) port=${address##*:} address=${address%:*} ;; esac
		within 6 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$address" "$port" >/dev/null 2>&1 && answer=yes || answer=no
	elif command -v wget >/dev/null 2>&1; then
		words=$(within 6 wget -q -O /dev/null "$1/" 2>&1)
		case $?:$words in 0:* | *HTTP/* | *'server returned error'* | *ERROR\ *) answer=yes ;; *) answer=no ;; esac
	else
		answer=unknown
	fi
	say reach "$answer $1"
}

examine() {
	say date "$(date +%s 2>/dev/null)"
	say shell "$SHELL"
	case $CLI in
	*/*) ;;
	*) command -v "$CLI" >/dev/null 2>&1 && say on-path yes || say on-path no ;;
	esac
	can_write "$HOME" home
	can_write "$HOME/$DATA" data
	df -Pk "$HOME" 2>/dev/null | sed -n "2s/^/$N disk /p"
	for base in "${TMPDIR:-/tmp}" "${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}" "$HOME/.cache" "$HOME" /var/tmp; do
		[ -d "$base" ] && [ -w "$base" ] && say place "$base"
		for left in "$base"/kirotunnel.*; do
			[ -d "$left" ] && [ -O "$left" ] || continue
			if ours "$left/pid" || ours "$left/holder.pid"; then alive=yes; else alive=no; fi
			say left "$alive $left"
		done
	done
	if command -v security >/dev/null 2>&1; then
		security show-keychain-info >/dev/null 2>&1 && say keychain open || say keychain locked
	fi
	for carrier in python3 perl bash socat ncat nc busybox curl; do
		command -v "$carrier" >/dev/null 2>&1 && say carrier "$carrier" && break
	done
	say proxy "${HTTPS_PROXY:-$https_proxy}"
	listeners_by_proc || listeners_by_ss || listeners_by_lsof
	reaching=
	for host in $HOSTS; do
		reach_one "$host" &
		reaching="$reaching $!"
	done
	[ -n "$reaching" ] && wait $reaching
}
